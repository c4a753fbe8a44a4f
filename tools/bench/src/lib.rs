//! Load generator and comparison.
