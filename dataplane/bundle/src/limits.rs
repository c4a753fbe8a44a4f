//! Every bound of what a control plane may tell an appliance.
//!
//! Both sides check them: who builds a bundle refuses to sign what the appliance would refuse to
//! read. A release that raises one is rolled out to appliances before control planes.

/// A whole bundle. 16,384 tools of 2 KiB with their table take about half.
pub const BUNDLE_BYTES_MAX: usize = 64 << 20;
/// Servers in a catalog; the policy table counts them in 16 bits.
pub const SERVERS_MAX: usize = 1_024;
/// Tools of all servers together.
pub const TOOLS_MAX: usize = 16_384;
/// One tool's definition, as JSON. The largest public ones are near 20 KiB.
pub const DEFINITION_BYTES_MAX: usize = 64 << 10;
/// A tool's name: MCP 2025-11-25, server/tools, "Tool Names".
pub const TOOL_NAME_BYTES_MAX: usize = 128;
/// A server's, quota's, provider's, secret's or appliance's name: a DNS label (RFC 1035 §2.3.4).
pub const NAME_BYTES_MAX: usize = 63;
/// What an identity provider calls a tenant, user, agent, client, role or group.
pub const IDENTITY_BYTES_MAX: usize = 256;
/// Roles, or groups, of one caller.
pub const MEMBERSHIPS_MAX: usize = 256;
/// A URL. RFC 9110 §4.1 asks for at least 8,000 on the wire; nobody types that.
pub const URL_BYTES_MAX: usize = 2_048;
/// Host names, and origins, that the gateway answers to.
pub const HOSTS_MAX: usize = 256;
/// Identity providers.
pub const PROVIDERS_MAX: usize = 64;
/// Audiences that one provider's tokens may name.
pub const AUDIENCES_MAX: usize = 64;
/// One provider's JWKS document.
pub const JWKS_BYTES_MAX: usize = 128 << 10;
/// A private certificate authority in PEM, for one server.
pub const CA_PEM_BYTES_MAX: usize = 64 << 10;
/// Seconds that a token's clock may be off.
pub const CLOCK_SKEW_S_MAX: u32 = 300;
/// API keys.
pub const API_KEYS_MAX: usize = 16_384;
/// Tenants whose new connections are bounded: a quarter of those that the card has numbers for.
pub const CONNECTIONS_MAX: usize = 1_024;
/// Quotas.
pub const QUOTAS_MAX: usize = 256;
/// One quota's period: 31 days.
pub const QUOTA_PERIOD_MS_MAX: u64 = 31 * 24 * 3_600_000;
/// A time-out towards a server: one hour.
pub const TIMEOUT_MS_MAX: u64 = 3_600_000;
/// A header's name or prefix that carries a secret.
pub const HEADER_BYTES_MAX: usize = 128;
/// Decisions that a bundle brings along to be tried before it is used.
pub const SELF_TESTS_MAX: usize = 4_096;
/// One self-test's arguments, as JSON.
pub const SELF_TEST_ARGUMENTS_BYTES_MAX: usize = 16 << 10;
/// Kills that are in force at once (bounded, so that a kill list is read in no time).
pub const KILLS_MAX: usize = 1_024;
/// A signed kill list.
pub const KILL_LIST_BYTES_MAX: usize = 2 << 20;
/// A kill's reason, and its author.
pub const REASON_BYTES_MAX: usize = 512;
/// Leases of one appliance.
pub const LEASES_MAX: usize = 1_024;
/// One secret's value; longer header values are refused by common servers.
pub const SECRET_BYTES_MAX: usize = 8 << 10;
