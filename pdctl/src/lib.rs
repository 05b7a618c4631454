//! pdctl.
