//! Instruction counts of the stages, each with a budget.
//!
//! [`stages::run_all`] holds every stage with a fixed workload: fixed keys, a fixed token, a fixed
//! clock, so that two runs execute the same instructions. A runner decides what is made of them: the
//! `stages` program counts under callgrind or measures time, `tests/allocations.rs` counts
//! allocations. `benches check` compares the counts with `budget.csv`.

pub mod budget;
pub mod callgrind;
pub mod material;
#[cfg(feature = "compile")]
pub mod policy;
pub mod shell;
pub mod stages;
pub mod world;
