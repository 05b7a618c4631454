//! pd-sim: whole clusters in simulated time, around the real `pd_plan::plan` and the real kubelet `sync`.
//!
//! In: a seed. Out: a broken invariant with the seed that shows it, or how long a cluster lived without one; and
//! the table that compares the plan with its lower bound and with simpler policies. Everything but the plan,
//! `sync`, `choose` and `Pace` is simulated: time, network, API server, slots, and the thin shells, which are
//! written after the real ones. docs/simulation.md says what is left out.

mod bug;
mod chance;
mod checks;
pub mod crowd;
mod events;
mod kubelet;
mod ledger;
mod load;
mod network;
mod outcomes;
pub mod paper;
mod reconciler;
pub mod scenario;
mod server;
mod trace;
mod world;

pub use bug::Bug;
pub use chance::Chance;
pub use checks::{Invariant, Violation};
pub use events::{MILLI, Micros, SECOND};
pub use load::{Costs, Load, Shape};
pub use outcomes::Outcomes;
pub use trace::Trace;
pub use world::{Fault, Stats, Times, Whose, World};
