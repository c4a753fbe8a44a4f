//! Who is calling, before the body is read: path, host, origin, credential.
//!
//! A credential is verified once for each endpoint and core; after that a keyed hash finds the
//! caller, with its policy subject and its buckets, ready. A new bundle may have changed what a caller is,
//! or withdrawn its key, so nobody is known under it before its credential was verified again.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use dataplane_audit::CallerNames;
use dataplane_auth::{Caller, CallerKind, Verifier};
use dataplane_bundle::{Catalog, Per};
use dataplane_drops::{Cause, Names, Owner, Subject as Climber};
use dataplane_ingress::{Accept, Head, Method};
use dataplane_policy::{CallerFacts, Subject};
use dataplane_quota::{BucketKey, Refusal as QuotaRefusal};
use dataplane_telemetry::Now;

use crate::configuration::{Configuration, Unfit};
use crate::fault::{Fault, Refusal};
use crate::kills::CallerKeys;
use crate::methods;
use crate::route::{Purpose, route};
use crate::session::Binding;
use crate::stages::Stages;

/// A verified caller with everything that is looked up once.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub caller: Caller,
    pub subject: Subject,
    /// For each quota of the configuration that counts this caller.
    pub counted: Box<[Counted]>,
    /// Who this is where addresses and connections are attributed.
    pub owner: Owner,
    /// Of the configuration whose numbers these are.
    pub epoch: u64,
}

/// A caller under one quota.
#[derive(Debug)]
pub(crate) struct Counted {
    /// The quota's number in the configuration.
    pub quota: usize,
    pub bucket: BucketKey,
    /// Who climbs when its refusals are ignored.
    pub climber: Arc<Climber>,
}

/// What the cache keeps.
pub(crate) struct Kept(pub Rc<Admitted>);

impl AsRef<Caller> for Kept {
    fn as_ref(&self) -> &Caller {
        &self.0.caller
    }
}

impl Admitted {
    fn new(caller: Caller, configuration: &Configuration, stages: &Stages) -> Self {
        let roles: Vec<&str> = caller.roles.iter().map(String::as_str).collect();
        let groups: Vec<&str> = caller.groups.iter().map(String::as_str).collect();
        let subject = configuration.table.subject(&CallerFacts {
            tenant: &caller.tenant,
            kind: policy_kind(caller.kind),
            user: caller.user.as_deref(),
            agent: caller.agent.as_deref(),
            roles: &roles,
            groups: &groups,
        });
        let (user, agent) = (caller.user.as_deref(), caller.agent.as_deref());
        let names = Names { tenant: &caller.tenant, user, agent };
        let owner = stages.drop_keys.owner(names);
        let counted = configuration.quotas.iter().enumerate().filter_map(|(quota, rule)| {
            let tenant = caller.tenant.as_bytes();
            let whole = [tenant, part(user), part(agent)];
            let identity: &[&[u8]] = match rule.per {
                Per::Tenant => &[tenant],
                Per::User => &[tenant, user?.as_bytes()],
                Per::Agent => &[tenant, agent?.as_bytes()],
                Per::Caller | Per::CallerTool => &whole,
            };
            // Rules are counted by name: a new bundle does not fill anybody's bucket again.
            let named = [rule.name.as_bytes()];
            let parts: Vec<&[u8]> = named.iter().chain(identity).copied().collect();
            let bucket = stages.quotas.key(0, &parts);
            let cause = Cause::Quota(Arc::clone(&rule.name));
            let climber = stages.drop_keys.subject(cause, grain(rule.per), names, rule.ladder)?;
            Some(Counted { quota, bucket, climber: Arc::new(climber) })
        });
        let counted = counted.collect();
        Self { caller, subject, counted, owner, epoch: stages.epoch }
    }

    pub(crate) fn names(&self) -> CallerNames<'_> {
        CallerNames {
            tenant: &self.caller.tenant,
            user: self.caller.user.as_deref().unwrap_or_default(),
            agent: self.caller.agent.as_deref().unwrap_or_default(),
            client: self
                .caller
                .client_id
                .as_deref()
                .or(self.caller.token_id.as_deref())
                .unwrap_or_default(),
        }
    }

    pub(crate) fn kill_keys(&self) -> CallerKeys<'_> {
        CallerKeys {
            tenant: &self.caller.tenant,
            user: self.caller.user.as_deref(),
            agent: self.caller.agent.as_deref(),
            client: self.caller.client_id.as_deref(),
            token: self.caller.token_id.as_deref(),
        }
    }

    /// Whose sessions these are, at this path.
    pub(crate) fn binding(&self, path: &[u8]) -> Binding {
        let caller = &self.caller;
        let kind = [match caller.kind {
            CallerKind::User => b'u',
            CallerKind::Agent => b'a',
            CallerKind::Service => b's',
        }];
        Binding::of(&[
            path,
            &kind,
            caller.tenant.as_bytes(),
            part(caller.user.as_deref()),
            part(caller.agent.as_deref()),
            part(caller.client_id.as_deref()),
        ])
    }
}

