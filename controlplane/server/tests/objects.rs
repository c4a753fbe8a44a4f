//! Every kind of object that the OpenAPI document can put: listed, shown, changed and removed, each
//! change a revision with its author and a difference that names the object.

mod support;

use reqwest::Method;
use serde_json::{Value, json};
use support::Plane;
use support::upstream::Upstream;

/// What takes effect at once: sealed apart, in the admin log, in no revision.
const NO_REVISION: &str = "/v1/secrets/{name}";

/// One of each kind: its route, its name, what is written. What others name stands before them.
fn samples(upstream: &str) -> Vec<(&'static str, &'static str, Value)> {
    let key = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"one","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let rule = "@id(\"all\")\npermit(principal in Role::\"support\", action, resource);\n";
    let case = "[[case]]\ncaller = { tenant = \"acme\", user = \"ann\", roles = [\"support\"] }\n\
                call = { tool = \"crm/get_orders\", arguments = { customer = \"x\" } }\nexpect = \"allow\"\n";
    vec![
        ("/v1/gateway", "gateway", json!({"public_url": "https://gateway.example.com"})),
        ("/v1/tenants/{name}", "acme", json!({"description": "ours"})),
        (
            "/v1/identity/{name}",
            "idp",
            json!({"issuer": "https://idp.example.com", "audience": ["gw"], "tenant": "acme", "jwks": key}),
        ),
        ("/v1/roles/{name}", "support", json!({"users": ["acme/ann"]})),
        ("/v1/groups/{name}", "finance", json!({"users": ["acme/bob"]})),
        ("/v1/servers/{name}", "crm", json!({"url": upstream})),
        ("/v1/quotas/{name}", "calm", json!({"per": "caller", "calls": "5/s"})),
        ("/v1/policies/{path}", "team/all.cedar", json!({"text": rule})),
        ("/v1/policy-tests/{path}", "tests/all.toml", json!({"text": case})),
    ]
}

fn at(route: &str, name: &str) -> String {
    route.replace("{name}", name).replace("{path}", name)
}

/// Whether all that was written stands there; defaults may stand beside it.
fn holds(shown: &Value, written: &Value) -> bool {
    written.as_object().unwrap().iter().all(|(field, value)| shown[field] == *value)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_object_of_the_document_is_read_and_changed_by_revisions() {
    let (plane, upstream) = (Plane::start().await, Upstream::start().await);
    let samples = samples(&upstream.url());
    let document = plane.admin.get("/v1/openapi.json").await;
    let paths = document["paths"].as_object().unwrap();
    for (path, methods) in paths.iter().filter(|(_, methods)| methods.get("put").is_some()) {
        let is_known = path == NO_REVISION || samples.iter().any(|(route, ..)| route == path);
        assert!(is_known, "PUT {path}: write a sample of it");
        assert!(path == NO_REVISION || methods.get("get").is_some(), "{path} cannot be read");
    }
    let operator = plane.client("operator").await;
    let mut revision = 0;
    for (route, name, written) in &samples {
        let path = at(route, name);
        let try_it = format!("{path}?dry_run=true");
        let dry = operator.ok(Method::PUT, &try_it, Some(written.clone())).await;
        assert_eq!(dry["changed"], true, "{path}");
        let put = format!("{path}?message=why");
        let applied = operator.ok(Method::PUT, &put, Some(written.clone())).await;
        revision += 1;
        assert_eq!(applied["revision"], revision, "{path}: {applied:#}");
        let shown = operator.get(&path).await;
        let spec = if shown.get("spec").is_some() { &shown["spec"] } else { &shown };
        assert!(holds(spec, written), "{path}: {shown:#}");
        if *name != "gateway" {
            let list = operator.get(route.rsplit_once('/').unwrap().0).await;
            let names = list["items"].as_array().unwrap().iter().map(|item| item["name"].clone());
            assert_eq!(names.collect::<Vec<_>>(), [json!(name)], "{path}");
        }
        let same = operator.ok(Method::PUT, &put, Some(written.clone())).await;
        assert_eq!((&same["changed"], &same["revision"]), (&json!(false), &json!(revision)));
        is_told(&plane, revision, "put", name).await;
    }
    for (route, name, _) in samples.iter().rev().filter(|(_, name, _)| *name != "gateway") {
        let path = at(route, name);
        operator.ok(Method::DELETE, &path, None).await;
        revision += 1;
        is_told(&plane, revision, "delete", name).await;
        operator.refused(404, Method::GET, &path, None).await;
        operator.refused(404, Method::DELETE, &path, None).await;
    }
    plane.running.stop().await;
}

/// The newest revision says who, how and why, and its difference what.
async fn is_told(plane: &Plane, revision: u64, how: &str, name: &str) {
    let newest = &plane.admin.get("/v1/revisions?limit=1").await["items"][0];
    let author = newest["author"].as_str().unwrap();
    assert!(author.starts_with("operator"), "{newest:#}");
    assert_eq!((&newest["revision"], &newest["how"]), (&json!(revision), &json!(how)));
    assert_eq!(newest["message"], if how == "put" { "why" } else { "" });
    let diff = plane.admin.get(&format!("/v1/revisions/{revision}/diff")).await;
    let changes = diff["changes"].as_array().unwrap();
    assert!(changes.iter().any(|change| change["name"] == name), "{name}: {diff:#}");
    let content = plane.admin.get(&format!("/v1/revisions/{revision}")).await;
    let holds = content["objects"].as_array().unwrap().iter().any(|one| one["name"] == name);
    assert_eq!(holds, how == "put", "{name} in revision {revision}");
}
