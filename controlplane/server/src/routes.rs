//! Every route there is. The router, the OpenAPI document and the test over roles come from here.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::get;
use controlplane_api::bounds::BODY_BYTES_MAX;
use controlplane_api::objects::{
    Gateway, Group, Identity, Policy, PolicyTest, Quota, Role, Server, Tenant,
};
use controlplane_api::wire::RoleOfToken::{Admin, Auditor, Operator};
use controlplane_api::wire::{
    AdminEntry, Appliance, Applied, Apply, Approve, CallsPage, Discovered, Drift, DropsExplained,
    DropsOrdered, DropsPage, Enrolment, EnrolmentRequest, Explain, Explained, Health, IssuedKey,
    IssuedToken, Item, Key, KeyRequest, Kill, KillRequest, Me, PacketsPage, Page, PinRequest,
    ReleaseRequest, Revision, Rollback, Secret, SecretValue, ServerState, Status, TestReport,
    TestRequest, Token, TokenRequest, Tool,
};
use serde_json::Value;

use crate::app::App;
use crate::ask::{CHANGE, PAGING};
use crate::objects::Object;
use crate::revisions::{AGAINST, RevisionContent};
use crate::route::{Route, nothing_here};
use crate::{
    appliances, apply, auth, calls, drops, explain, keys, kills, objects, openapi, packets,
    revisions, secrets, servers, status, tokens, upkeep,
};

/// The list.
pub(crate) fn routes() -> Vec<Route> {
    let mut all = vec![
        Route::get("/v1/health", Auditor, "Whether the process can serve")
            .open()
            .answers::<Health>()
            .to(status::health),
        Route::get("/v1/openapi.json", Auditor, "This document")
            .open()
            .answers::<Value>()
            .to(description),
        Route::get("/v1/status", Auditor, "How everything is, and what to look at")
            .answers::<Status>()
            .to(status::status),
        Route::get("/v1/me", Auditor, "Whose token this is").answers::<Me>().to(tokens::me),
        Route::post(
            "/v1/apply",
            Operator,
            "Apply a folder: what it holds is what is in force afterwards",
        )
        .body::<Apply>()
        .answers::<Applied>()
        .to(apply::apply),
        Route::post("/v1/explain", Auditor, "Why a call would be decided as it would")
            .asks()
            .body::<Explain>()
            .answers::<Explained>()
            .to(explain::explain),
        Route::get("/v1/gateway", Auditor, "What all appliances share")
            .answers::<Item<Gateway>>()
            .to(objects::show_gateway),
        Route::put("/v1/gateway", Operator, "Change what all appliances share")
            .query(CHANGE)
            .body::<Gateway>()
            .answers::<Applied>()
            .to(objects::put_gateway),
    ];
    all.extend(of_kind::<Tenant>("/v1/tenants", "/v1/tenants/{name}"));
    all.extend(of_kind::<Identity>("/v1/identity", "/v1/identity/{name}"));
    all.extend(of_kind::<Role>("/v1/roles", "/v1/roles/{name}"));
    all.extend(of_kind::<Group>("/v1/groups", "/v1/groups/{name}"));
    all.extend(of_kind::<Quota>("/v1/quotas", "/v1/quotas/{name}"));
    all.extend(of_kind::<Policy>("/v1/policies", "/v1/policies/{*path}"));
    all.extend(of_kind::<PolicyTest>("/v1/policy-tests", "/v1/policy-tests/{*path}"));
    all.extend(of_servers());
    all.extend(of_revisions());
    all.extend(of_what_acts_at_once());
    all.extend(of_people());
    all
}

fn of_kind<T: Object>(list: &'static str, one: &'static str) -> [Route; 4] {
    [
        Route::get(list, Auditor, "List")
            .query(PAGING)
            .answers::<Page<Item<T>>>()
            .to(objects::list::<T>),
        Route::get(one, Auditor, "Show").answers::<Item<T>>().to(objects::show::<T>),
        Route::put(one, Operator, "Add or replace")
            .query(CHANGE)
            .body::<T>()
            .answers::<Applied>()
            .to(objects::put::<T>),
        Route::delete(one, Operator, "Remove")
            .query(CHANGE)
            .answers::<Applied>()
            .to(objects::delete::<T>),
    ]
}

