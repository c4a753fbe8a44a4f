//! From a revision's objects to the catalog of the bundle.

use controlplane_api::names::split_tool;
use controlplane_api::objects::{self, ApiKey, Identity, PinnedTool, Server, Timeouts};
use controlplane_api::wire::CallerKind;
use controlplane_api::{ObjectSet, Problem};
use dataplane_bundle as bundle;
use dataplane_drops::Place;
use dataplane_telemetry::WallNanos;
use serde_json::Value;

/// Key set of a provider whose keys are not known yet: its tokens are refused until they are.
const NO_KEYS: &str = r#"{"keys":[]}"#;

/// Of a server that was never reached.
const REVISION_UNKNOWN: &str = "2025-11-25";

/// What people and the server say of a tool.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Flags {
    pub destructive: bool,
    pub read_only: bool,
}

/// Flags of a server's tools: what people wrote beats what the server says. A server's word alone
/// can make a tool *more* careful, not less: without `readOnlyHint` it counts as writing, and only
/// `destructiveHint: true` makes it destructive.
pub(crate) fn flags(server: &str, set: &ObjectSet) -> impl Fn(&PinnedTool) -> Flags {
    let written = set.servers.get(server).map(|server| server.tools.clone()).unwrap_or_default();
    move |tool| {
        let definition: Value = serde_json::from_str(&tool.definition).unwrap_or_default();
        let hint = |name: &str| {
            definition.pointer(&format!("/annotations/{name}")).and_then(Value::as_bool)
        };
        let said = written.get(&tool.name);
        let read_only = hint("readOnlyHint").unwrap_or(false);
        let destructive = hint("destructiveHint").unwrap_or(false) && !read_only;
        Flags {
            destructive: said.and_then(|said| said.destructive).unwrap_or(destructive),
            read_only: said.and_then(|said| said.read_only).unwrap_or(read_only),
        }
    }
}

/// The catalog of a checked set.
///
/// # Errors
/// When a key set or a claim cannot be read by the dataplane.
pub(crate) fn catalog(set: &ObjectSet) -> Result<bundle::Catalog, Problem> {
    let mut identity = Vec::new();
    for (name, provider) in &set.identity {
        identity.push(self::identity(name, provider, set)?);
    }
    let servers = set.servers.iter().map(|(name, server)| self::server(name, server, set));
    let mut quotas = Vec::new();
    for (name, quota) in &set.quotas {
        quotas.push(self::quota(name, quota, set)?);
    }
    let (mut places, mut connections) = (Vec::new(), Vec::new());
    for (tenant, written) in &set.tenants {
        let own = written.places()?.into_iter();
        places.extend(own.map(|target| Place { target, tenant: tenant.clone() }));
        if let Some((rate, burst)) = written.new_connections()? {
            let rate = bundle::Rate { units: rate.units, period_ms: rate.period_ms };
            connections.push(bundle::Connections { tenant: tenant.clone(), rate, burst });
        }
    }
    let mut hosts = vec![set.gateway.public_host().to_ascii_lowercase()];
    hosts.extend(set.gateway.hosts.iter().map(|host| host.to_ascii_lowercase()));
    hosts.dedup();
    Ok(bundle::Catalog {
        gateway: bundle::GatewaySettings {
            public_url: set.gateway.public_url.trim_end_matches('/').to_owned(),
            hosts,
            origins: set.gateway.origins.clone(),
        },
        identity,
        api_keys: set.api_keys.iter().map(|(id, key)| api_key(id, key)).collect(),
        servers: servers.collect(),
        quotas,
        limits: bundle::Limits::default(),
        places,
        connections,
        kill_ladder: set.gateway.kill_ladder.map(|ladder| ladder.rule()),
        attribution: set.gateway.attribution.map(|written| written.rule()),
    })
}

fn identity(
    name: &str,
    provider: &Identity,
    set: &ObjectSet,
) -> Result<bundle::IdentityProvider, Problem> {
    let field = |part: &str| format!("identity.{name}.{part}");
    let claims = &provider.claims;
    let named = [&claims.tenant, &claims.user, &claims.agent, &claims.roles, &claims.groups];
    for claim in named.into_iter().flatten() {
        dataplane_auth::ClaimPath::parse(claim).map_err(|fault| {
            Problem::invalid(fault.to_string()).field(field("claims")).help(
                "write a name, a dotted path like `realm_access.roles`, or a pointer like `/a/b`",
            )
        })?;
    }
    if let Some(jwks) = &provider.jwks {
        crate::jwks::check(jwks.as_bytes())
            .map_err(|why| Problem::invalid(format!("`jwks`: {why}")).field(field("jwks")))?;
    }
    let fetched = set.jwks.get(name).map(|jwks| jwks.document.clone());
    let tenant = match (&provider.tenant, &claims.tenant) {
        (Some(tenant), _) => bundle::TenantFrom::Fixed(tenant.clone()),
        (None, claim) => bundle::TenantFrom::Claim(claim.clone().unwrap_or_default()),
    };
    Ok(bundle::IdentityProvider {
        name: name.to_owned(),
        issuer: provider.issuer.clone(),
        audiences: provider.audience.clone(),
        jwks: provider.jwks.clone().or(fetched).unwrap_or_else(|| NO_KEYS.to_owned()),
        claims: bundle::ClaimMap {
            tenant,
            user: Some(claims.user.clone().unwrap_or_else(|| "sub".to_owned())),
            agent: claims.agent.clone(),
            roles: claims.roles.clone(),
            groups: claims.groups.clone(),
        },
        clock_skew_s: provider.clock_skew_s,
    })
}

