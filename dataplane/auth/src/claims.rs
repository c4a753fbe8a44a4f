//! Claims (RFC 7519 §4): for whom, until when, and who the caller is.

use dataplane_telemetry::WallNanos;

use crate::json::{Json, Object};
use crate::provider::{ClaimMap, ClaimPath, Provider, TenantFrom};
use crate::refused::shown;
use crate::{
    AUDIENCES_MAX, Caller, CallerKind, CredentialKind, NAME_BYTES_MAX, ROLES_MAX, Refused,
};

/// The issuer as the token claims it: not yet believed, it only picks whose keys are tried.
pub(crate) fn issuer(claims: &Object) -> Result<&str, Refused> {
    let issuer = claims.get("iss").ok_or_else(|| missing("iss"))?;
    issuer.text().ok_or_else(|| unusable("iss", "is not a text"))
}

/// All that can be said before the signature is checked. Returns when the token ends.
pub(crate) fn check(
    claims: &Object,
    provider: &Provider,
    audience: &str,
    wall: WallNanos,
) -> Result<WallNanos, Refused> {
    if claims.contains_key("cnf") {
        return Err(Refused::Bound);
    }
    check_audience(claims, provider, audience)?;
    let skew_ns = u64::from(provider.clock_skew_s) * 1_000_000_000;
    let later = |at: WallNanos| WallNanos(at.0.saturating_add(skew_ns));
    let expires_at = time(claims, "exp")?.ok_or_else(|| missing("exp"))?;
    if wall >= later(expires_at) {
        return Err(Refused::Expired { at: expires_at });
    }
    if let Some(from) = time(claims, "nbf")?.filter(|from| *from > later(wall)) {
        return Err(Refused::NotYet { from });
    }
    if let Some(at) = time(claims, "iat")?.filter(|at| *at > later(wall)) {
        return Err(Refused::IssuedInFuture { at });
    }
    Ok(later(expires_at))
}

fn check_audience(claims: &Object, provider: &Provider, audience: &str) -> Result<(), Refused> {
    let accepted = |text: &str| text == audience || provider.audiences.iter().any(|a| a == text);
    let found = match claims.get("aud").ok_or_else(|| missing("aud"))? {
        Json::Text(text) => accepted(text),
        Json::List(list) if list.len() > AUDIENCES_MAX => {
            return Err(unusable("aud", "is a longer list than is read"));
        }
        Json::List(list) => {
            let texts: Option<Vec<&str>> = list.iter().map(Json::text).collect();
            let texts = texts.ok_or_else(|| unusable("aud", "holds what is not a text"))?;
            texts.into_iter().any(accepted)
        }
        _ => return Err(unusable("aud", "is neither a text nor a list")),
    };
    if found { Ok(()) } else { Err(Refused::Audience { wanted: audience.into() }) }
}

/// NumericDate: seconds, perhaps with a fraction. What cannot be counted in nanoseconds until 2554
/// is refused, never rounded to the end of time.
fn time(claims: &Object, name: &str) -> Result<Option<WallNanos>, Refused> {
    const LATEST_S: u64 = u64::MAX / 1_000_000_000;
    let seconds = match claims.get(name) {
        None => return Ok(None),
        Some(Json::Whole(seconds)) => *seconds,
        #[expect(clippy::cast_possible_truncation, reason = "in range, and whole seconds do")]
        #[expect(clippy::cast_sign_loss, reason = "not negative")]
        Some(Json::Number(seconds)) if (0.0..1e10).contains(seconds) => *seconds as u64,
        Some(Json::Number(_)) => return Err(unusable(name, "is out of range")),
        Some(_) => return Err(unusable(name, "is not a number")),
    };
    if seconds > LATEST_S {
        return Err(unusable(name, "is out of range"));
    }
    Ok(Some(WallNanos::from_secs(seconds)))
}

