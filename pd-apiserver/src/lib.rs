//! pd-apiserver: the only stateful process. http → auth → admission → registry → store → watch.

pub mod api;
pub mod artifacts;
pub mod auth;
pub mod pki;
pub mod store;
