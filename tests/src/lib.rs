//! Tests across the crates; see `it/`.
