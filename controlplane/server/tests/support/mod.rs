//! A control plane in this process over a real file and real HTTP, and a real MCP server to ask.
#![allow(dead_code)] // Each test uses what it needs.

pub(crate) mod upstream;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use controlplane_api::Time;
use controlplane_server::{Clock, Config, Running};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// A control plane that serves.
pub(crate) struct Plane {
    pub(crate) running: Running,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) admin: Client,
    pub(crate) clock: Arc<AtomicU64>,
}

/// Somebody with a token, or without one.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) http: reqwest::Client,
    pub(crate) url: String,
    pub(crate) token: Option<String>,
}

/// 2026-06-01T00:00:00Z.
pub(crate) const START_MS: u64 = 1_780_272_000_000;

impl Plane {
    pub(crate) async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    /// Over a directory that may hold an earlier life.
    pub(crate) async fn start_in(dir: tempfile::TempDir) -> Self {
        let clock = Arc::new(AtomicU64::new(START_MS));
        let mut config = Config::embedded(dir.path().join("data"));
        let ours = Arc::clone(&clock);
        config.clock = Clock::new(move || Time(ours.load(Ordering::SeqCst)));
        let running = controlplane_server::start(config).await.unwrap();
        let token = read_token(running.token_file.as_deref().unwrap());
        let admin = Client {
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            url: running.url.clone(),
            token: Some(token),
        };
        Self { running, dir, admin, clock }
    }

    pub(crate) async fn restart(self) -> Self {
        self.running.stop().await;
        Self::start_in(self.dir).await
    }

    pub(crate) fn pass_ms(&self, ms: u64) {
        self.clock.fetch_add(ms, Ordering::SeqCst);
    }

    /// A client with a new token of this role.
    pub(crate) async fn client(&self, role: &str) -> Client {
        let body = json!({ "name": format!("{role}-1"), "role": role });
        let issued = self.admin.ok(Method::POST, "/v1/tokens", Some(body)).await;
        Client { token: Some(issued["token"].as_str().unwrap().to_owned()), ..self.admin.clone() }
    }
}

pub(crate) fn read_token(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

impl Client {
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// The answer, which has to be a good one.
    pub(crate) async fn ok(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let (status, answer) = self.ask(method.clone(), path, body).await;
        assert!(status.is_success(), "{method} {path}: {status} {answer:#}");
        answer
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.ok(Method::GET, path, None).await
    }

    /// The problem, which has to have this status.
    pub(crate) async fn refused(
        &self,
        status: u16,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Value {
        let (found, answer) = self.ask(method.clone(), path, body).await;
        assert_eq!(found.as_u16(), status, "{method} {path}: {answer:#}");
        answer
    }

    pub(crate) async fn apply(&self, files: &[(&str, &str)]) -> Value {
        self.ok(Method::POST, "/v1/apply", Some(json!({ "files": folder(files) }))).await
    }

    pub(crate) async fn apply_refused(&self, files: &[(&str, &str)]) -> controlplane_api::Problem {
        let body = json!({ "files": folder(files) });
        let problem = self.refused(422, Method::POST, "/v1/apply", Some(body)).await;
        serde_json::from_value(problem).unwrap()
    }
}

pub(crate) fn folder(files: &[(&str, &str)]) -> BTreeMap<String, String> {
    files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

/// Compares with a file that people read in review; `PORTCULLIS_BLESS=1` rewrites it.
pub(crate) fn golden(path: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("PORTCULLIS_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == found,
        "{} differs; PORTCULLIS_BLESS=1 rewrites it. Found:\n{found}",
        path.display()
    );
}
