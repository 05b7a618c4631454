//! pd-plan: what to do next, decided from one snapshot.