fn of_servers() -> Vec<Route> {
    vec![
        Route::post("/v1/policy-tests", Auditor, "Run policy tests")
            .asks()
            .body::<TestRequest>()
            .answers::<TestReport>()
            .to(apply::test),
        Route::post("/v1/identity/{name}/refresh", Operator, "Fetch a provider's keys now")
            .answers::<Applied>()
            .to(upkeep::refresh_keys),
        Route::get("/v1/servers", Auditor, "List servers with what is known of them")
            .query(PAGING)
            .answers::<Page<ServerState>>()
            .to(servers::list),
        Route::get("/v1/servers/{name}", Auditor, "Show a server")
            .answers::<ServerState>()
            .to(servers::show),
        Route::put(
            "/v1/servers/{name}",
            Operator,
            "Add or replace a server; a new one is asked for its tools",
        )
        .query(CHANGE)
        .body::<Server>()
        .answers::<Applied>()
        .to(objects::put::<Server>),
        Route::delete("/v1/servers/{name}", Operator, "Remove a server")
            .query(CHANGE)
            .answers::<Applied>()
            .to(objects::delete::<Server>),
        Route::post("/v1/servers/{name}/refresh", Operator, "Ask a server for its tools now")
            .answers::<Discovered>()
            .to(servers::refresh),
        Route::get("/v1/servers/{name}/drift", Auditor, "What differs from what was approved")
            .answers::<Vec<Drift>>()
            .to(servers::drift),
        Route::post("/v1/servers/{name}/approve", Operator, "Approve tools as they were found")
            .body::<Approve>()
            .answers::<Applied>()
            .to(servers::approve),
        Route::get("/v1/servers/{name}/tools", Auditor, "A server's tools")
            .answers::<Vec<Tool>>()
            .to(servers::tools_of_one),
        Route::get("/v1/tools", Auditor, "All tools")
            .query(PAGING)
            .answers::<Page<Tool>>()
            .to(servers::tools),
    ]
}

fn of_revisions() -> Vec<Route> {
    vec![
        Route::get("/v1/revisions", Auditor, "List revisions, newest first")
            .query(PAGING)
            .answers::<Page<Revision>>()
            .to(revisions::list),
        Route::get("/v1/revisions/{revision}", Auditor, "Show a revision with its objects")
            .answers::<RevisionContent>()
            .to(revisions::show),
        Route::get(
            "/v1/revisions/{revision}/diff",
            Auditor,
            "Compare a revision with an older one",
        )
        .query(AGAINST)
        .answers::<controlplane_api::Diff>()
        .to(revisions::diff),
        Route::post(
            "/v1/revisions/{revision}/rollback",
            Operator,
            "A new revision with this one's content",
        )
        .body::<Rollback>()
        .answers::<Applied>()
        .to(revisions::rollback),
    ]
}

