//! Cedar to tables: checks, classes, specialisation, diff, explanation and policy tests.
//!
//! [`compile()`] takes the whole desired state (servers with their pinned tools, the directory, the
//! policy files) and answers with the table's bytes or with every complaint at once, each with file,
//! line, column and what to write instead. What cannot be compiled, can never match, or names what
//! does not exist is an error: a table never means less than its policies say.
//!
//! # What policies can say
//!
//! ```cedar
//! permit(principal in Role::"support", action == Action::"call", resource in Server::"crm")
//!   when { context.arguments.amount <= 500 && principal.tenant == Tenant::"acme" };
//! ```
//!
//! | | |
//! | --- | --- |
//! | `principal` | `User::"tenant/name"` when the token names a person, else `Agent::"tenant/name"` or `Service::"tenant/name"`; in `Role`s, `Group`s and its `Tenant`; has `tenant` |
//! | `action` | `Action::"call"` |
//! | `resource` | `Tool::"server/tool"`, in its `Server`; has `destructive` and `read_only` |
//! | `context.arguments` | as the tool's pinned JSON schema types them: see below |
//! | `context.now`, `context.era` | a `datetime`; `"modern"` or `"legacy"` |
//! | `context.agent` | optional: the agent that calls, for a person or for itself; has `tenant` |
//! | `@approval("group")`, `@audit("before_forward")`, `@dry_run`, `@quota("name")` | obligations, on permits |
//! | `@id`, `@description`, `@doc`, `@owner` | for people |
//!
//! JSON to Cedar: integer → `Long`; number → `decimal`, exact to four places or denied; string →
//! `String`, or by its `format` `datetime` (`date-time`, `date`), `duration`, `ipaddr` (`ipv4`,
//! `ipv6`), `decimal`; boolean → `Bool`; array of strings, integers or Booleans → `Set`; object →
//! record. `T | null` is an optional `T`, and `null` reads as absent. Anything else (unions, maps,
//! arrays of objects) is forwarded and not for policies.
//!
//! A call is allowed iff the arguments that policies look at have their pinned types, no policy errs,
//! no forbid is true and some permit is.
//!
//! [`explain()`], [`diff()`] and [`run_tests`] work on what [`compile()`] returned, and decide with the
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
