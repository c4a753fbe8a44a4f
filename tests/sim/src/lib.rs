//! The pipeline under seeds.
