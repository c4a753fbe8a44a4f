//! MCP servers behind the gateway, and the tools that were pinned for them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::check_url;
use crate::bounds::{CA_PEM_BYTES_MAX, NAME_BYTES_MAX, TOOLS_OF_A_SERVER_MAX};
use crate::names::{check_label, check_text, check_tool_name, shown};
use crate::{Problem, Time};

/// `[servers.NAME]`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Where it listens, with its path: `http://crm.internal:8000/mcp`.
    pub url: String,
    #[serde(default)]
    pub description: String,
    /// Which era it speaks; found out unless told.
    #[serde(default)]
    pub era: Era,
    /// A credential that the gateway adds, so that no agent ever holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inject: Option<Inject>,
    /// PEM of a private certificate authority; absent: the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
    #[serde(default)]
    pub timeouts: Timeouts,
    /// What people say of single tools, beside what the server says itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tools: BTreeMap<String, ToolFlags>,
}

/// Which MCP a server speaks.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Era {
    /// Ask it: first as modern, then as legacy.
    #[default]
    Auto,
    /// 2026-07-28, stateless.
    Modern,
    /// 2025-11-25 and before, with `initialize`.
    Legacy,
}

/// Which secret goes into which header.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Inject {
    pub header: String,
    /// Before the secret's value: `Bearer ` for `Authorization`, nothing for any other header,
    /// unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The secret's name: `portcullis secrets set NAME`.
    pub secret: String,
}

/// How long each step may take. Absent: the dataplane's defaults.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_ms: Option<u32>,
    /// Until the head of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_head_ms: Option<u32>,
    /// Between two pieces of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_ms: Option<u32>,
    /// The whole call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_ms: Option<u32>,
}

/// What people say of a tool. Absent: what its server's annotations say.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolFlags {
    /// The call is recorded durably before it is forwarded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destructive: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
}

/// The tools of one server as approved. Changed by discovery and approval only.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Pins {
    /// The address that was asked.
    pub url: String,
    /// `modern` or `legacy`, as found.
    pub era: Era,
    /// The protocol revision that the server chose.
    pub revision: String,
    /// When this was approved or first found.
    pub at: Time,
    pub tools: Vec<PinnedTool>,
}

/// A tool, exactly as its server defined it when it was approved.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PinnedTool {
    pub name: String,
    /// SHA-256 of `definition`, in hexadecimal.
    pub digest: String,
    /// Canonical JSON: keys sorted, no spaces.
    pub definition: String,
}

/// An hour: a call that takes longer is a task.
const TIMEOUT_MS_MAX: u32 = 3_600_000;

/// Headers that the gateway itself writes; a credential in one of them would break the framing or
/// the protocol.
const HEADERS_OF_OURS: [&str; 14] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "content-type",
    "accept",
    "content-encoding",
    "upgrade",
    "te",
    "trailer",
    "expect",
    "traceparent",
    "mcp-session-id",
    "mcp-protocol-version",
];

impl Server {
    /// # Errors
    /// Names the field that is not usable.
    pub fn check(&self) -> Result<(), Problem> {
        check_url("url", &self.url)?;
        check_text("description", &self.description)?;
        if let Some(inject) = &self.inject {
            inject.check()?;
        }
        self.timeouts.check()?;
        let pem = self.ca_pem.as_deref().unwrap_or("-----BEGIN CERTIFICATE-----");
        if pem.len() > CA_PEM_BYTES_MAX || !pem.contains("-----BEGIN CERTIFICATE-----") {
            return Err(Problem::invalid("`ca_pem` is too long or no certificate")
                .field("ca_pem")
                .help(format!("write PEM certificates, at most {CA_PEM_BYTES_MAX} bytes")));
        }
        if self.tools.len() > TOOLS_OF_A_SERVER_MAX {
            return Err(Problem::invalid(format!("`tools` names {} tools", self.tools.len()))
                .field("tools")
                .help(format!("at most {TOOLS_OF_A_SERVER_MAX} are taken")));
        }
        self.tools.keys().try_for_each(|tool| {
            check_tool_name(tool).map_err(|problem| problem.field(format!("tools.{tool}")))
        })
    }
}

impl Inject {
    /// What goes before the secret's value in the header.
    #[must_use]
    pub fn prefix(&self) -> &str {
        let default =
            if self.header.eq_ignore_ascii_case("authorization") { "Bearer " } else { "" };
        self.prefix.as_deref().unwrap_or(default)
    }

    fn check(&self) -> Result<(), Problem> {
        check_label("secret", &self.secret).map_err(|problem| problem.field("inject.secret"))?;
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let header = self.header.to_ascii_lowercase();
        if header.is_empty() || header.len() > NAME_BYTES_MAX || !header.bytes().all(token) {
            return Err(Problem::invalid(format!(
                "`{}` is no name of a header",
                shown(&self.header)
            ))
            .field("inject.header")
            .help("write for example `Authorization` or `X-Api-Key`"));
        }
        if HEADERS_OF_OURS.contains(&header.as_str()) || header.starts_with("mcp-") {
            return Err(Problem::invalid(format!(
                "`{}` is written by the gateway itself",
                self.header
            ))
            .field("inject.header")
            .help("use `Authorization` or a header that the server defines"));
        }
        let printable = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        if self.prefix().len() > NAME_BYTES_MAX || !self.prefix().bytes().all(printable) {
            return Err(Problem::invalid("`inject.prefix` is too long or not printable ASCII")
                .field("inject.prefix")
                .help("write for example `Bearer ` or leave it out"));
        }
        Ok(())
    }
}

impl Timeouts {
    fn check(&self) -> Result<(), Problem> {
        let all = [
            ("timeouts.connect_ms", self.connect_ms),
            ("timeouts.response_head_ms", self.response_head_ms),
            ("timeouts.idle_ms", self.idle_ms),
            ("timeouts.call_ms", self.call_ms),
        ];
        for (field, value) in all {
            if value.is_some_and(|ms| ms == 0 || ms > TIMEOUT_MS_MAX) {
                return Err(Problem::invalid(format!("`{field}` is out of range"))
                    .field(field)
                    .help(format!("write 1 to {TIMEOUT_MS_MAX} milliseconds, or leave it out")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inject(header: &str, prefix: Option<&str>) -> Inject {
        Inject { header: header.into(), prefix: prefix.map(Into::into), secret: "k".into() }
    }

    #[test]
    fn the_prefix_follows_the_header() {
        assert_eq!(inject("authorization", None).prefix(), "Bearer ");
        assert_eq!(inject("Authorization", Some("Basic ")).prefix(), "Basic ");
        assert_eq!(inject("X-Api-Key", None).prefix(), "");
    }

    #[test]
    fn a_credential_cannot_become_framing() {
        for header in
            ["Content-Length", "Transfer-Encoding", "Host", "Mcp-Anything", "a b", "a\r\nb", ""]
        {
            assert!(inject(header, None).check().is_err(), "{header}");
        }
        assert!(inject("Authorization", Some("x\r\ny: ")).check().is_err());
    }
}
