//! pd-apiserver: the only stateful process. http → auth → admission → registry → store → watch.

pub mod auth;
pub mod store;
