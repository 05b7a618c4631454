//! noop.