pub(crate) fn kind(kind: CallerKind) -> bundle::CallerKind {
    match kind {
        CallerKind::User => bundle::CallerKind::User,
        CallerKind::Agent => bundle::CallerKind::Agent,
        CallerKind::Service => bundle::CallerKind::Service,
    }
}

fn api_key(id: &str, key: &ApiKey) -> bundle::ApiKey {
    bundle::ApiKey {
        id: id.to_owned(),
        secret_sha256: key.sha256.clone(),
        tenant: key.tenant.clone(),
        user: key.user.clone(),
        agent: key.agent.clone(),
        kind: kind(key.kind),
        roles: key.roles.clone(),
        groups: key.groups.clone(),
        expires_at: Some(WallNanos(key.expires_at.nanos())),
    }
}

/// A server that never answered has no tools, so nothing is ever sent to it; era and revision stand
/// for whatever it will turn out to speak.
fn server(name: &str, server: &Server, set: &ObjectSet) -> bundle::Server {
    let pins = set.pins.get(name);
    let flags = flags(name, set);
    let inject = server.inject.as_ref().map(|inject| bundle::Inject {
        header: inject.header.clone(),
        prefix: inject.prefix().to_owned(),
        secret: inject.secret.clone(),
    });
    let tools = pins.iter().flat_map(|pins| &pins.tools).map(|tool| {
        let flags = flags(tool);
        bundle::Tool {
            name: tool.name.clone(),
            digest: tool.digest.clone(),
            definition: tool.definition.clone(),
            destructive: flags.destructive,
            read_only: flags.read_only,
        }
    });
    bundle::Server {
        name: name.to_owned(),
        url: server.url.clone(),
        era: match pins.map(|pins| pins.era) {
            Some(objects::Era::Modern) => bundle::Era::Modern,
            _ => bundle::Era::Legacy,
        },
        protocol: pins.map_or_else(|| REVISION_UNKNOWN.to_owned(), |pins| pins.revision.clone()),
        ca_pem: server.ca_pem.clone(),
        inject,
        timeouts: timeouts(&server.timeouts),
        tools: tools.collect(),
    }
}

fn timeouts(written: &Timeouts) -> bundle::Timeouts {
    let default = bundle::Timeouts::default();
    let or = |written: Option<u32>, default: u64| written.map_or(default, u64::from);
    bundle::Timeouts {
        connect_ms: or(written.connect_ms, default.connect_ms),
        response_head_ms: or(written.response_head_ms, default.response_head_ms),
        idle_ms: or(written.idle_ms, default.idle_ms),
        call_ms: or(written.call_ms, default.call_ms),
    }
}

fn quota(name: &str, quota: &objects::Quota, set: &ObjectSet) -> Result<bundle::Quota, Problem> {
    let rate = quota.rate()?;
    let (server, tool) = match &quota.tool {
        Some(tool) => {
            let (server, tool) = split_tool(tool)?;
            (Some(server), Some(tool))
        }
        None => (quota.server.clone(), None),
    };
    if let Some(server) = &server
        && !set.servers.contains_key(server)
    {
        return Err(Problem::invalid(format!(
            "quota `{name}` names the server `{server}`, which does not exist"
        ))
        .field(format!("quotas.{name}.server"))
        .help("write the name of a server of this folder, or leave it out"));
    }
    Ok(bundle::Quota {
        name: name.to_owned(),
        per: match quota.per {
            objects::Per::Tenant => bundle::Per::Tenant,
            objects::Per::Caller => bundle::Per::Caller,
            objects::Per::CallerTool => bundle::Per::CallerTool,
            objects::Per::User => bundle::Per::User,
            objects::Per::Agent => bundle::Per::Agent,
        },
        calls: bundle::Rate { units: rate.units, period_ms: rate.period_ms },
        burst: quota.burst.unwrap_or(rate.units),
        server,
        tool,
        ladder: quota.ladder.map(|ladder| ladder.rule()),
    })
}
