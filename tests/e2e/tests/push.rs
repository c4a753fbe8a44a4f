//! Policy pushed live: a change decides within a second on connections that stay open; a bad one
//! changes nothing and says where it is bad; what does not pass its own tests never arrives.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tests_e2e::{Agent, Door, Era, code_of, in_parallel, play, told};
use tests_fixtures::stack::{System, SystemSpec, wait_until};

/// Promised between the operator's request and the decision.
const PROMISED: Duration = Duration::from_secs(1);
/// Connections that stay open over every change.
const CONNECTIONS: usize = 8;
const ROUNDS: usize = 6;
const DENIED: i64 = -31_403;

fn apply(system: &System, spec: &SystemSpec) -> anyhow::Result<(u16, Value)> {
    let files: Vec<(String, Value)> = spec
        .folder
        .iter()
        .map(|(path, text)| (path.clone(), json!(system.filled_in(text))))
        .collect();
    let files: serde_json::Map<String, Value> = files.into_iter().collect();
    system.api("POST", "/v1/apply", Some(&json!({"files": files, "message": "a test"})))
}

fn limit_of(amount: u64) -> SystemSpec {
    let mut spec = SystemSpec::usual();
    spec.folder.entry("support.cedar".into()).and_modify(|rules| {
        *rules = rules.replace("amount > 500", &format!("amount > {amount}"));
    });
    spec
}

fn refund(agent: &mut Agent) -> anyhow::Result<Option<i64>> {
    let arguments = json!({"order": "A-1", "amount": 700});
    Ok(code_of(&agent.call("crm__refund", arguments)?))
}

#[test]
fn a_change_decides_within_a_second_on_open_connections() {
    play(&SystemSpec::usual(), |system| {
        let door = Door::of(system)?;
        let mut agents = Vec::new();
        for number in 0..CONNECTIONS {
            let token = system.token_of(&format!("agent-{number}"), &["support"])?;
            let era = if number % 2 == 0 { Era::Modern } else { Era::Legacy };
            agents.push(Agent::connect(&door, era, "/mcp", &token)?);
        }
        let mut slowest = Duration::ZERO;
        for round in 0..ROUNDS {
            let (amount, expected) =
                if round % 2 == 0 { (1_000, None) } else { (500, Some(DENIED)) };
            let begun = Instant::now();
            let (status, applied) = apply(system, &limit_of(amount))?;
            ensure!(status == 200 && applied["changed"] == true, "{status}: {applied}");
            // Eras are not bridged yet: the legacy half only lists.
            for agent in agents.iter_mut().step_by(2) {
                wait_until(Duration::from_secs(20), "a decision", || {
                    (refund(agent).ok()? == expected).then_some(())
                })?;
            }
            slowest = slowest.max(begun.elapsed());
        }
        // An agent has one connection and never opens another.
        for agent in &mut agents {
            let names = agent.list()?;
            ensure!(names.contains(&"crm__refund".to_owned()), "{names:?}");
        }
        told(&format!("apply to decision on {CONNECTIONS} connections: slowest {slowest:.1?}"));
        ensure!(slowest < PROMISED, "{slowest:?}");
        Ok(())
    });
}

#[test]
fn a_bad_policy_is_refused_with_its_place_and_changes_nothing() {
    play(&SystemSpec::usual(), |system| {
        let door = Door::of(system)?;
        let token = system.token_of("ann", &["support"])?;
        let mut ann = Agent::connect(&door, Era::Modern, "/mcp", &token)?;
        let revision = system.metric("portcullis_bundle_revision")?;
        let usual = SystemSpec::usual();
        let refused = |path: &str, text: &str| -> anyhow::Result<Value> {
            let mut spec = usual.clone();
            spec.folder.insert(path.into(), text.into());
            let (status, problem) = apply(system, &spec)?;
            ensure!(status == 422, "{path}: {status}: {problem:#}");
            ensure!(problem["file"] == path, "{problem:#}");
            Ok(problem)
        };
        let permit = "permit(principal in Role::\"support\", action == Action::\"call\", ";
        for (what, text, line) in [
            ("syntax", "permit(principal,\n  action\n  resource);\n".to_owned(), 3),
            ("a tool that is not", format!("\n\n{permit}resource == Tool::\"crm/refnd\");\n"), 3),
            (
                "a type",
                format!(
                    "// one\n{permit}resource == Tool::\"crm/refund\")\n  when {{ context.arguments.amount > \"500\" }};\n"
                ),
                3,
            ),
        ] {
            let problem = refused("extra.cedar", &text)?;
            ensure!(problem["line"] == line, "{what}: {problem:#}");
            ensure!(problem["column"].as_u64().is_some_and(|column| column > 0), "{problem:#}");
            ensure!(problem["detail"].as_str().is_some_and(|text| !text.is_empty()), "{problem:#}");
        }
        let toml = usual.folder.get("portcullis.toml").context("the usual settings")?;
        let problem = refused("portcullis.toml", &format!("{toml}\n[quotas.x]\nper = \"moon\"\n"))?;
        ensure!(problem["line"].as_u64().is_some(), "{problem:#}");
        // A folder whose own tests fail is refused with the case.
        let case = "[[case]]\ncaller = { tenant = \"acme\", user = \"ann\", roles = [\"support\"] }\n\
                    call = { tool = \"crm/refund\", arguments = { order = \"A\", amount = 900 } }\n\
                    expect = \"allow\"\n";
        let problem = refused("tests/support.toml", case)?;
        ensure!(problem.to_string().contains("no-large-refunds"), "{problem:#}");
        let answer = ann.call("crm__get_orders", json!({"customer": "c"}))?;
        ensure!(code_of(&answer).is_none(), "{answer}");
        ensure!(refund(&mut ann)? == Some(DENIED));
        ensure!(system.metric("portcullis_bundle_revision")? == revision, "the revision moved");
        let (_, status) = system.api("GET", "/v1/status", None)?;
        ensure!(status["revision"] == revision, "{status:#}");
        // The same folder again is no change.
        let (status, applied) = apply(system, &usual)?;
        ensure!(status == 200 && applied["changed"] == false, "{applied:#}");
        Ok(())
    });
}

#[test]
fn calls_go_on_while_policies_change() {
    play(&SystemSpec::usual(), |system| {
        let door = Door::of(system)?;
        let tokens: Vec<String> = (0..4)
            .map(|number| system.token_of(&format!("agent-{number}"), &["support"]))
            .collect::<Result<_, _>>()?;
        let system = &*system;
        let done = std::sync::atomic::AtomicBool::new(false);
        let counts = in_parallel(tokens.len() + 1, |number| {
            let Some(token) = tokens.get(number) else {
                for round in 0..10 {
                    let (status, applied) = apply(system, &limit_of(600 + round))?;
                    ensure!(status == 200, "{applied}");
                    let revision = applied["revision"].as_u64().context("a revision")?;
                    system.wait_for_revision(revision)?;
                }
                done.store(true, std::sync::atomic::Ordering::Relaxed);
                return Ok(0);
            };
            let mut agent = Agent::connect(&door, Era::Modern, "/mcp", token)?;
            let mut count = 0_u64;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let answer = agent.call("crm__get_orders", json!({"customer": "c"}))?;
                ensure!(code_of(&answer).is_none(), "{answer}");
                count += 1;
            }
            Ok(count)
        })?;
        told(&format!("{} calls over ten revisions, none failed", counts.iter().sum::<u64>()));
        Ok(())
    });
}
