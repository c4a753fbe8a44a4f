//! The catalog: everything that an appliance needs to serve, but for the policy table.
//!
//! Its JSON is these types; unknown fields are refused, and so is what `catalog_check` refuses.
//! Tool definitions and key sets travel as text that the control plane has validated: here only
//! their length is looked at, so that 500 tools are read within milliseconds.

use dataplane_drops::{Attribution, LadderRule, Place, Rule, RuleFault};
use dataplane_telemetry::WallNanos;
use serde::{Deserialize, Serialize};

use crate::wall;

#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Catalog {
    pub gateway: GatewaySettings,
    pub identity: Vec<IdentityProvider>,
    pub api_keys: Vec<ApiKey>,
    pub servers: Vec<Server>,
    /// In the order in which they are asked.
    pub quotas: Vec<Quota>,
    pub limits: Limits,
    /// What tenants have to themselves: prefixes, addresses and ports of ours, VLANs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<Place>,
    /// How many new connections of a tenant the network card lets pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub connections: Vec<Connections>,
    /// What calling on after a kill leads to; absent: a kill drops nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kill_ladder: Option<LadderRule>,
    /// How long what was seen at an address counts; absent: the defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribution: Option<Attribution>,
}

impl Catalog {
    /// The ladder of every kill of a tenant, user or agent, within its bounds.
    ///
    /// # Errors
    /// The field, and what it may be.
    pub fn kill_ladder(&self) -> Result<Rule, RuleFault> {
        self.kill_ladder.unwrap_or_default().check(true)
    }
}

/// New connections of a tenant, as far as the network card knows whose they are: to its services, from
/// its prefixes, of its VLANs. Those past it are dropped.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Connections {
    pub tenant: String,
    pub rate: Rate,
    /// How many may be saved up, at least 1.
    pub burst: u32,
}

/// How clients see the gateway.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GatewaySettings {
    /// Scheme and authority, without a path: `https://gateway.example.com`. What audiences, RFC 9728
    /// metadata and `WWW-Authenticate` are built from.
    pub public_url: String,
    /// Values of `Host` that are answered, with port where it is not the scheme's own.
    pub hosts: Vec<String>,
    /// Values of `Origin` that browsers may come from. Empty: none.
    pub origins: Vec<String>,
}

/// Who signs tokens, and where in them the caller stands.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityProvider {
    pub name: String,
    /// Compared byte for byte with `iss`.
    pub issuer: String,
    /// One of them must be in `aud`.
    pub audiences: Vec<String>,
    /// The key set (RFC 7517) as JSON text; `dataplane-auth` reads it.
    pub jwks: String,
    pub claims: ClaimMap,
    /// How far the provider's clock may be off, at most 300.
    pub clock_skew_s: u32,
}

/// Names of claims; a dotted name walks into objects.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimMap {
    pub tenant: TenantFrom,
    pub user: Option<String>,
    pub agent: Option<String>,
    pub roles: Option<String>,
    pub groups: Option<String>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TenantFrom {
    /// A claim of the token.
    Claim(String),
    /// Everyone of this provider is of one tenant.
    Fixed(String),
}

/// `pck_<id>_<secret>`: only the digest of the secret is ever on an appliance.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    pub id: String,
    /// SHA-256 of the secret part, 64 lower-case hexadecimal digits.
    pub secret_sha256: String,
    pub tenant: String,
    pub user: Option<String>,
    pub agent: Option<String>,
    pub kind: CallerKind,
    pub roles: Vec<String>,
    pub groups: Vec<String>,
    #[serde(with = "wall::option", default)]
    pub expires_at: Option<WallNanos>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CallerKind {
    User,
    Agent,
    Service,
}

/// An upstream MCP server, its tools pinned.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    pub name: String,
    /// `http` or `https`, with the MCP endpoint's path.
    pub url: String,
    pub era: Era,
    /// The MCP revision that the server was found to speak, for example `2025-11-25`.
    pub protocol: String,
    /// PEM of a private certificate authority; absent: the public ones.
    pub ca_pem: Option<String>,
    pub inject: Option<Inject>,
    pub timeouts: Timeouts,
    pub tools: Vec<Tool>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Era {
    /// 2026-07-28: stateless.
    Modern,
    /// 2025-11-25 and before: `initialize` and sessions.
    Legacy,
}

/// The credential that the gateway adds: header `header: prefix + secret's value`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Inject {
    pub header: String,
    /// For example `Bearer ` with its space; may be empty.
    pub prefix: String,
    /// Name of the secret whose lease is used.
    pub secret: String,
}

/// Time-outs towards one server; each is at least 1 and at most an hour.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    pub connect_ms: u64,
    /// From the request's last byte to the answer's head.
    pub response_head_ms: u64,
    /// Between two pieces of an answer.
    pub idle_ms: u64,
    /// The whole call.
    pub call_ms: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect_ms: 3_000, response_head_ms: 30_000, idle_ms: 60_000, call_ms: 300_000 }
    }
}

/// One pinned tool.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    pub name: String,
    /// SHA-256 of the canonical definition, 64 lower-case hexadecimal digits.
    pub digest: String,
    /// The definition that is listed: one JSON object, validated by the control plane.
    pub definition: String,
    /// Its intent is durable before it is forwarded.
    pub destructive: bool,
    pub read_only: bool,
}

/// How often callers may call.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    pub name: String,
    /// Who shares one bucket.
    pub per: Per,
    pub calls: Rate,
    /// Calls that may be saved up.
    pub burst: u32,
    /// Counts calls to this server only; absent: to all.
    pub server: Option<String>,
    /// Counts calls to this tool of `server` only.
    pub tool: Option<String>,
    /// What ignoring its refusals leads to; absent: the defaults, by which nobody is dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ladder: Option<LadderRule>,
}

impl Quota {
    /// The ladder of this quota, within its bounds.
    ///
    /// # Errors
    /// The field, and what it may be. Only a quota that counts every call of whoever shares its bucket
    /// may drop: whom it refuses, it refuses whatever is called.
    pub fn ladder(&self) -> Result<Rule, RuleFault> {
        let counts_every_call = self.server.is_none() && self.per != Per::CallerTool;
        self.ladder.unwrap_or_default().check(counts_every_call)
    }
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    Tenant,
    User,
    Agent,
    /// Tenant, user and agent together.
    Caller,
    CallerTool,
}

/// `units` each `period_ms`; both at least 1.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    pub units: u32,
    pub period_ms: u64,
}

/// What one call may cost the gateway.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// A request's body, at most 16 MiB.
    pub request_bytes_max: u32,
    /// A JSON answer, at most 64 MiB.
    pub answer_bytes_max: u32,
    /// One event of a stream, at most 16 MiB.
    pub event_bytes_max: u32,
    /// Client connections of one core, at most 65,536.
    pub connections_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_bytes_max: 1 << 20,
            answer_bytes_max: 8 << 20,
            event_bytes_max: 1 << 20,
            connections_max: 10_000,
        }
    }
}
