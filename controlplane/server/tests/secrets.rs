//! A secret's value is in no answer, no log and no file, whatever is asked.

mod support;

use std::io::Write;
use std::sync::{Arc, Mutex};

use reqwest::Method;
use serde_json::{Value, json};
use support::Plane;
use support::upstream::Upstream;

const CANARY: &str = "canary-7f3a9c51e2";

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_value_is_never_shown_again() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_env_filter(
            "info,rmcp=off,controlplane_server=trace,controlplane_store=trace,controlplane_rollout=trace",
        )
        .with_writer(move || writer.clone())
        .init();
    let (plane, upstream) = (Plane::start().await, Upstream::start().await);
    let set =
        plane.admin.ok(Method::PUT, "/v1/secrets/crm-key", Some(json!({ "value": CANARY }))).await;
    let mut answers = vec![set];
    let inject = json!({ "header": "Authorization", "secret": "crm-key" });
    let server = json!({ "url": upstream.url(), "inject": inject });
    answers.push(plane.admin.ok(Method::PUT, "/v1/servers/crm", Some(server)).await);
    for bad in [format!("{CANARY}\n"), format!(" {CANARY}"), CANARY.repeat(1_000)] {
        let body = json!({ "value": bad });
        answers
            .push(plane.admin.refused(422, Method::PUT, "/v1/secrets/crm-key", Some(body)).await);
    }
    let body = json!({ "valeu": CANARY });
    answers.push(plane.admin.refused(400, Method::PUT, "/v1/secrets/crm-key", Some(body)).await);
    let body = json!({ "value": [CANARY] });
    answers.push(plane.admin.refused(400, Method::PUT, "/v1/secrets/crm-key", Some(body)).await);
    for path in every_get(&plane).await {
        answers.push(plane.admin.ask(Method::GET, &path, None).await.1);
    }
    for answer in answers {
        assert!(!answer.to_string().contains(CANARY), "{answer:#}");
    }
    let dir = plane.dir.path().join("data");
    plane.running.stop().await;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let found = bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
        assert!(!found, "{}", path.display());
    }
    let log = log.0.lock().unwrap();
    assert!(!log.is_empty());
    let text = String::from_utf8_lossy(&log);
    assert!(!text.contains(CANARY), "{text}");
}

async fn every_get(plane: &Plane) -> Vec<String> {
    let document = plane.admin.get("/v1/openapi.json").await;
    let paths = document["paths"].as_object().unwrap().iter();
    let gets = paths.filter(|(_, methods)| methods.get("get").is_some_and(Value::is_object));
    gets.map(|(path, _)| {
        path.replace("{revision}", "1").replace("{name}", "crm").replace("{id}", "crm-key")
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_tokens_are_shown_once() {
    let plane = Plane::start().await;
    let key = json!({ "tenant": "acme", "agent": "bot" });
    let issued = plane.admin.ok(Method::POST, "/v1/keys", Some(key)).await;
    let secret = issued["key"].as_str().unwrap().splitn(3, '_').nth(2).unwrap().to_owned();
    let token = plane.admin.token.clone().unwrap();
    let token = token.splitn(3, '_').nth(2).unwrap();
    for path in every_get(&plane).await {
        let answer = plane.admin.ask(Method::GET, &path, None).await.1.to_string();
        assert!(!answer.contains(&secret) && !answer.contains(token), "{path}");
    }
    let nobody = json!({ "tenant": "acme" });
    let problem = plane.admin.refused(422, Method::POST, "/v1/keys", Some(nobody)).await;
    assert!(problem["detail"].as_str().unwrap().contains("who holds the key"), "{problem:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_with_its_time_and_with_its_removal() {
    let plane = Plane::start().await;
    let operator = plane.client("operator").await;
    let auditor = plane.client("auditor").await;
    operator.get("/v1/me").await;
    let id = operator.get("/v1/me").await["token"]["id"].as_str().unwrap().to_owned();
    plane.admin.ok(Method::DELETE, &format!("/v1/tokens/{id}"), None).await;
    operator.refused(401, Method::GET, "/v1/me", None).await;
    auditor.get("/v1/me").await;
    plane.pass_ms(90 * 24 * 3_600_000);
    auditor.refused(401, Method::GET, "/v1/me", None).await;
    let id = plane.admin.get("/v1/me").await["token"]["id"].as_str().unwrap().to_owned();
    plane.admin.refused(409, Method::DELETE, &format!("/v1/tokens/{id}"), None).await;
}