/// Who the caller is. Only for claims whose signature is checked.
pub(crate) fn caller(
    claims: &Object,
    provider: &Provider,
    expires_at: WallNanos,
) -> Result<Caller, Refused> {
    let map = &provider.claims;
    let subject = optional(claims, "sub")?;
    let client_id = match optional(claims, "client_id")? {
        Some(client_id) => Some(client_id),
        None => optional(claims, "azp")?,
    };
    let user = match &map.user {
        Some(path) => name_at(claims, path)?,
        None => subject.clone(),
    };
    let agent = map.agent.as_ref().map(|path| name_at(claims, path)).transpose()?.flatten();
    // RFC 9068 §2.2: a client with a token of its own is its own subject.
    let user = user.filter(|user| client_id.as_ref() != Some(user));
    let (kind, user) = match (user, &agent) {
        (Some(user), _) => (CallerKind::User, Some(user)),
        (None, Some(_)) => (CallerKind::Agent, None),
        (None, None) => (CallerKind::Service, client_id.clone()),
    };
    if user.is_none() && agent.is_none() {
        return Err(missing(map.user.as_ref().map_or("sub", |_| "client_id")));
    }
    Ok(Caller {
        tenant: tenant(claims, map)?,
        kind,
        user,
        agent,
        roles: names_at(claims, map.roles.as_ref())?,
        groups: names_at(claims, map.groups.as_ref())?,
        client_id,
        token_id: optional(claims, "jti")?,
        subject,
        credential: CredentialKind::Token,
        provider: provider.name.clone(),
        issued_at: time(claims, "iat")?,
        expires_at,
    })
}

fn tenant(claims: &Object, map: &ClaimMap) -> Result<String, Refused> {
    let path = match &map.tenant {
        TenantFrom::Fixed(tenant) => return Ok(tenant.clone()),
        TenantFrom::Claim(path) => path,
    };
    let tenant = name_at(claims, path)?.ok_or_else(|| missing(&spelt(path)))?;
    // `tenant/user` is one name in policies, so a slash would let one tenant's user be another's.
    if tenant.contains('/') {
        return Err(unusable(&spelt(path), "is a tenant with a slash"));
    }
    Ok(tenant)
}

fn optional(claims: &Object, name: &str) -> Result<Option<String>, Refused> {
    claims.get(name).map(|value| usable_name(value, name)).transpose()
}

fn name_at(claims: &Object, path: &ClaimPath) -> Result<Option<String>, Refused> {
    at(claims, path).map(|value| usable_name(value, &spelt(path))).transpose()
}

/// Sorted, each once.
fn names_at(claims: &Object, path: Option<&ClaimPath>) -> Result<Vec<String>, Refused> {
    let Some((path, value)) = path.and_then(|path| Some((path, at(claims, path)?))) else {
        return Ok(Vec::new());
    };
    let claim = spelt(path);
    let mut names = match value {
        Json::List(list) if list.len() <= ROLES_MAX => {
            list.iter().map(|value| usable_name(value, &claim)).collect::<Result<Vec<_>, _>>()?
        }
        Json::Text(text) => {
            let names = text.split(' ').filter(|name| !name.is_empty()).take(ROLES_MAX + 1);
            names.map(|name| usable_text(name, &claim)).collect::<Result<Vec<_>, _>>()?
        }
        Json::List(_) => return Err(unusable(&claim, "names more than 256 (ROLES_MAX)")),
        _ => return Err(unusable(&claim, "is neither a list nor a text")),
    };
    if names.len() > ROLES_MAX {
        return Err(unusable(&claim, "names more than 256 (ROLES_MAX)"));
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// `null` is absent, as providers write it for people without an attribute.
fn at<'a>(claims: &'a Object, path: &ClaimPath) -> Option<&'a Json> {
    let (last, before) = path.steps.split_last()?;
    let mut object = claims;
    for step in before {
        let Some(Json::Object(inner)) = object.get(step) else { return None };
        object = inner;
    }
    object.get(last).filter(|value| **value != Json::Null)
}

fn usable_name(value: &Json, claim: &str) -> Result<String, Refused> {
    let text = value.text().ok_or_else(|| unusable(claim, "is not a text"))?;
    usable_text(text, claim)
}

fn usable_text(text: &str, claim: &str) -> Result<String, Refused> {
    if text.is_empty() {
        return Err(unusable(claim, "is empty"));
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(unusable(claim, "is longer than 256 bytes (NAME_BYTES_MAX)"));
    }
    if text.chars().any(char::is_control) {
        return Err(unusable(claim, "holds a control character"));
    }
    Ok(text.to_owned())
}

fn spelt(path: &ClaimPath) -> String {
    path.steps.join(".")
}

fn missing(name: &str) -> Refused {
    Refused::MissingClaim(shown(name))
}

fn unusable(name: &str, why: &'static str) -> Refused {
    Refused::Claim { name: shown(name), why }
}
