//! The bounds of a catalog: counts, lengths, names, and that nothing is there twice.
//!
//! Run by who builds a bundle and again by who opens one, so that a bundle that was signed is a
//! bundle that can be used.

use dataplane_drops::{PLACES_MAX, PlaceFault, RuleFault, check_places};

use crate::Refused;
use crate::catalog::{
    ApiKey, Catalog, Connections, GatewaySettings, IdentityProvider, Inject, Limits, Quota, Server,
    TenantFrom, Timeouts, Tool,
};
use crate::limits::{
    API_KEYS_MAX, AUDIENCES_MAX, CA_PEM_BYTES_MAX, CLOCK_SKEW_S_MAX, CONNECTIONS_MAX,
    DEFINITION_BYTES_MAX, HEADER_BYTES_MAX, HOSTS_MAX, IDENTITY_BYTES_MAX, JWKS_BYTES_MAX,
    MEMBERSHIPS_MAX, PROVIDERS_MAX, QUOTA_PERIOD_MS_MAX, QUOTAS_MAX, SERVERS_MAX, TIMEOUT_MS_MAX,
    TOOLS_MAX, URL_BYTES_MAX,
};
use crate::names::{at_most, at_most_u64, distinct, identity, name, tool_name, wrong};

const PLACES: u64 = PLACES_MAX as u64;

impl Catalog {
    /// Refuses the first field that is past a bound, and names it.
    pub fn check(&self) -> Result<(), Refused> {
        self.gateway.check()?;
        at_most("identity", self.identity.len(), PROVIDERS_MAX)?;
        self.identity.iter().try_for_each(IdentityProvider::check)?;
        distinct("identity", self.identity.iter().map(|provider| provider.name.as_str()))?;
        distinct("identity.issuer", self.identity.iter().map(|provider| provider.issuer.as_str()))?;
        at_most("api_keys", self.api_keys.len(), API_KEYS_MAX)?;
        self.api_keys.iter().try_for_each(ApiKey::check)?;
        distinct("api_keys", self.api_keys.iter().map(|key| key.id.as_str()))?;
        at_most("servers", self.servers.len(), SERVERS_MAX)?;
        let tools = self.servers.iter().map(|server| server.tools.len()).sum();
        at_most("tools of all servers", tools, TOOLS_MAX)?;
        self.servers.iter().try_for_each(Server::check)?;
        distinct("servers", self.servers.iter().map(|server| server.name.as_str()))?;
        at_most("quotas", self.quotas.len(), QUOTAS_MAX)?;
        self.quotas.iter().try_for_each(Quota::check)?;
        distinct("quotas", self.quotas.iter().map(|quota| quota.name.as_str()))?;
        self.kill_ladder().map_err(|fault| ladder("kill_ladder", fault))?;
        let attribution = self.attribution.unwrap_or_default().check();
        attribution.map_err(|fault| ladder("attribution", fault))?;
        self.check_places()?;
        at_most("connections", self.connections.len(), CONNECTIONS_MAX)?;
        self.connections.iter().try_for_each(Connections::check)?;
        distinct("connections", self.connections.iter().map(|one| one.tenant.as_str()))?;
        self.limits.check()
    }

    fn check_places(&self) -> Result<(), Refused> {
        let tenants = self.places.iter().map(|place| &place.tenant);
        tenants.into_iter().try_for_each(|tenant| identity("places.tenant", tenant))?;
        check_places(&self.places).map_err(|fault| match fault {
            PlaceFault::TooMany { found } => {
                Refused::TooMuch { field: "places".to_owned(), found: found as u64, max: PLACES }
            }
            PlaceFault::NoPlace(target) => wrong(
                "places",
                &target.to_string(),
                "is no prefix, address and port, or VLAN from 1 to 4094",
            ),
            PlaceFault::Overlap(both) => {
                let found = format!("{} and {}", both.0, both.1);
                wrong("places", &found, "overlap and are two tenants'; keep them apart")
            }
        })
    }
}

impl GatewaySettings {
    fn check(&self) -> Result<(), Refused> {
        url("gateway.public_url", &self.public_url)?;
        at_most("gateway.hosts", self.hosts.len(), HOSTS_MAX)?;
        at_most("gateway.origins", self.origins.len(), HOSTS_MAX)?;
        self.hosts.iter().try_for_each(|host| visible("gateway.hosts", host, URL_BYTES_MAX))?;
        self.origins.iter().try_for_each(|origin| visible("gateway.origins", origin, URL_BYTES_MAX))
    }
}

