//! password_hash.
