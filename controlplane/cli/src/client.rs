//! Asking the control plane.

use std::fs;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use controlplane_api::Problem;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use reqwest::blocking::Client as Http;
use serde::Serialize;
use serde_json::Value;

use crate::arguments::Arguments;
use crate::fault::Fault;

/// Where a control plane listens unless it is told otherwise.
const URL: &str = "http://127.0.0.1:9440";
/// Longer than any answer takes; following calls waits 30 s on purpose.
const PATIENCE: Duration = Duration::from_secs(120);
/// All but the unreserved characters (RFC 3986 §2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A control plane, and who asks it.
pub(crate) struct Client {
    http: Http,
    url: String,
    token: Option<String>,
}

impl Client {
    pub(crate) fn new(arguments: &Arguments) -> Result<Self, Fault> {
        let local = |fault: &dyn std::fmt::Display| Fault::Local(fault.to_string());
        // Only this program's main thread comes here, once.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut http = Http::builder().timeout(PATIENCE).no_proxy();
        let kept = kept_login();
        let url = arguments.url.clone().or_else(|| kept.as_ref().map(|(url, _)| url.clone()));
        let url = url.unwrap_or_else(|| URL.to_owned()).trim_end_matches('/').to_owned();
        http = match &arguments.ca {
            Some(path) => {
                let pem = fs::read(path).map_err(|fault| local(&fault))?;
                let trusted = reqwest::Certificate::from_pem_bundle(&pem).map_err(|f| local(&f))?;
                http.tls_certs_only(trusted)
            }
            None if url.starts_with("https:") => http,
            // Nothing to trust is needed for plain HTTP, and nothing else is asked for.
            None => http.tls_certs_only([]),
        };
        let http = http.build().map_err(|fault| local(&fault))?;
        // A token is told to the control plane that it was kept for, and to no other.
        let kept = kept.filter(|(known, _)| *known == url).map(|(_, token)| token);
        let token = match &arguments.token_file {
            Some(path) => {
                let read = fs::read_to_string(path);
                let read = read.map_err(|fault| local(&format!("{}: {fault}", path.display())))?;
                Some(read.trim().to_owned())
            }
            None => arguments.token.clone().or(kept),
        };
        Ok(Self { http, url, token })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The same control plane, asked with another token.
    pub(crate) fn with_token(self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self }
    }

    pub(crate) fn get(&self, path: &str) -> Result<Value, Fault> {
        self.ask::<()>(Method::GET, path, None)
    }

    pub(crate) fn get_with(&self, path: &str, query: &[(&str, String)]) -> Result<Value, Fault> {
        self.send(self.http.request(Method::GET, self.at(path)).query(query))
    }

    pub(crate) fn post(&self, path: &str, body: &impl Serialize) -> Result<Value, Fault> {
        self.ask(Method::POST, path, Some(body))
    }

    pub(crate) fn put(&self, path: &str, body: &impl Serialize) -> Result<Value, Fault> {
        self.ask(Method::PUT, path, Some(body))
    }

    pub(crate) fn delete(&self, path: &str) -> Result<Value, Fault> {
        self.ask::<()>(Method::DELETE, path, None)
    }

    /// All items of a list, page by page.
    pub(crate) fn all(&self, path: &str) -> Result<Vec<Value>, Fault> {
        let mut items = Vec::new();
        let mut query = vec![("limit", "200".to_owned())];
        loop {
            let mut page = self.get_with(path, &query)?;
            if let Some(Value::Array(more)) = page.get_mut("items").map(Value::take) {
                items.extend(more);
            }
            match page["next"].as_str() {
                Some(next) => {
                    query.truncate(1);
                    query.push(("after", next.to_owned()));
                }
                None => return Ok(items),
            }
        }
    }

    fn ask<B: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<Value, Fault> {
        let request = self.http.request(method, self.at(path));
        self.send(match body {
            Some(body) => request.json(body),
            None => request,
        })
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    fn send(&self, mut request: reqwest::blocking::RequestBuilder) -> Result<Value, Fault> {
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let unreachable = |fault: reqwest::Error| Fault::Unreachable {
            url: self.url.clone(),
            why: deepest(&fault),
        };
        let answer = request.send().map_err(unreachable)?;
        let is_success = answer.status().is_success();
        let status = answer.status().as_u16();
        let text = answer.text().map_err(unreachable)?;
        let value: Value = match text.as_str() {
            "" => Value::Null,
            text => serde_json::from_str(text)
                .map_err(|_| Fault::Local(format!("the answer ({status}) is not JSON: {text}")))?,
        };
        if is_success {
            return Ok(value);
        }
        let problem: Problem = serde_json::from_value(value.clone())
            .map_err(|_| Fault::Local(format!("the control plane answered {status}: {value}")))?;
        Err(Fault::Refused(Box::new(problem)))
    }
}

/// A name as one segment of a path, whatever letters it has.
pub(crate) fn segment(name: &str) -> String {
    utf8_percent_encode(name, RESERVED).to_string()
}

fn deepest(fault: &dyn std::error::Error) -> String {
    let mut fault = fault;
    while let Some(cause) = fault.source() {
        fault = cause;
    }
    fault.to_string()
}

/// Says what is being waited for, on a terminal only.
pub(crate) fn progress(text: &str) {
    if std::io::stderr().is_terminal() {
        eprintln!("{text}...");
    }
}

/// The address and token that `portcullis login` kept.
fn kept_login() -> Option<(String, String)> {
    let text = fs::read_to_string(login_file()?).ok()?;
    let (url, token) = text.split_once('\n')?;
    Some((url.to_owned(), token.trim().to_owned()))
}

pub(crate) fn keep_login(url: &str, token: &str) -> Result<PathBuf, Fault> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let path = login_file().ok_or_else(|| Fault::Local("HOME is not set".into()))?;
    let kept = || -> std::io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        writeln!(file, "{url}\n{token}")
    };
    kept().map_err(|fault| Fault::Local(format!("{}: {fault}", path.display())))?;
    Ok(path)
}

fn login_file() -> Option<PathBuf> {
    let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let config = config.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")));
    config.map(|folder| folder.join("portcullis/login"))
}
