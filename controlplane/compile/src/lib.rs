//! Cedar to tables: checks, classes, specialisation, diff, explanation and policy tests.
//!
//! [`compile`] takes the whole desired state (servers with their pinned tools, the directory, the
//! policy files) and answers with the table's bytes or with every complaint at once, each with file,
//! line, column and what to write instead. What cannot be compiled, can never match, or names what
//! does not exist is an error: a table never means less than its policies say.
//!
//! [`explain`], [`diff`] and [`run_tests`] work on what [`compile`] returned, and decide with the
//! very evaluator that appliances run.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod cases;
mod check;
mod codegen;
mod compile;
mod diagnostic;
mod diff;
mod explain;
pub mod fuzz;
mod input;
mod ir;
mod literal;
mod load;
mod names;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod planted;
mod render;
mod schema;
mod specialise;
mod table;

pub use cases::{Case, Expect, Outcome, run_tests};
pub use compile::{Compiled, Compiler, compile};
pub use diagnostic::{Diagnostic, Severity};
pub use diff::{Change, diff};
pub use explain::{Explanation, ObligationText, Place, Question, Unanswerable, Verdict, explain};
pub use input::{Caller, Directory, Input, Member, PolicyFile, Server, Tool};
