//! A route, said once: method, path, who may, what goes in and comes out, and who answers.
//!
//! The router, the OpenAPI document and the test over all roles are made from the same list, so that
//! there is no route that one of them does not know. Who may is checked here, before the handler;
//! what changes something is in the admin log before it is done and after.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use controlplane_api::Problem;
use controlplane_api::wire::{AdminEntry, RoleOfToken};
use serde::Serialize;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;

use crate::app::App;
use crate::auth::{self, Who};
use crate::fault::Fault;
use crate::openapi::{Described, Doc};

/// Who may.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Needs {
    /// Anybody who reaches us: probes and the description.
    Nobody,
    /// A token of at least this role.
    Role(RoleOfToken),
}

/// Only the methods that we use.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Verb {
    Get,
    Put,
    Post,
    Delete,
}

impl Verb {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }

    fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Put => MethodFilter::PUT,
            Self::Post => MethodFilter::POST,
            Self::Delete => MethodFilter::DELETE,
        }
    }
}

/// A route without its handler; give it one with [`Route::to`].
pub(crate) struct Route {
    pub verb: Verb,
    /// As axum writes it; `{*name}` takes slashes.
    pub path: &'static str,
    pub needs: Needs,
    /// Whether it changes something, so that the admin log has it.
    pub changes: bool,
    pub summary: &'static str,
    pub query: &'static [(&'static str, &'static str)],
    pub body: Option<fn(&mut Doc) -> RefOr<Schema>>,
    pub answer: Option<fn(&mut Doc) -> RefOr<Schema>>,
    pub created: bool,
    handler: Option<MethodRouter<Arc<App>>>,
}

impl Route {
    fn new(verb: Verb, path: &'static str, role: RoleOfToken, summary: &'static str) -> Self {
        Self {
            verb,
            path,
            needs: Needs::Role(role),
            changes: verb != Verb::Get,
            summary,
            query: &[],
            body: None,
            answer: None,
            created: false,
            handler: None,
        }
    }

    pub(crate) fn get(path: &'static str, role: RoleOfToken, summary: &'static str) -> Self {
        Self::new(Verb::Get, path, role, summary)
    }

    pub(crate) fn put(path: &'static str, role: RoleOfToken, summary: &'static str) -> Self {
        Self::new(Verb::Put, path, role, summary)
    }

    pub(crate) fn post(path: &'static str, role: RoleOfToken, summary: &'static str) -> Self {
        Self::new(Verb::Post, path, role, summary)
    }

    pub(crate) fn delete(path: &'static str, role: RoleOfToken, summary: &'static str) -> Self {
        Self::new(Verb::Delete, path, role, summary)
    }

    /// Open to anybody who reaches us.
    pub(crate) fn open(mut self) -> Self {
        self.needs = Needs::Nobody;
        self
    }

    /// A POST that only asks.
    pub(crate) fn asks(mut self) -> Self {
        self.changes = false;
        self
    }

    /// Query parameters: name and what it says.
    pub(crate) fn query(mut self, query: &'static [(&'static str, &'static str)]) -> Self {
        self.query = query;
        self
    }

    pub(crate) fn body<T: Described>(mut self) -> Self {
        self.body = Some(T::describe);
        self
    }

    pub(crate) fn answers<T: Described>(mut self) -> Self {
        self.answer = Some(T::describe);
        self
    }

    /// Answers 201 instead of 200.
    pub(crate) fn creates<T: Described>(mut self) -> Self {
        self.created = true;
        self.answers::<T>()
    }

    pub(crate) fn to<H, X>(mut self, handler: H) -> Self
    where
        H: Handler<X, Arc<App>>,
        X: 'static,
    {
        self.handler = Some(on(self.verb.filter(), handler));
        self
    }

    /// The handler behind its guard.
    pub(crate) fn guarded(self, app: &Arc<App>) -> Option<MethodRouter<Arc<App>>> {
        let gate = Gate { app: Arc::clone(app), needs: self.needs, changes: self.changes };
        self.handler.map(|handler| handler.layer(middleware::from_fn_with_state(gate, guard)))
    }
}

#[derive(Clone)]
struct Gate {
    app: Arc<App>,
    needs: Needs,
    changes: bool,
}

/// A few words for the admin log, put into the answer's extensions.
#[derive(Clone, Debug)]
pub(crate) struct Outcome(pub String);

async fn guard(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let Needs::Role(role) = gate.needs else {
        return next.run(request).await;
    };
    let who = match auth::authenticate(&gate.app, request.headers()).await {
        Ok(who) => who,
        Err(fault) => return fault.into_response(),
    };
    if !gate.changes {
        return match who.may(role) {
            Ok(()) => {
                request.extensions_mut().insert(who);
                next.run(request).await
            }
            Err(fault) => fault.into_response(),
        };
    }
    // A task of its own: who hangs up half-way must not leave a change stored and not pushed, nor a
    // log entry without its outcome.
    let changing = tokio::spawn(logged(gate.app, role, who, request, next));
    changing.await.unwrap_or_else(|error| Fault::ours(error).into_response())
}

async fn logged(
    app: Arc<App>,
    role: RoleOfToken,
    who: Who,
    mut request: Request,
    next: Next,
) -> Response {
    let _under_way = app.under_way.read().await;
    let entry = entry(&app, &who, &request);
    let id = match app.store.log_admin(&entry).await {
        Ok(id) => id,
        Err(fault) => return Fault::ours(format!("admin log: {fault}")).into_response(),
    };
    let response = match who.may(role) {
        Ok(()) => {
            request.extensions_mut().insert(who);
            next.run(request).await
        }
        Err(fault) => fault.into_response(),
    };
    let outcome = response.extensions().get::<Outcome>().map_or("done", |said| said.0.as_str());
    let status = response.status().as_u16();
    if let Err(fault) = app.store.finish_admin(id, status, outcome).await {
        tracing::error!(%fault, id, "the outcome of a change could not be logged");
    }
    response
}

fn entry(app: &App, who: &Who, request: &Request) -> AdminEntry {
    AdminEntry {
        id: 0,
        at: app.now(),
        who: who.token.name.clone(),
        token_id: who.token.id.clone(),
        method: request.method().to_string(),
        path: request.uri().path().chars().take(512).collect(),
        status: 0,
        outcome: "begun".to_owned(),
    }
}

/// What a handler answers when it can.
pub(crate) struct Told<T> {
    status: StatusCode,
    body: T,
    outcome: Option<String>,
}

impl<T> Told<T> {
    pub(crate) fn ok(body: T) -> Self {
        Self { status: StatusCode::OK, body, outcome: None }
    }

    pub(crate) fn created(body: T) -> Self {
        Self { status: StatusCode::CREATED, body, outcome: None }
    }

    /// A few words for the admin log.
    pub(crate) fn outcome(mut self, words: impl Into<String>) -> Self {
        self.outcome = Some(words.into());
        self
    }
}

impl<T: Serialize> IntoResponse for Told<T> {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        if let Some(words) = self.outcome {
            response.extensions_mut().insert(Outcome(words));
        }
        response
    }
}

/// Nothing at a path or a method: told like every other problem.
pub(crate) async fn nothing_here(request: Request) -> Response {
    let detail = format!("there is no {} {}", request.method(), request.uri().path());
    Fault::from(Problem::new(404, "Not found", detail).help("see /v1/openapi.json")).into_response()
}