/// The grain of a quota's ladder: a caller has one for all tools.
const fn grain(per: Per) -> dataplane_drops::Per {
    match per {
        Per::Tenant => dataplane_drops::Per::Tenant,
        Per::User => dataplane_drops::Per::User,
        Per::Agent => dataplane_drops::Per::Agent,
        Per::Caller | Per::CallerTool => dataplane_drops::Per::Caller,
    }
}

fn part(text: Option<&str>) -> &[u8] {
    text.map(str::as_bytes).unwrap_or_default()
}

const fn policy_kind(kind: CallerKind) -> dataplane_policy::CallerKind {
    match kind {
        CallerKind::User => dataplane_policy::CallerKind::User,
        CallerKind::Agent => dataplane_policy::CallerKind::Agent,
        CallerKind::Service => dataplane_policy::CallerKind::Service,
    }
}

impl Stages {
    /// Answers what needs no caller: a wrong path, a foreign host, metadata. True when it did.
    pub(crate) fn answer_without_caller(
        &mut self,
        head: &Head,
        inbox: &[u8],
        outbox: &mut Vec<u8>,
    ) -> Result<bool, Fault<'static>> {
        let configuration = self.configuration()?;
        let settings = &configuration.catalog.gateway;
        let host = head.headers.host.of(inbox);
        if !settings.hosts.iter().any(|ours| ours.as_bytes().eq_ignore_ascii_case(host)) {
            return Err(Refusal::ForeignHost.into());
        }
        let origin = head.headers.origin.map(|span| span.of(inbox));
        if let Some(origin) = origin
            && !settings.origins.iter().any(|ours| ours.as_bytes() == origin)
        {
            return Err(Refusal::ForeignOrigin.into());
        }
        let (purpose, endpoint) = route(head.path.of(inbox)).ok_or(Refusal::NoSuchPath)?;
        match (purpose, head.method) {
            (Purpose::Mcp, Method::Post | Method::Get | Method::Delete) => Ok(false),
            (Purpose::Mcp, _) => Err(Refusal::Method { allow: "POST" }.into()),
            (Purpose::Metadata, Method::Get) => {
                methods::metadata(&configuration, endpoint, head, outbox);
                Ok(true)
            }
            (Purpose::Metadata, _) => Err(Refusal::Method { allow: "GET" }.into()),
        }
    }

    /// The caller of a request for an MCP endpoint, once its head is whole.
    pub(crate) fn admit(
        &mut self,
        head: &Head,
        inbox: &[u8],
        peer: IpAddr,
        now: Now,
    ) -> Result<Rc<Admitted>, Fault<'static>> {
        let configuration = self.configuration()?;
        let credential = head.headers.authorization.map(|span| span.of(inbox)).and_then(bearer);
        let credential = credential.ok_or(Refusal::Unauthenticated(None))?;
        let mut audience = std::mem::take(&mut self.audience);
        audience.clear();
        audience.push_str(&configuration.catalog.gateway.public_url);
        audience.push_str(std::str::from_utf8(head.path.of(inbox)).unwrap_or_default());
        let caller = self.caller(&configuration, credential, &audience, peer, now);
        self.audience = audience;
        let caller = caller?;
        if head.method == Method::Post {
            acceptable(head, inbox)?;
        }
        if self.is_draining {
            return Err(Refusal::Draining.into());
        }
        Ok(caller)
    }

    fn caller(
        &mut self,
        configuration: &Configuration,
        credential: &[u8],
        audience: &str,
        peer: IpAddr,
        now: Now,
    ) -> Result<Rc<Admitted>, Refusal<'static>> {
        let key = self.callers.key(audience, credential);
        if let Some(Kept(caller)) = self.callers.lookup(key, now.wall, self.epoch) {
            self.counters.cache_hits += 1;
            return Ok(Rc::clone(caller));
        }
        self.misses
            .may_check(peer, now.mono)
            .map_err(|refusal| Refusal::TooManyChecks { wait_ms: wait_ms(refusal, now) })?;
        self.counters.verified += 1;
        let caller = self.verifier.verify(credential, audience, now.wall).map_err(|refused| {
            if refused.cost_a_check() {
                self.misses.failed(peer, now.mono);
            }
            self.counters.unauthenticated += 1;
            Refusal::Unauthenticated(Some(refused))
        })?;
        let admitted = Rc::new(Admitted::new(caller, configuration, self));
        let kept = Kept(Rc::clone(&admitted));
        self.callers.admit(key, kept, self.epoch);
        Ok(admitted)
    }
}

