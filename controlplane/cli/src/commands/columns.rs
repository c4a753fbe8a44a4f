//! The columns of each table: a heading, and where in an item the cell is (a JSON pointer).

/// Headings and pointers.
pub(super) type Columns = &'static [(&'static str, &'static str)];

pub(super) const TOOLS: Columns = &[
    ("server", "/server"),
    ("tool", "/name"),
    ("state", "/state"),
    ("destructive", "/destructive"),
    ("description", "/description"),
];
pub(super) const SERVERS: Columns = &[
    ("name", "/name"),
    ("url", "/spec/url"),
    ("era", "/era"),
    ("tools", "/tools"),
    ("drifted", "/drifted"),
    ("asked", "/asked_at"),
    ("fault", "/fault"),
];
pub(super) const KILLS: Columns = &[
    ("id", "/id"),
    ("target", "/target"),
    ("reason", "/reason"),
    ("by", "/author"),
    ("since", "/at"),
    ("until", "/expires_at"),
];
pub(super) const QUOTAS: Columns = &[
    ("name", "/name"),
    ("per", "/spec/per"),
    ("calls", "/spec/calls"),
    ("burst", "/spec/burst"),
    ("server", "/spec/server"),
    ("tool", "/spec/tool"),
];
pub(super) const SECRETS: Columns = &[
    ("name", "/name"),
    ("revision", "/revision"),
    ("set", "/set_at"),
    ("by", "/set_by"),
    ("used by", "/used_by"),
];
pub(super) const KEYS: Columns = &[
    ("id", "/id"),
    ("tenant", "/tenant"),
    ("user", "/user"),
    ("agent", "/agent"),
    ("roles", "/roles"),
    ("until", "/expires_at"),
    ("description", "/description"),
];
pub(super) const APPLIANCES: Columns = &[
    ("name", "/name"),
    ("id", "/id"),
    ("state", "/state"),
    ("revision", "/revision"),
    ("kills", "/kill_serial"),
    ("seen", "/seen_at"),
    ("trouble", "/trouble"),
    ("refused", "/refused"),
];
pub(super) const REVISIONS: Columns = &[
    ("revision", "/revision"),
    ("at", "/at"),
    ("author", "/author"),
    ("how", "/how"),
    ("+", "/added"),
    ("~", "/changed"),
    ("-", "/removed"),
    ("message", "/message"),
];

pub(super) const TENANTS: Columns =
    &[("name", "/name"), ("disabled", "/spec/disabled"), ("description", "/spec/description")];
pub(super) const IDENTITY: Columns = &[
    ("name", "/name"),
    ("issuer", "/spec/issuer"),
    ("audience", "/spec/audience"),
    ("tenant", "/spec/tenant"),
    ("claims", "/spec/claims"),
];
pub(super) const ROLES: Columns = &[
    ("name", "/name"),
    ("users", "/spec/users"),
    ("agents", "/spec/agents"),
    ("groups", "/spec/groups"),
    ("description", "/spec/description"),
];
pub(super) const GROUPS: Columns = &[
    ("name", "/name"),
    ("users", "/spec/users"),
    ("agents", "/spec/agents"),
    ("description", "/spec/description"),
];
pub(super) const POLICIES: Columns = &[("path", "/name"), ("lines", "/lines"), ("rules", "/rules")];
pub(super) const TOKENS: Columns = &[
    ("id", "/id"),
    ("name", "/name"),
    ("role", "/role"),
    ("by", "/created_by"),
    ("created", "/created_at"),
    ("until", "/expires_at"),
];
pub(super) const ADMIN_LOG: Columns = &[
    ("at", "/at"),
    ("who", "/who"),
    ("method", "/method"),
    ("path", "/path"),
    ("status", "/status"),
    ("outcome", "/outcome"),
];
pub(super) const OBJECTS: Columns = &[("kind", "/kind"), ("name", "/name")];
