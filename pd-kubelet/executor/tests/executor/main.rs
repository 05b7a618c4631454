//! The real binary, spoken to as a kubelet does.

#![allow(clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod calls;
mod driver;
mod hostile;
mod process;
mod replay;
mod shared;
mod verify;
