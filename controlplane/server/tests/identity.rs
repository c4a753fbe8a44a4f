//! Keys of identity providers: found, fetched, refused when unusable, changed by a revision.

mod support;

use std::sync::{Arc, Mutex};

use axum::Json;
use axum::routing::get;
use reqwest::Method;
use serde_json::{Value, json};
use support::Plane;

/// RFC 8037, appendix A.2, and another point of the curve's encoding.
const KEY_1: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const KEY_2: &str = "O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik";

fn key(id: &str, x: &str) -> Value {
    json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": id, "x": x })
}

/// An identity provider that serves its configuration and keys.
struct Provider {
    issuer: String,
    keys: Arc<Mutex<Value>>,
    _task: tokio::task::JoinHandle<()>,
}

impl Provider {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let keys = Arc::new(Mutex::new(json!({ "keys": [key("a", KEY_1)] })));
        let (ours, theirs) = (Arc::clone(&keys), issuer.clone());
        let configuration = json!({ "issuer": theirs, "jwks_uri": format!("{theirs}/keys") });
        let router = axum::Router::new()
            .route("/.well-known/openid-configuration", get(|| async { Json(configuration) }))
            .route("/keys", get(|| async move { Json(ours.lock().unwrap().clone()) }));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { issuer, keys, _task: task }
    }

    fn object(&self) -> Value {
        json!({ "issuer": self.issuer, "audience": "https://gateway/mcp", "tenant": "acme" })
    }
}

async fn document(plane: &Plane, revision: u64) -> String {
    let content = plane.admin.get(&format!("/v1/revisions/{revision}")).await;
    let mut objects = content["objects"].as_array().unwrap().iter();
    let keys = objects.find(|object| object["kind"] == "jwks");
    keys.map(|keys| keys["body"]["document"].as_str().unwrap().to_owned()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_found_fetched_and_rotated() {
    let (plane, provider) = (Plane::start().await, Provider::start().await);
    let applied = plane.admin.ok(Method::PUT, "/v1/identity/okta", Some(provider.object())).await;
    assert_eq!(
        (&applied["revision"], &applied["warnings"]),
        (&json!(1), &json!([])),
        "{applied:#}"
    );
    assert!(document(&plane, 1).await.contains(KEY_1));
    let same = plane.admin.ok(Method::POST, "/v1/identity/okta/refresh", None).await;
    assert_eq!(same["changed"], false, "equal keys are no revision");
    *provider.keys.lock().unwrap() = json!({ "keys": [key("a", KEY_1), key("b", KEY_2)] });
    let rotated = plane.admin.ok(Method::POST, "/v1/identity/okta/refresh", None).await;
    assert_eq!(rotated["revision"], 2);
    assert!(document(&plane, 2).await.contains(KEY_2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_set_that_is_not_to_be_believed_leaves_the_old_one() {
    let (plane, provider) = (Plane::start().await, Provider::start().await);
    plane.admin.ok(Method::PUT, "/v1/identity/okta", Some(provider.object())).await;
    let mut private = key("a", KEY_1);
    private["d"] = json!(KEY_2);
    for bad in [
        json!({ "keys": [private] }),
        json!({ "keys": [] }),
        json!({ "keys": [key("a", KEY_1), key("a", KEY_2)] }),
        json!({ "no": "keys" }),
        json!({ "keys": "x".repeat(200_000) }),
    ] {
        *provider.keys.lock().unwrap() = bad;
        let problem =
            plane.admin.refused(502, Method::POST, "/v1/identity/okta/refresh", None).await;
        assert_eq!(problem["title"], "Keys not fetched");
    }
    assert!(document(&plane, 1).await.contains(KEY_1));
    assert_eq!(plane.admin.get("/v1/status").await["revision"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_away_is_told_and_its_inline_keys_are_checked() {
    let plane = Plane::start().await;
    let away = json!({ "issuer": "http://127.0.0.1:9", "audience": "x", "tenant": "acme" });
    let applied = plane.admin.ok(Method::PUT, "/v1/identity/okta", Some(away)).await;
    assert_eq!(applied["warnings"][0]["title"], "Keys not fetched");
    let inline = |keys: Value| json!({ "issuer": "https://a", "audience": "x", "tenant": "acme", "jwks": keys.to_string() });
    let good = inline(json!({ "keys": [key("a", KEY_1)] }));
    plane.admin.ok(Method::PUT, "/v1/identity/closed", Some(good)).await;
    let bad = inline(json!({ "keys": [] }));
    let problem = plane.admin.refused(422, Method::PUT, "/v1/identity/closed", Some(bad)).await;
    assert_eq!(problem["field"], "identity.closed.jwks");
    plane.admin.refused(409, Method::POST, "/v1/identity/closed/refresh", None).await;
}
