//! The policy table: its layout, its verifier and its evaluator.
