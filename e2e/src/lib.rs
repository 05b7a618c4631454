//! The cluster harness: local clusters of real processes on loopback.
//!
//! In: how many nodes and slots. Out: a running cluster with an ordinary kubeconfig, and the means to damage
//! it. People use it as `pd-local`, tests and benchmarks as this library; it knows the other components
//! only by their binaries and their API.

pub mod bench;
pub mod binaries;
pub mod cli;
pub mod cluster;
pub mod deadline;
pub mod guests;
pub mod history;
pub mod process;
pub mod reference;
pub mod scenario;
pub mod scrape;

pub use cluster::{Cluster, Shape};
pub use scenario::Scenario;
