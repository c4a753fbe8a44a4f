//! Why a call is, was or would be decided as it is.

use dataplane_policy::Era;
use dataplane_telemetry::WallNanos;
use serde_json::Value;

use crate::compile::Compiled;
use crate::input::Caller;

/// A call to explain.
#[derive(Clone, Debug)]
pub struct Question {
    pub caller: Caller,
    /// `server/tool`.
    pub tool: String,
    /// An object, or null for none.
    pub arguments: Value,
    pub now: WallNanos,
    pub era: Era,
}

/// Where a policy stands.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Place {
    pub policy: String,
    pub file: String,
    pub line: u32,
    pub column: u32,
}

/// An obligation of a permit that was true.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ObligationText {
    pub policy: String,
    pub key: String,
    pub value: String,
}

/// What one policy says about the call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// A permit or a forbid whose condition is true.
    Applies { forbid: bool },
    /// It could not be decided, so the call is denied.
    Errs { forbid: bool },
}

/// The answer, whole.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Explanation {
    pub allow: bool,
    /// One sentence, for people: the rule and the reason.
    pub reason: String,
    /// The policy that the appliance's record names, if any.
    pub rule: Option<Place>,
    /// The argument that is not as pinned, when that is the reason.
    pub bad_argument: Option<String>,
    /// All policies that decide: those that err, else the forbids that are true, else the permits.
    pub determining: Vec<(Place, Verdict)>,
    pub obligations: Vec<ObligationText>,
    /// Whether the caller sees the tool in lists.
    pub visible: bool,
}

/// A question about what is not there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unanswerable(pub String);

impl std::fmt::Display for Unanswerable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unanswerable {}

/// Explains a call against one compiled revision.
///
/// # Errors
/// When the server or the tool does not exist, or the arguments are not an object.
pub fn explain(_compiled: &Compiled, question: &Question) -> Result<Explanation, Unanswerable> {
    Err(Unanswerable(format!("no tool `{}`", question.tool)))
}
