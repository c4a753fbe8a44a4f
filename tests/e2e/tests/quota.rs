//! Quotas over all cores and connections: exactly the burst, and a refusal that says what and when.

use anyhow::{Context, ensure};
use serde_json::json;
use tests_e2e::{Agent, Door, Era, code_of, in_parallel, play};
use tests_fixtures::stack::SystemSpec;

const BURST: usize = 25;
const CONNECTIONS: usize = 8;
const OVER_QUOTA: i64 = -31_429;

fn spec() -> SystemSpec {
    let mut spec = SystemSpec::usual();
    spec.folder.entry("portcullis.toml".into()).and_modify(|text| {
        *text = text.replace("60000/min", "1/hour").replace("10000", &BURST.to_string());
    });
    spec
}

#[test]
fn a_caller_gets_its_burst_once_over_all_connections() {
    play(&spec(), |system| {
        let door = Door::of(system)?;
        let token = system.token_of("ann", &["support"])?;
        let counts = in_parallel(CONNECTIONS, |_| {
            let mut agent = Agent::connect(&door, Era::Modern, "/mcp", &token)?;
            let mut allowed = 0;
            for number in 0..BURST {
                let params = json!({"name": "crm__get_orders", "arguments": {"customer": "c"}});
                let request = agent.request(&json!(format!("n{number}")), "tools/call", &params);
                let reply = agent.wire.ask(&request)?;
                let answer = reply.answer()?;
                ensure!(answer["id"] == format!("n{number}"), "{answer}");
                match code_of(&answer) {
                    None => allowed += 1,
                    Some(OVER_QUOTA) => {
                        ensure!(reply.status == 429, "{}", reply.status);
                        let wait_s: u64 = reply.header("retry-after").context("when")?.parse()?;
                        let data = &answer["error"]["data"];
                        ensure!(data["quota"] == "callers", "{answer}");
                        let wait_ms = data["retryAfterMs"].as_u64().context("retryAfterMs")?;
                        ensure!(
                            wait_ms <= 3_600_000 && wait_s == wait_ms.div_ceil(1_000),
                            "{answer}"
                        );
                    }
                    Some(_) => anyhow::bail!("{answer}"),
                }
            }
            Ok(allowed)
        })?;
        ensure!(counts.iter().sum::<usize>() == BURST, "{counts:?} of {BURST}");
        // Lists cost nothing, denials cost nothing more, and another caller has a burst of its own.
        let mut ann = Agent::connect(&door, Era::Modern, "/mcp", &token)?;
        ensure!(!ann.list()?.is_empty());
        let token = system.token_of("bob", &["support"])?;
        let mut bob = Agent::connect(&door, Era::Modern, "/mcp", &token)?;
        let answer = bob.call("crm__get_orders", json!({"customer": "c"}))?;
        ensure!(code_of(&answer).is_none(), "{answer}");
        Ok(())
    });
}
