//! Instruction counts of the stages, each with a budget.
