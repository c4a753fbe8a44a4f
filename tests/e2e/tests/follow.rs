//! `portcullis calls --follow`: calls as they come, those that are asked for and no others, until it
//! is told to stop.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tests_e2e::{Agent, Door, Era, acknowledged, code_of, play};
use tests_fixtures::stack::{System, SystemSpec, binary};

const LIMIT: Duration = Duration::from_secs(30);

/// A command that follows; it ends with the test.
struct Following {
    child: Child,
    lines: Receiver<String>,
}

impl Following {
    fn start(system: &System, filters: &[&str]) -> anyhow::Result<Self> {
        let mut child = Command::new(binary("portcullis")?)
            .args(["calls", "--follow", "--output", "json"])
            .args(filters)
            .env("PORTCULLIS_URL", format!("http://{}", system.rest))
            .env("PORTCULLIS_TOKEN", &system.token)
            .stdout(Stdio::piped())
            .spawn()?;
        let out = BufReader::new(child.stdout.take().context("its output")?);
        let (send, lines) = channel();
        std::thread::spawn(move || {
            out.lines().map_while(Result::ok).try_for_each(|line| send.send(line))
        });
        Ok(Self { child, lines })
    }

    /// The next call that it shows: tool, decision, rule.
    fn next(&self) -> anyhow::Result<[String; 3]> {
        let line = self.lines.recv_timeout(LIMIT).context("no line in time")?;
        let call: Value = serde_json::from_str(&line).context(line)?;
        let text = |name: &str| call[name].as_str().unwrap_or_default().to_owned();
        ensure!(call["phase"] != "intent", "an intent that was not asked for: {call}");
        Ok([text("tool"), text("decision"), text("rule")])
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn calls_are_followed_as_they_come_by_what_was_asked_for() {
    play(&SystemSpec::usual(), |system| {
        acknowledged(system)?;
        let door = Door::of(system)?;
        let agent = |user: &str| {
            let token = system.token_of(user, &["support"])?;
            Agent::connect(&door, Era::Modern, "/mcp", &token)
        };
        let (mut ann, mut bob) = (agent("ann")?, agent("bob")?);
        let orders = json!({"customer": "c-1"});
        let answer = ann.call("crm__get_orders", orders.clone())?;
        ensure!(code_of(&answer).is_none(), "{answer}");
        let of_bob = Following::start(system, &["--user", "bob"])?;
        let denied = Following::start(system, &["--decision", "deny"])?;
        // Each round is shown before the next begins: nothing waits for a page to be full.
        for round in 0..3 {
            ann.call("crm__get_orders", orders.clone())?;
            bob.call("crm__get_orders", orders.clone())?;
            let answer = ann.call("crm__refund", json!({"order": "A-1", "amount": 100_000}))?;
            ensure!(code_of(&answer) == Some(-31_403), "{answer}");
            let [tool, decision, _] = of_bob.next()?;
            ensure!((&*tool, &*decision) == ("get_orders", "allow"), "{round}: {tool} {decision}");
            let [tool, decision, rule] = denied.next()?;
            ensure!((&*tool, &*decision) == ("refund", "deny"), "{round}: {tool} {decision}");
            ensure!(!rule.is_empty(), "no rule");
        }
        Ok(())
    });
}
