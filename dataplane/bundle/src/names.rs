//! Names, and the checks that every text of a catalog passes.
//!
//! Names are narrow on purpose: they stand in URLs, file names, metric labels and policies, and two
//! of them joined by `__` must split again in one way only.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Refused;
use crate::limits::{IDENTITY_BYTES_MAX, NAME_BYTES_MAX, TOOL_NAME_BYTES_MAX};

/// The number of one whole desired state; each change is a higher one. Zero: none yet.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Revision {
    /// The lowest that is newer than this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// One box: a lower-case DNS label that stands in its certificate and in every bundle made for it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ApplianceId(String);

impl ApplianceId {
    /// Refuses what [`is_name`] refuses.
    pub fn new(text: &str) -> Result<Self, Refused> {
        name("appliance", text)?;
        Ok(Self(text.to_owned()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ApplianceId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// `[a-z0-9](-?[a-z0-9])*`, at most 63 bytes: names of servers, quotas, providers, secrets, boxes.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let mut hyphen = true;
    let all = text.bytes().all(|byte| {
        let after_hyphen = std::mem::replace(&mut hyphen, byte == b'-');
        matches!(byte, b'a'..=b'z' | b'0'..=b'9') || (byte == b'-' && !after_hyphen)
    });
    all && !hyphen && text.len() <= NAME_BYTES_MAX
}

/// `[A-Za-z0-9_.-]`, 1 to 128 bytes: MCP 2025-11-25, server/tools, "Tool Names".
#[must_use]
pub fn is_tool_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= TOOL_NAME_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

pub(crate) fn name(field: &str, found: &str) -> Result<(), Refused> {
    let rule = "is not a name: lower-case letters and digits, single hyphens between them, 1 to 63";
    if is_name(found) { Ok(()) } else { Err(wrong(field, found, rule)) }
}

pub(crate) fn tool_name(field: &str, found: &str) -> Result<(), Refused> {
    let rule = "is not a tool's name: letters, digits, `_`, `.` and `-`, 1 to 128";
    if is_tool_name(found) { Ok(()) } else { Err(wrong(field, found, rule)) }
}

/// A tenant, user, agent, role or group as an identity provider names it.
pub(crate) fn identity(field: &str, found: &str) -> Result<(), Refused> {
    at_most(field, found.len(), IDENTITY_BYTES_MAX)?;
    if found.is_empty() || found.chars().any(char::is_control) {
        return Err(wrong(field, found, "is empty or has a control character"));
    }
    Ok(())
}

pub(crate) fn at_most(field: &str, found: usize, max: usize) -> Result<(), Refused> {
    at_most_u64(field, found as u64, max as u64)
}

pub(crate) fn at_most_u64(field: &str, found: u64, max: u64) -> Result<(), Refused> {
    if found <= max {
        return Ok(());
    }
    Err(Refused::TooMuch { field: field.to_owned(), found, max })
}

/// Refuses the first name that is there twice.
pub(crate) fn distinct<'a>(
    field: &str,
    names: impl Iterator<Item = &'a str>,
) -> Result<(), Refused> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(Refused::Twice { field: field.to_owned(), name: shown(name) });
        }
    }
    Ok(())
}

/// A refusal that shows at most 80 characters of what was found, control characters escaped.
pub(crate) fn wrong(field: &str, found: &str, rule: &'static str) -> Refused {
    Refused::Field { field: field.to_owned(), found: shown(found), rule }
}

pub(crate) fn shown(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for good in ["a", "crm", "crm-2", "0", "a-b-c", &"a".repeat(63)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "-", "a-", "-a", "a--b", "A", "a_b", "a.b", "ä", "a b", &"a".repeat(64)] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn tool_names_are_those_of_mcp() {
        for good in ["a", "get_orders", "admin.tools.list", "DATA-v2", &"x".repeat(128)] {
            assert!(is_tool_name(good), "{good}");
        }
        for bad in ["", "a b", "a,b", "ä", "a/b", "a\0", &"x".repeat(129)] {
            assert!(!is_tool_name(bad), "{bad}");
        }
    }
}
