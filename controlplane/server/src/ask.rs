//! What a request carries, read with bounds and with errors that name the field.

use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::header;
use axum::http::request::Parts;
use controlplane_api::Problem;
use controlplane_api::bounds::{PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::fault::Fault;

/// A JSON body.
pub(crate) struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Fault;

    async fn from_request(request: Request, state: &S) -> Result<Self, Fault> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if !kind.is_some_and(|kind| kind.starts_with("application/json")) {
            let problem = Problem::new(415, "Not JSON", "the body's type has to be JSON");
            return Err(problem.help("send `Content-Type: application/json`").into());
        }
        let bytes = axum::body::Bytes::from_request(request, state).await.map_err(|rejected| {
            let status = rejected.status().as_u16();
            Fault::from(Problem::new(status, "Body not taken", rejected.body_text()))
        })?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            Problem::new(400, "Not understood", error.to_string())
                .help("see the request's fields in /v1/openapi.json")
                .into()
        })
    }
}

/// Query parameters.
pub(crate) struct Params<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        let read = Query::<T>::from_request_parts(parts, state).await;
        read.map(|Query(params)| Self(params)).map_err(|rejected| {
            Problem::new(400, "Query not understood", rejected.body_text())
                .help("see the parameters in /v1/openapi.json")
                .into()
        })
    }
}

/// `?after=&limit=`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Paging {
    #[serde(default)]
    pub after: String,
    pub limit: Option<u32>,
}

pub(crate) const PAGING: &[(&str, &str)] =
    &[("after", "`next` of the page before"), ("limit", "Items at most; 100 unless told")];

impl Paging {
    /// # Errors
    /// 400 when the limit is out of range.
    pub(crate) fn limit(&self) -> Result<u32, Fault> {
        limit(self.limit)
    }

    /// `after` as a number; zero when there is none.
    ///
    /// # Errors
    /// 400 when it is no number.
    pub(crate) fn number(&self) -> Result<u64, Fault> {
        if self.after.is_empty() {
            return Ok(0);
        }
        let wrong =
            || Problem::new(400, "Query not understood", "`after` is no number").field("after");
        Ok(self.after.parse().map_err(|_| wrong())?)
    }
}

pub(crate) fn limit(limit: Option<u32>) -> Result<u32, Fault> {
    let limit = limit.unwrap_or(PAGE_ITEMS_DEFAULT);
    if (1..=PAGE_ITEMS_MAX).contains(&limit) {
        return Ok(limit);
    }
    Err(Problem::new(400, "Query not understood", format!("`limit` is {limit}"))
        .field("limit")
        .help(format!("write 1 to {PAGE_ITEMS_MAX}"))
        .into())
}

/// `?message=&dry_run=` of requests that change one object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeParams {
    #[serde(default)]
    pub message: String,
    #[serde(default)]
    pub dry_run: bool,
}

pub(crate) const CHANGE: &[(&str, &str)] = &[
    ("message", "Why, for those who read the revisions later"),
    ("dry_run", "`true`: answer as if, change nothing"),
];
