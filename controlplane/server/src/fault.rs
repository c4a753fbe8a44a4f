//! Why a request was not done, and the one mapping of that to the wire.
//!
//! The caller's faults are told in full. Ours are told as an incident's number; the rest is in the
//! log, so that no answer carries a path, a statement or a secret.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use controlplane_api::Problem;
use controlplane_store::Fault as StoreFault;

use crate::route::Outcome;

/// What a handler answers when it cannot.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Told in full; the problem carries its status.
    Caller(Box<Problem>),
    /// Logged in full, told as a number.
    Ours(String),
}

impl Fault {
    pub(crate) fn ours(what: impl std::fmt::Display) -> Self {
        Self::Ours(what.to_string())
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self::Caller(Box::new(problem))
    }
}

impl From<StoreFault> for Fault {
    fn from(fault: StoreFault) -> Self {
        let text = fault.to_string();
        match fault {
            StoreFault::Conflict { .. } => Problem::new(409, "Changed meanwhile", text)
                .help("read what is in force now and repeat the request")
                .into(),
            StoreFault::Missing { what, .. } => {
                let missing = Problem::new(404, "Not found", text);
                match what {
                    "kill in force" => missing.next("portcullis kills").into(),
                    "appliance" | "revision" | "secret" | "token" => {
                        missing.next(format!("portcullis {what}s")).into()
                    }
                    _ => missing.into(),
                }
            }
            StoreFault::LastAdmin => Problem::new(409, "Last admin token", text)
                .next("portcullis tokens create NAME --role admin")
                .into(),
            StoreFault::Full { help, .. } => Problem::new(409, "Full", text).help(help).into(),
            StoreFault::Seal(_)
            | StoreFault::Damaged { .. }
            | StoreFault::Database(_)
            | StoreFault::Migration(_) => Self::Ours(text),
        }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let problem = match self {
            Self::Caller(problem) => *problem,
            Self::Ours(what) => incident(&what),
        };
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_REQUEST);
        let outcome = Outcome(problem.title.clone());
        let mut response = (status, Json(problem)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer realm=\"portcullis-control\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response.extensions_mut().insert(outcome);
        response
    }
}

/// Logs what happened under a number that the answer carries.
fn incident(what: &str) -> Problem {
    let id = crate::random::hex::<8>().unwrap_or_else(|_| "unnumbered".to_owned());
    tracing::error!(incident = %id, what, "a request failed by our own fault");
    Problem::new(500, "Our own fault", format!("incident {id}; the control plane's log tells more"))
        .help("repeat the request; if it fails again, give the incident's number to whoever runs this")
}