/// How long until a bucket has what was asked, rounded up.
pub(crate) fn wait_ms(refusal: QuotaRefusal, now: Now) -> u64 {
    match refusal {
        QuotaRefusal::Wait(at) => at.since(now.mono).div_ceil(1_000_000).max(1),
        QuotaRefusal::TooLarge | QuotaRefusal::Crowded => 1_000,
    }
}

/// RFC 6750 §2.1; the scheme in any case (RFC 9110 §11.1), one space.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, credential) = value.split_at_checked(7)?;
    let fits = scheme.eq_ignore_ascii_case(b"bearer ") && !credential.is_empty();
    fits.then_some(credential)
}

/// What a POST says about its body and about what it takes.
fn acceptable(head: &Head, inbox: &[u8]) -> Result<(), Refusal<'static>> {
    let known = &head.headers;
    if known.content_encoding.is_some() {
        return Err(Refusal::Encoded);
    }
    let content_type = known.content_type.map(|span| span.of(inbox)).unwrap_or_default();
    let media_type = dataplane_ingress::framing::media_type(content_type);
    if !media_type.eq_ignore_ascii_case(b"application/json") {
        return Err(Refusal::NotJson);
    }
    match known.accept {
        Accept { present: true, json: true, event_stream: true } => Ok(()),
        Accept { .. } => Err(Refusal::NotAcceptable),
    }
}

/// The verifier of one catalog.
pub(crate) fn verifier(catalog: &Catalog) -> Result<Verifier, Unfit> {
    let providers = catalog.identity.iter().map(|found| {
        let unfit = |fault: String| Unfit::Identity { provider: found.name.clone(), fault };
        provider(found).map_err(unfit)
    });
    let keys = catalog.api_keys.iter().map(|key| {
        let unfit = || Unfit::Identity {
            provider: format!("API key {}", key.id),
            fault: "its digest is not 64 hexadecimal digits".into(),
        };
        Ok(dataplane_auth::ApiKey {
            id: key.id.clone(),
            secret_sha256: digest(&key.secret_sha256).ok_or_else(unfit)?,
            tenant: key.tenant.clone(),
            kind: caller_kind(key.kind),
            user: key.user.clone(),
            agent: key.agent.clone(),
            roles: key.roles.clone(),
            groups: key.groups.clone(),
            expires_at: key.expires_at,
        })
    });
    let unfit = |fault: String| Unfit::Identity { provider: "(all)".into(), fault };
    let keys = dataplane_auth::ApiKeys::new(keys.collect::<Result<_, Unfit>>()?)
        .map_err(|fault| unfit(fault.to_string()))?;
    Verifier::new(providers.collect::<Result<_, _>>()?, keys)
        .map_err(|fault| unfit(fault.to_string()))
}

fn provider(
    found: &dataplane_bundle::IdentityProvider,
) -> Result<dataplane_auth::Provider, String> {
    let path =
        |text: &String| dataplane_auth::ClaimPath::parse(text).map_err(|fault| fault.to_string());
    let optional = |text: &Option<String>| text.as_ref().map(path).transpose();
    let claims = &found.claims;
    let keys = dataplane_auth::Jwks::parse(found.jwks.as_bytes()).map_err(|f| f.to_string())?;
    Ok(dataplane_auth::Provider {
        name: found.name.clone(),
        issuer: found.issuer.clone(),
        audiences: found.audiences.clone(),
        keys: keys.keys,
        claims: dataplane_auth::ClaimMap {
            tenant: match &claims.tenant {
                dataplane_bundle::TenantFrom::Claim(claim) => {
                    dataplane_auth::TenantFrom::Claim(path(claim)?)
                }
                dataplane_bundle::TenantFrom::Fixed(tenant) => {
                    dataplane_auth::TenantFrom::Fixed(tenant.clone())
                }
            },
            user: optional(&claims.user)?,
            agent: optional(&claims.agent)?,
            roles: optional(&claims.roles)?,
            groups: optional(&claims.groups)?,
        },
        clock_skew_s: found.clock_skew_s,
    })
}

const fn caller_kind(kind: dataplane_bundle::CallerKind) -> CallerKind {
    match kind {
        dataplane_bundle::CallerKind::User => CallerKind::User,
        dataplane_bundle::CallerKind::Agent => CallerKind::Agent,
        dataplane_bundle::CallerKind::Service => CallerKind::Service,
    }
}

fn digest(text: &str) -> Option<[u8; 32]> {
    let (mut out, bytes) = ([0; 32], text.as_bytes());
    if bytes.len() != 64 || !bytes.is_ascii() {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(bytes.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(out)
}
