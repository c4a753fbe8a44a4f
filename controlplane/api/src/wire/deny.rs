//! Kills and secrets: what takes effect at once and is not part of a revision.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::bounds::{LIFE_S_MAX, REASON_BYTES_MAX, SECRET_BYTES_MAX};
use crate::names::{
    check_principal, check_server, check_tenant, check_text, split_member, split_tool,
};
use crate::{Problem, Time};

/// What a kill switches off, for everyone. On the wire: `{"tool": "crm/refund"}`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// As `server/tool`.
    Tool(String),
    Server(String),
    Tenant(String),
    /// As `tenant/user`.
    User(String),
    /// As `tenant/agent`.
    Agent(String),
    /// Every token that names this OAuth client.
    Client(String),
    /// One token by its `jti`, or one API key by its id.
    Token(String),
}

/// `POST /v1/kills`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KillRequest {
    pub target: Target,
    /// Told to every caller that is refused by it.
    pub reason: String,
    /// Until it is taken back, unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_s: Option<u64>,
}

/// A kill in force.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Kill {
    pub id: u64,
    pub target: Target,
    pub reason: String,
    pub author: String,
    pub at: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// Of the kill list that holds it: appliances tell which serial they applied.
    pub serial: u64,
}

/// `PUT /v1/secrets/{name}`.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretValue {
    /// Never shown again, and in no log.
    pub value: String,
}

/// A secret without its value.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Secret {
    pub name: String,
    /// Rises by one with each new value.
    pub revision: u64,
    pub set_at: Time,
    pub set_by: String,
    /// Servers whose calls carry it.
    pub used_by: Vec<String>,
}

impl std::fmt::Debug for SecretValue {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("SecretValue(hidden)")
    }
}

impl std::fmt::Display for Target {
    /// As the command line takes it: `tool crm/refund`.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (kind, name) = match self {
            Self::Tool(name) => ("tool", name),
            Self::Server(name) => ("server", name),
            Self::Tenant(name) => ("tenant", name),
            Self::User(name) => ("user", name),
            Self::Agent(name) => ("agent", name),
            Self::Client(name) => ("client", name),
            Self::Token(name) => ("token", name),
        };
        write!(out, "{kind} {name}")
    }
}

impl Target {
    /// # Errors
    /// Names what of the target cannot be used.
    pub fn check(&self) -> Result<(), Problem> {
        match self {
            Self::Tool(tool) => split_tool(tool).map(drop),
            Self::Server(server) => check_server(server),
            Self::Tenant(tenant) => check_tenant(tenant),
            Self::User(user) => split_member("user", user).map(drop),
            Self::Agent(agent) => split_member("agent", agent).map(drop),
            Self::Client(client) => check_principal("client", client),
            Self::Token(token) => check_principal("token", token),
        }
        .map_err(|problem| problem.field("target"))
    }
}

impl KillRequest {
    /// # Errors
    /// Names the field that cannot be used.
    pub fn check(&self) -> Result<(), Problem> {
        self.target.check()?;
        if self.reason.trim().is_empty() {
            return Err(Problem::invalid("`reason` is empty")
                .field("reason")
                .help("write why: every caller that is refused will read it"));
        }
        if self.reason.len() > REASON_BYTES_MAX {
            return Err(Problem::invalid("`reason` is too long")
                .field("reason")
                .help(format!("use at most {REASON_BYTES_MAX} bytes")));
        }
        check_text("reason", &self.reason)?;
        check_life(self.expires_in_s)
    }
}

impl SecretValue {
    /// # Errors
    /// When the value cannot be sent in a header. The problem never repeats the value.
    pub fn check(&self) -> Result<(), Problem> {
        let refused =
            |detail: &str, help: &str| Err(Problem::invalid(detail).field("value").help(help));
        if self.value.is_empty() || self.value.len() > SECRET_BYTES_MAX {
            return refused(
                "the value is empty or too long",
                "give 1 to 8,192 bytes; a header of common servers takes no more",
            );
        }
        let printable = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        let edges = self.value.trim() != self.value;
        if edges || !self.value.bytes().all(printable) {
            return refused(
                "the value has blanks at an end, control characters or letters beyond ASCII",
                "give what is sent in the header, without a line end (`printf %s`, not `echo`)",
            );
        }
        Ok(())
    }
}

/// A life in seconds, as kills, keys and tokens have it.
pub(super) fn check_life(expires_in_s: Option<u64>) -> Result<(), Problem> {
    match expires_in_s {
        Some(seconds) if seconds == 0 || seconds > LIFE_S_MAX => {
            Err(Problem::invalid(format!("`expires_in_s` is {seconds}"))
                .field("expires_in_s")
                .help(format!("write 1 to {LIFE_S_MAX} seconds")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_what_a_header_can_carry_and_is_never_repeated() {
        let check = |value: &str| SecretValue { value: value.to_owned() }.check();
        assert!(check(&"s".repeat(SECRET_BYTES_MAX)).is_ok());
        for bad in
            ["", " canary", "canary\n", "canary\r\nX: y", "ß", &"c".repeat(SECRET_BYTES_MAX + 1)]
        {
            let problem = check(bad).unwrap_err().to_text();
            assert!(!problem.contains("canary") && !problem.contains("ß"), "{problem}");
        }
        let hidden = format!("{:?}", SecretValue { value: "canary".to_owned() });
        assert!(!hidden.contains("canary"));
    }

    #[test]
    fn a_kill_needs_a_reason_and_ends_within_bounds() {
        let check = |reason: &str, expires_in_s| {
            let target = Target::Server("crm".to_owned());
            KillRequest { target, reason: reason.to_owned(), expires_in_s }.check()
        };
        assert!(check(&"r".repeat(REASON_BYTES_MAX), Some(LIFE_S_MAX)).is_ok());
        assert!(check(&"r".repeat(REASON_BYTES_MAX + 1), None).is_err());
        assert!(check(" ", None).is_err());
        assert!(check("r", Some(0)).is_err());
        assert!(check("r", Some(LIFE_S_MAX + 1)).is_err());
    }
}
