//! pd-apiserver: the only stateful process. http → auth → admission → registry → store → watch.

pub mod api;
pub mod artifacts;
pub mod auth;
pub mod backup;
pub mod cli;
pub mod metrics;
pub mod pki;
pub mod server;
pub mod store;

#[cfg(feature = "hostile")]
pub use api::hostile;
pub use server::{Server, run};