impl IdentityProvider {
    fn check(&self) -> Result<(), Refused> {
        name("identity.name", &self.name)?;
        let field = |part: &str| format!("identity.{}.{part}", self.name);
        visible(&field("issuer"), &self.issuer, URL_BYTES_MAX)?;
        at_most(&field("audiences"), self.audiences.len(), AUDIENCES_MAX)?;
        if self.audiences.is_empty() {
            return Err(wrong(&field("audiences"), "", "is empty: no token would be for us"));
        }
        for audience in &self.audiences {
            visible(&field("audiences"), audience, URL_BYTES_MAX)?;
        }
        at_most(&field("jwks"), self.jwks.len(), JWKS_BYTES_MAX)?;
        let (TenantFrom::Claim(tenant) | TenantFrom::Fixed(tenant)) = &self.claims.tenant;
        identity(&field("claims.tenant"), tenant)?;
        let claims = &self.claims;
        for claim in [&claims.user, &claims.agent, &claims.roles, &claims.groups] {
            claim.as_deref().map_or(Ok(()), |claim| identity(&field("claims"), claim))?;
        }
        at_most(&field("clock_skew_s"), self.clock_skew_s as usize, CLOCK_SKEW_S_MAX as usize)
    }
}

impl ApiKey {
    fn check(&self) -> Result<(), Refused> {
        if self.id.is_empty() || !self.id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(wrong("api_keys.id", &self.id, "is not letters and digits"));
        }
        at_most("api_keys.id", self.id.len(), IDENTITY_BYTES_MAX)?;
        let field = |part: &str| format!("api_keys.{}.{part}", self.id);
        sha256(&field("secret_sha256"), &self.secret_sha256)?;
        identity(&field("tenant"), &self.tenant)?;
        for (part, who) in [("user", &self.user), ("agent", &self.agent)] {
            who.as_deref().map_or(Ok(()), |who| identity(&field(part), who))?;
        }
        memberships(&field("roles"), &self.roles)?;
        memberships(&field("groups"), &self.groups)
    }
}

impl Server {
    fn check(&self) -> Result<(), Refused> {
        name("servers.name", &self.name)?;
        let field = |part: &str| format!("servers.{}.{part}", self.name);
        url(&field("url"), &self.url)?;
        visible(&field("protocol"), &self.protocol, HEADER_BYTES_MAX)?;
        let pem = self.ca_pem.as_deref().unwrap_or_default();
        at_most(&field("ca_pem"), pem.len(), CA_PEM_BYTES_MAX)?;
        self.inject.as_ref().map_or(Ok(()), |inject| inject.check(&field("inject")))?;
        self.timeouts.check(&field("timeouts"))?;
        self.tools.iter().try_for_each(|tool| tool.check(&self.name))?;
        distinct(&field("tools"), self.tools.iter().map(|tool| tool.name.as_str()))
    }
}

impl Inject {
    /// RFC 9110 §5.6.2: a header's name is a token. The prefix may have spaces, nothing that ends a
    /// line.
    fn check(&self, field: &str) -> Result<(), Refused> {
        at_most(&format!("{field}.header"), self.header.len(), HEADER_BYTES_MAX)?;
        at_most(&format!("{field}.prefix"), self.prefix.len(), HEADER_BYTES_MAX)?;
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if self.header.is_empty() || !self.header.bytes().all(token) {
            return Err(wrong(&format!("{field}.header"), &self.header, "is not a header's name"));
        }
        if !self.prefix.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
            let rule = "has a byte that is not printable ASCII";
            return Err(wrong(&format!("{field}.prefix"), &self.prefix, rule));
        }
        name(&format!("{field}.secret"), &self.secret)
    }
}

impl Timeouts {
    fn check(&self, field: &str) -> Result<(), Refused> {
        for (part, wait_ms) in [
            ("connect_ms", self.connect_ms),
            ("response_head_ms", self.response_head_ms),
            ("idle_ms", self.idle_ms),
            ("call_ms", self.call_ms),
        ] {
            from_one(&format!("{field}.{part}"), wait_ms, TIMEOUT_MS_MAX)?;
        }
        Ok(())
    }
}

