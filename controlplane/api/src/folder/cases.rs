//! Policy tests: who calls what, and what must come of it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use toml::Spanned;
use utoipa::ToSchema;

use super::place::{line_column, read_toml};
use crate::bounds::TEST_CASES_MAX;
use crate::names::split_tool;
use crate::wire::Caller;
use crate::{Problem, Time};

/// What is decided over a call.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    Allow,
    Deny,
}

/// One `[[case]]`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// For people; the line says which case it is anyway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub caller: Caller,
    pub call: CaseCall,
    pub expect: Decision,
    /// The policy (its `@id`) that must be the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The time that the policy sees; the time of the test's run unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
    /// Filled in by the reader: where the case begins.
    #[serde(default, skip_deserializing)]
    pub line: u32,
}

/// The call of a case.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CaseCall {
    /// As `server/tool`.
    pub tool: String,
    #[serde(default)]
    pub arguments: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    case: Vec<Spanned<Case>>,
}

/// Reads a file of cases, each with its line.
///
/// # Errors
/// File, line and column of what cannot be read.
pub fn parse_cases(path: &str, text: &str) -> Result<Vec<Case>, Problem> {
    let file: File = read_toml(path, text)?;
    if file.case.len() > TEST_CASES_MAX {
        return Err(Problem::invalid(format!("`{path}` has {} cases", file.case.len()))
            .help(format!("at most {TEST_CASES_MAX} are taken")));
    }
    let mut cases = Vec::with_capacity(file.case.len());
    for spanned in file.case {
        let (line, column) = line_column(text, spanned.span().start);
        let mut case = spanned.into_inner();
        case.line = line;
        let checked = split_tool(&case.call.tool).map(drop).and_then(|()| case.caller.check());
        checked.map_err(|problem| problem.at(path, line, column))?;
        cases.push(case);
    }
    Ok(cases)
}
