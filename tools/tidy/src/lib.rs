//! The repository's own test.
