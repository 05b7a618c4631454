//! task-sdk.
