//! Ten thousand calls of many callers, all with the same id: each gets its own answer, whatever else
//! happens on the connections that they share towards the servers.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::ensure;
use serde_json::{Value, json};
use tests_e2e::{Agent, Door, Era, in_parallel, play, text_of, told};
use tests_fixtures::stack::SystemSpec;

const CALLS: u64 = 10_000;
const CALLERS: usize = 20;
/// Of the callers, those that hang up in the middle of a call, again and again.
const RUDE: usize = 4;

/// How a caller speaks, and the server that it calls: half and half.
fn side(caller: usize) -> (Era, &'static str) {
    if caller.is_multiple_of(2) { (Era::Modern, "crm") } else { (Era::Legacy, "erp") }
}

/// Calls with a canary of its own each time, and refuses an answer with another.
fn calls(agent: &mut Agent, caller: usize, made: &AtomicU64) -> anyhow::Result<()> {
    loop {
        let number = made.fetch_add(1, Ordering::Relaxed);
        if number >= CALLS {
            return Ok(());
        }
        let canary = format!("canary-{caller}-{number}");
        let (_, server) = side(caller);
        let tool = format!("{server}__get_orders");
        let request = agent.tool_request(&json!(1), &tool, &json!({"customer": canary}));
        let answer = agent.wire.ask(&request)?.answer()?;
        ensure!(answer["id"] == 1, "{answer}");
        let text: Value = serde_json::from_str(text_of(&answer))?;
        ensure!(text["customer"] == canary, "{canary} was answered {answer}");
        ensure!(text["server"] == server, "{canary} was answered by {answer}");
    }
}

/// Begins calls and hangs up, so that connections to servers are left in every state.
fn hangs_up(door: &Door, token: &str, caller: usize, made: &AtomicU64) -> anyhow::Result<()> {
    while made.load(Ordering::Relaxed) < CALLS {
        let (era, server) = side(caller);
        let mut agent = Agent::connect(door, era, "/mcp", token)?;
        let tool = format!("{server}__big");
        for bytes in [10, 200_000] {
            let request = agent.tool_request(&json!(1), &tool, &json!({"bytes": bytes}));
            agent.wire.send(&request)?;
            if bytes == 10 {
                agent.wire.reply()?;
            }
        }
        agent.wire.drop_hard();
    }
    Ok(())
}

#[test]
fn ten_thousand_equal_ids_never_cross() {
    play(&SystemSpec::usual(), |system| {
        let door = Door::of(system)?;
        let tokens: Vec<String> = (0..CALLERS)
            .map(|number| system.token_of(&format!("agent-{number}"), &["support"]))
            .collect::<Result<_, _>>()?;
        let made = AtomicU64::new(0);
        in_parallel(CALLERS, |caller| {
            let token = &tokens[caller];
            let work = || {
                if caller < RUDE {
                    return hangs_up(&door, token, caller, &made);
                }
                let mut agent = Agent::connect(&door, side(caller).0, "/mcp", token)?;
                calls(&mut agent, caller, &made)
            };
            // One failure ends the test for all.
            work().inspect_err(|_| made.store(CALLS, Ordering::Relaxed))
        })?;
        told(&format!("{CALLS} calls, all with id 1, of {CALLERS} callers: none crossed"));
        Ok(())
    });
}
