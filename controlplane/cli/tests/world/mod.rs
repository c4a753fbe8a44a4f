//! A control plane in this process, an MCP server for it to ask, a folder of policies, and what the
//! built `portcullis` says about them.

pub(crate) mod dropping;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use controlplane_api::Time;
use controlplane_server::{Clock, Config, Running};
use serde_json::{Value, json};
use tests_fixtures::mcp::server::{self, Settings};
use tests_fixtures::{golden, stack::Place};

/// 2026-06-01T00:00:00Z.
const NOW: Time = Time(1_780_272_000_000);

pub(crate) struct World {
    place: Place,
    running: Running,
    crm: server::Running,
    pub(crate) token: String,
    url: Option<String>,
    transcript: String,
}

/// As long as what it stands for, so that columns keep their place.
const ID: &str = "<16 random ones>";

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|fault| panic!("{fault}: {self:?}"))
    }
}

impl World {
    /// `CRM` in the files stands for the server's URL.
    pub(crate) async fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let place = Place::new(&format!("portcullis-cli-{name}")).unwrap();
        let mut config = Config::embedded(place.path("data"));
        config.clock = Clock::new(|| NOW);
        let running = controlplane_server::start(config).await.unwrap();
        let token = std::fs::read_to_string(running.token_file.as_deref().unwrap()).unwrap();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let crm = server::start(Settings::new("crm"), any).await.unwrap();
        for (path, text) in files {
            let text = text.replace("CRM", &crm.url());
            place.write(&format!("policy/{path}"), &text).unwrap();
        }
        let url = Some(running.url.clone());
        let token = token.trim().to_owned();
        Self { place, running, crm, token, url, transcript: String::new() }
    }

    /// An appliance that drops, known to the control plane with what it drops.
    pub(crate) async fn dropping(&self, name: &str) -> dataplane_sync::Handle {
        let made = self.said(&format!("appliances enrol {name} --output json"), "").json();
        let token = made["token"].as_str().unwrap().to_owned();
        let (dir, control) = (self.place.path(name), self.running.quic.to_string());
        let start = move || dropping::start(&dir, &control, &token);
        let handle = tokio::task::spawn_blocking(start).await.unwrap();
        let until = Instant::now() + Duration::from_secs(30);
        let says = |line: &str| self.said(line, "").json();
        while says("drops --output json") == json!([])
            || says("appliances --output json")[0]["state"] != "current"
        {
            assert!(Instant::now() < until, "{:?}", handle.link());
        }
        handle
    }

    pub(crate) fn url(&self) -> &str {
        &self.running.url
    }

    /// From now on `portcullis` has to know the address by itself.
    pub(crate) fn forget_url(&mut self) {
        self.url = None;
    }

    /// Runs a command and keeps it, its answer and its exit code in the transcript.
    pub(crate) fn run(&mut self, line: &str) {
        self.run_with(line, "");
    }

    pub(crate) fn run_with(&mut self, line: &str, input: &str) {
        let said = self.said(line, input);
        self.transcript.push_str(&format!("$ portcullis {line}\n{}{}", said.out, said.err));
        self.transcript.push_str(&format!("[exit code {}]\n\n", said.code));
    }

    /// Runs a command that has to go well and is not what the test is about.
    pub(crate) fn quietly(&self, line: &str) {
        let said = self.said(line, "");
        assert_eq!(said.code, 0, "{said:?}");
    }

    /// As [`World::run`], for a table whose rows come in the order of random ids.
    pub(crate) fn run_in_any_order(&mut self, line: &str) {
        let said = self.said(line, "");
        let mut rows: Vec<_> = said.out.lines().collect();
        rows[1..].sort_by_key(|row| row[ID.len()..].to_owned());
        self.transcript.push_str(&format!("$ portcullis {line}\n{}\n", rows.join("\n")));
        self.transcript.push_str(&format!("[exit code {}]\n\n", said.code));
    }

    pub(crate) fn said(&self, line: &str, input: &str) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command
            .args(words(line))
            .current_dir(self.place.path("."))
            .env_clear()
            .env("HOME", self.place.path("home"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(url) = &self.url {
            command.env("PORTCULLIS_URL", url);
        }
        if !self.token.is_empty() {
            command.env("PORTCULLIS_TOKEN", &self.token);
        }
        let mut child = command.spawn().unwrap();
        // A command that does not read its input may be gone already.
        let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes());
        let output = child.wait_with_output().unwrap();
        Said {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Changes a file of the folder.
    pub(crate) fn edit(&self, path: &str, from: &str, to: &str) {
        let full = self.place.path(&format!("policy/{path}"));
        let text = std::fs::read_to_string(&full).unwrap();
        assert!(text.contains(from), "{path} holds no {from}");
        std::fs::write(full, text.replace(from, to)).unwrap();
    }

    /// Compares the transcript with the one that was read in review.
    pub(crate) fn finish(&self, name: &str) {
        let mut text = self.transcript.replace(&self.crm.url(), "http://crm.internal:8000/mcp");
        let folder = self.place.path(".").display().to_string();
        text = text.replace(folder.trim_end_matches('.'), "");
        text = text.replace(&self.crm.address.to_string(), "crm.internal:8000");
        text = text.replace(&self.running.url, "http://control.internal:9440");
        for secret in hex_words(&text) {
            text = text.replace(&secret, if secret.len() > 16 { "SECRET" } else { ID });
        }
        golden!(name, &text);
    }
}

/// What is drawn at random: ids of 16 hexadecimal digits, secrets of 64 that are not a digest's.
fn hex_words(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric());
    let random = words.filter(|word| word.len() == 16 || word.len() == 64);
    random
        .filter(|word| word.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .map(Into::into)
        .collect()
}

/// As a shell splits them: blanks, and single quotes around what holds blanks.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (place, part) in line.split('\'').enumerate() {
        if place % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(ToOwned::to_owned));
        }
    }
    words
}
