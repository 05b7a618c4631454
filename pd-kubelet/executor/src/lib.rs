//! pd-executor.
