//! Decisions with their expected answers, which a bundle brings along.
//!
//! An appliance decides them with the new table before it uses it, and refuses the bundle when one
//! comes out otherwise.

use dataplane_telemetry::WallNanos;
use serde::{Deserialize, Serialize};

use crate::Refused;
use crate::catalog::CallerKind;
use crate::limits::{MEMBERSHIPS_MAX, SELF_TEST_ARGUMENTS_BYTES_MAX, SELF_TESTS_MAX};
use crate::names::{at_most, identity, name, tool_name};
use crate::wall;

/// One decision to try.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SelfTest {
    pub caller: TestCaller,
    pub server: String,
    pub tool: String,
    /// The call's arguments as JSON text; absent: the call has none.
    pub arguments: Option<String>,
    /// When the call is made.
    #[serde(with = "wall")]
    pub at: WallNanos,
    pub expect: Expect,
}

/// The caller's facts, as a verified token would give them.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TestCaller {
    pub tenant: String,
    pub user: Option<String>,
    pub agent: Option<String>,
    pub kind: CallerKind,
    pub roles: Vec<String>,
    pub groups: Vec<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    Allow,
    Deny,
}

pub(crate) fn check(tests: &[SelfTest]) -> Result<(), Refused> {
    at_most("self_tests", tests.len(), SELF_TESTS_MAX)?;
    tests.iter().try_for_each(SelfTest::check)
}

impl SelfTest {
    fn check(&self) -> Result<(), Refused> {
        name("self_tests.server", &self.server)?;
        tool_name("self_tests.tool", &self.tool)?;
        let arguments = self.arguments.as_deref().unwrap_or_default();
        at_most("self_tests.arguments", arguments.len(), SELF_TEST_ARGUMENTS_BYTES_MAX)?;
        let caller = &self.caller;
        identity("self_tests.caller.tenant", &caller.tenant)?;
        for who in [&caller.user, &caller.agent].into_iter().flatten() {
            identity("self_tests.caller", who)?;
        }
        for names in [&caller.roles, &caller.groups] {
            at_most("self_tests.caller.roles", names.len(), MEMBERSHIPS_MAX)?;
            names.iter().try_for_each(|name| identity("self_tests.caller.roles", name))?;
        }
        Ok(())
    }
}