impl Tool {
    fn check(&self, server: &str) -> Result<(), Refused> {
        if tool_name("", &self.name).is_err() {
            return tool_name(&format!("servers.{server}.tools"), &self.name);
        }
        let well = is_sha256(&self.digest)
            && !self.definition.is_empty()
            && self.definition.len() <= DEFINITION_BYTES_MAX;
        if well {
            return Ok(());
        }
        let field = format!("servers.{server}.tools.{}", self.name);
        sha256(&format!("{field}.digest"), &self.digest)?;
        at_most(&format!("{field}.definition"), self.definition.len(), DEFINITION_BYTES_MAX)?;
        Err(wrong(&format!("{field}.definition"), "", "is empty"))
    }
}

impl Quota {
    fn check(&self) -> Result<(), Refused> {
        name("quotas.name", &self.name)?;
        let field = |part: &str| format!("quotas.{}.{part}", self.name);
        from_one(&field("calls.units"), self.calls.units.into(), u32::MAX.into())?;
        from_one(&field("calls.period_ms"), self.calls.period_ms, QUOTA_PERIOD_MS_MAX)?;
        from_one(&field("burst"), self.burst.into(), u32::MAX.into())?;
        self.server.as_deref().map_or(Ok(()), |server| name(&field("server"), server))?;
        self.ladder().map_err(|fault| ladder(&field("ladder"), fault))?;
        match (&self.server, &self.tool) {
            (Some(_), Some(tool)) => tool_name(&field("tool"), tool),
            (None, Some(tool)) => {
                Err(wrong(&field("tool"), tool, "stands without a server: name the server too"))
            }
            (_, None) => Ok(()),
        }
    }
}

impl Connections {
    fn check(&self) -> Result<(), Refused> {
        identity("connections.tenant", &self.tenant)?;
        let field = |part: &str| format!("connections.{}.{part}", self.tenant);
        from_one(&field("rate.units"), self.rate.units.into(), u32::MAX.into())?;
        from_one(&field("rate.period_ms"), self.rate.period_ms, QUOTA_PERIOD_MS_MAX)?;
        from_one(&field("burst"), self.burst.into(), u32::MAX.into())
    }
}

impl Limits {
    fn check(&self) -> Result<(), Refused> {
        let bounds = [
            ("limits.request_bytes_max", self.request_bytes_max, 16 << 20),
            ("limits.answer_bytes_max", self.answer_bytes_max, 64 << 20),
            ("limits.event_bytes_max", self.event_bytes_max, 16 << 20),
            ("limits.connections_max", self.connections_max, 65_536),
        ];
        bounds.iter().try_for_each(|&(field, found, max)| from_one(field, found.into(), max))
    }
}

fn ladder(field: &str, fault: RuleFault) -> Refused {
    match fault {
        RuleFault::Bounds { field: part, found, .. } => {
            wrong(&format!("{field}.{part}"), &found.to_string(), "is out of its bounds")
        }
        RuleFault::Selective => wrong(
            &format!("{field}.drop"),
            "",
            "is for a quota that counts every call of whoever shares its bucket",
        ),
    }
}

fn memberships(field: &str, names: &[String]) -> Result<(), Refused> {
    at_most(field, names.len(), MEMBERSHIPS_MAX)?;
    names.iter().try_for_each(|name| identity(field, name))
}

fn url(field: &str, found: &str) -> Result<(), Refused> {
    visible(field, found, URL_BYTES_MAX)?;
    if found.starts_with("http://") || found.starts_with("https://") {
        return Ok(());
    }
    Err(wrong(field, found, "does not start with http:// or https://"))
}

/// Printable ASCII without spaces, at least one byte.
fn visible(field: &str, found: &str, max: usize) -> Result<(), Refused> {
    at_most(field, found.len(), max)?;
    if !found.is_empty() && found.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(wrong(field, found, "is empty, or has a byte that is not visible ASCII"))
}

fn from_one(field: &str, found: u64, max: u64) -> Result<(), Refused> {
    if found == 0 {
        return Err(wrong(field, "0", "has to be at least 1"));
    }
    at_most_u64(field, found, max)
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn sha256(field: &str, found: &str) -> Result<(), Refused> {
    let rule = "is not a SHA-256: 64 lower-case hexadecimal digits";
    if is_sha256(found) { Ok(()) } else { Err(wrong(field, found, rule)) }
}
