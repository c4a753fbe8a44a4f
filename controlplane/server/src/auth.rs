//! Who uses the REST API: bearer tokens, roles, and requests that a browser was talked into.

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use controlplane_api::Problem;
use controlplane_api::wire::{RoleOfToken, Token};
use controlplane_store::TokenRow;

use crate::app::{App, Shared};
use crate::fault::Fault;
use crate::random::{self, equal, sha256_hex};

/// The holder of a valid token.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    pub token: Token,
}

impl Who {
    /// # Errors
    /// 403, naming the role that is needed.
    pub(crate) fn may(&self, needed: RoleOfToken) -> Result<(), Fault> {
        if self.token.role >= needed {
            return Ok(());
        }
        let (has, needed) = (word(self.token.role), word(needed));
        let detail = format!("token `{}` has the role {has}; this needs {needed}", self.token.name);
        Err(Problem::new(403, "Not allowed", detail)
            .help(format!("use a token of role {needed}; an admin makes one"))
            .next(format!("portcullis tokens create NAME --role {needed}"))
            .into())
    }

    pub(crate) fn name(&self) -> &str {
        &self.token.name
    }
}

fn word(role: RoleOfToken) -> &'static str {
    match role {
        RoleOfToken::Auditor => "auditor",
        RoleOfToken::Operator => "operator",
        RoleOfToken::Admin => "admin",
    }
}

impl<S: Sync> FromRequestParts<S> for Who {
    type Rejection = Fault;

    /// The guard put it there; without a guard there is nobody.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Fault> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Fault::ours("a route has no guard"))
    }
}

/// Finds the holder of the request's token.
///
/// # Errors
/// 401 without saying which part of the token was wrong.
pub(crate) async fn authenticate(app: &App, headers: &HeaderMap) -> Result<Who, Fault> {
    let refused = |detail: &str| {
        Problem::new(401, "Who are you?", detail)
            .help("send `Authorization: Bearer pct_…`; the first token is in the data directory")
            .next("portcullis status --token-file portcullis-data/bootstrap-token")
    };
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(refused("there has to be exactly one Authorization header").into());
    };
    let parts = value.to_str().ok().and_then(split_token);
    let (id, secret) = parts.ok_or_else(|| refused("that is no API token"))?;
    let unknown = "the token is not known, was taken back, or has expired";
    let row = app.store.token(id).await?.ok_or_else(|| refused(unknown))?;
    let live = row.token.expires_at.is_none_or(|at| at > app.now());
    if !equal(&row.sha256, &sha256_hex(secret.as_bytes())) || !live {
        return Err(refused(unknown).into());
    }
    Ok(Who { token: row.token })
}

fn split_token(value: &str) -> Option<(&str, &str)> {
    let (scheme, token) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") || token.len() > 256 {
        return None;
    }
    token.trim().strip_prefix("pct_")?.split_once('_')
}

/// A new token: what its holder gets, and what we keep.
pub(crate) fn issue(info: Token) -> Result<(String, TokenRow), Fault> {
    let secret = random::hex::<32>()?;
    let text = format!("pct_{}_{secret}", info.id);
    Ok((text, TokenRow { token: info, sha256: sha256_hex(secret.as_bytes()) }))
}

/// Refuses what a page in somebody's browser could have sent: a foreign `Host` (DNS rebinding) or
/// any `Origin` that is not ours.
pub(crate) async fn check_host(
    State(app): State<Shared>,
    request: Request,
    next: Next,
) -> Response {
    match judge_host(&app, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => Fault::from(problem).into_response(),
    }
}

fn judge_host(app: &App, headers: &HeaderMap) -> Result<(), Problem> {
    let one = |name| {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok().map(str::to_ascii_lowercase),
            _ => None,
        }
    };
    let ours = |host: &str| app.hosts.iter().any(|own| own == host);
    if !one(header::HOST).is_some_and(|host| ours(&host)) {
        return Err(Problem::new(421, "Not ours", "the Host header names somebody else").help(
            "use the address that `portcullis-control` listens on, or start it with --host",
        ));
    }
    if headers.contains_key(header::ORIGIN) {
        let origin = one(header::ORIGIN).unwrap_or_default();
        let host = origin.split_once("://").map_or("", |(_, host)| host);
        if !ours(host) {
            return Err(Problem::new(403, "Foreign origin", "a page of another origin sent this")
                .help("call the API from a program, or from a page that we serve"));
        }
    }
    Ok(())
}
