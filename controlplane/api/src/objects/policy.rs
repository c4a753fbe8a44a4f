//! Policies and their tests, as texts: a Cedar file each, and a file of cases each.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Problem;
use crate::bounds::{PATH_BYTES_MAX, POLICY_BYTES_MAX};
use crate::names::shown;

/// A Cedar file; its name is its path in the folder.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    pub text: String,
}

/// A file of policy tests; its name is its path in the folder.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyTest {
    pub text: String,
}

impl Policy {
    /// # Errors
    /// When the text is too long. What it says is the compiler's to judge.
    pub fn check(&self) -> Result<(), Problem> {
        check_size(&self.text)
    }
}

impl PolicyTest {
    /// # Errors
    /// When the text is too long, or is no list of cases.
    pub fn check(&self) -> Result<(), Problem> {
        check_size(&self.text)
    }
}

fn check_size(text: &str) -> Result<(), Problem> {
    if text.len() <= POLICY_BYTES_MAX {
        return Ok(());
    }
    Err(Problem::invalid(format!("the text has {} bytes", text.len()))
        .field("text")
        .help(format!("split it: a file may have {POLICY_BYTES_MAX} bytes")))
}

/// A path inside the folder: relative, plain letters, no `.` or `..` parts.
///
/// # Errors
/// Names the path and what is wrong with it.
pub(crate) fn check_path(path: &str) -> Result<(), Problem> {
    let plain = |part: &str| {
        let byte_ok = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        !part.is_empty() && !part.starts_with('.') && part.bytes().all(byte_ok)
    };
    if path.len() <= PATH_BYTES_MAX && path.split('/').all(plain) {
        return Ok(());
    }
    Err(Problem::invalid(format!("`{}` is no usable path", shown(path))).help(format!(
        "use at most {PATH_BYTES_MAX} letters, digits, `_`, `-`, `.` and `/`, relative to the folder, no hidden parts"
    )))
}
