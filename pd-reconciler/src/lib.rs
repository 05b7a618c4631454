//! pd-reconciler.