fn of_what_acts_at_once() -> Vec<Route> {
    vec![
        Route::get("/v1/kills", Auditor, "List kills in force")
            .query(PAGING)
            .answers::<Page<Kill>>()
            .to(kills::list),
        Route::post("/v1/kills", Operator, "Switch something off for everyone, now")
            .body::<KillRequest>()
            .creates::<Kill>()
            .to(kills::kill),
        Route::delete("/v1/kills/{id}", Operator, "Take a kill back")
            .answers::<Kill>()
            .to(kills::unkill),
        Route::get("/v1/drops", Auditor, "What network cards drop, newest first")
            .query(drops::FILTER)
            .answers::<DropsPage>()
            .to(drops::list),
        Route::get(
            "/v1/drops/explain",
            Auditor,
            "What is known of an address, and what of it is dropped",
        )
        .query(drops::ADDRESS)
        .answers::<DropsExplained>()
        .to(drops::explain),
        Route::get(
            "/v1/drops/packets",
            Auditor,
            "Packets that network cards have dropped, as far as they were sampled, newest first",
        )
        .query(packets::FILTER)
        .answers::<PacketsPage>()
        .to(packets::list),
        Route::post("/v1/drops/release", Operator, "End drops, now")
            .body::<ReleaseRequest>()
            .answers::<DropsOrdered>()
            .to(drops::release),
        Route::post("/v1/drops/{drop}/pin", Operator, "Hold a drop for a while")
            .body::<PinRequest>()
            .answers::<DropsOrdered>()
            .to(drops::pin),
        Route::get("/v1/secrets", Auditor, "List secrets without their values")
            .query(PAGING)
            .answers::<Page<Secret>>()
            .to(secrets::list),
        Route::put("/v1/secrets/{name}", Operator, "Set a secret's value")
            .body::<SecretValue>()
            .answers::<Secret>()
            .to(secrets::set),
        Route::delete("/v1/secrets/{name}", Operator, "Remove a secret")
            .answers::<Value>()
            .to(secrets::remove),
        Route::get("/v1/calls", Auditor, "Recent calls; with `after` and `wait_ms`, follow them")
            .query(calls::PARAMS)
            .answers::<CallsPage>()
            .to(calls::list),
    ]
}

fn of_people() -> Vec<Route> {
    vec![
        Route::get("/v1/keys", Auditor, "List API keys without their secrets")
            .query(PAGING)
            .answers::<Page<Key>>()
            .to(keys::list),
        Route::post("/v1/keys", Operator, "Issue an API key for an agent or a service")
            .body::<KeyRequest>()
            .creates::<IssuedKey>()
            .to(keys::issue),
        Route::delete("/v1/keys/{id}", Operator, "Take an API key back")
            .query(CHANGE)
            .answers::<Applied>()
            .to(keys::remove),
        Route::get("/v1/tokens", Admin, "List API tokens without their secrets")
            .query(PAGING)
            .answers::<Page<Token>>()
            .to(tokens::list),
        Route::post("/v1/tokens", Admin, "Issue an API token")
            .body::<TokenRequest>()
            .creates::<IssuedToken>()
            .to(tokens::create),
        Route::delete("/v1/tokens/{id}", Admin, "Take an API token back")
            .answers::<Value>()
            .to(tokens::remove),
        Route::get("/v1/admin-log", Auditor, "Requests that would change something, newest first")
            .query(PAGING)
            .answers::<Page<AdminEntry>>()
            .to(tokens::admin_log),
        Route::get("/v1/appliances", Auditor, "List appliances with what they said last")
            .query(PAGING)
            .answers::<Page<Appliance>>()
            .to(appliances::list),
        Route::get("/v1/appliances/{id}", Auditor, "Show an appliance")
            .answers::<Appliance>()
            .to(appliances::show),
        Route::post("/v1/appliances/enrolments", Admin, "A one-time token for a new appliance")
            .body::<EnrolmentRequest>()
            .creates::<Enrolment>()
            .to(appliances::enrolment),
        Route::delete("/v1/appliances/{id}", Admin, "No longer take an appliance's certificate")
            .answers::<Value>()
            .to(appliances::remove),
    ]
}

async fn description() -> axum::Json<Value> {
    axum::Json(serde_json::to_value(openapi::document(&routes())).unwrap_or_default())
}

/// The OpenAPI document as it is checked in: pretty, with a line end.
#[must_use]
pub fn openapi_json() -> String {
    let document = serde_json::to_value(openapi::document(&routes())).unwrap_or_default();
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
}

/// The router over all routes, behind the checks that every request passes.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let mut router = Router::new();
    for route in routes() {
        let path = route.path;
        if let Some(handler) = route.guarded(app) {
            router = router.route(path, handler);
        }
    }
    router
        .route("/", get(nothing_here))
        .fallback(nothing_here)
        .method_not_allowed_fallback(nothing_here)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(Arc::clone(app), auth::check_host))
        .with_state(Arc::clone(app))
}
