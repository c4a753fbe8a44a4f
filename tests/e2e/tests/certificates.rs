//! A new certificate without dropping a connection, and a stop that lets calls finish.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use dataplane_audit::{End, Phase};
use rustix::process::Signal;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;
use tests_e2e::{Agent, Door, Era, code_of, play, records, text_of, told};
use tests_fixtures::stack::{Place, SystemSpec, wait_until};

const LIMIT: Duration = Duration::from_secs(30);

/// A certificate for `localhost`, as an operator's tool would put it there: key first, each whole.
fn renew(folder: &Path) -> anyhow::Result<Vec<u8>> {
    let made =
        rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    for (name, text) in
        [("tls.key", made.signing_key.serialize_pem()), ("tls.crt", made.cert.pem())]
    {
        let whole = folder.join(format!("{name}.new"));
        std::fs::write(&whole, text)?;
        std::fs::rename(whole, folder.join(name))?;
    }
    Ok(made.cert.pem().into_bytes())
}

fn der(pem: &[u8]) -> anyhow::Result<Vec<u8>> {
    let found =
        CertificateDer::from_pem_slice(pem).map_err(|fault| anyhow::anyhow!("{fault:?}"))?;
    Ok(found.to_vec())
}

#[test]
fn a_new_certificate_is_shown_and_no_connection_is_dropped() {
    let place = Place::new("portcullis-tls").expect("a folder");
    let folder = place.path("");
    let first = renew(&folder).expect("a certificate");
    let path = |name: &str| folder.join(name).display().to_string();
    let mut spec = SystemSpec::usual();
    spec.gateway = vec!["--tls-cert".into(), path("tls.crt"), "--tls-key".into(), path("tls.key")];
    play(&spec, |system| {
        let token = system.token_of("ann", &["support"])?;
        let call = |agent: &mut Agent| -> anyhow::Result<()> {
            let answer = agent.call("crm__get_orders", json!({"customer": "c"}))?;
            ensure!(code_of(&answer).is_none(), "{answer}");
            Ok(())
        };
        let old_door = Door::trusting(system, &first)?;
        let mut old = Agent::connect(&old_door, Era::Modern, "/mcp", &token)?;
        call(&mut old)?;
        ensure!(old.wire.certificate() == der(&first)?);
        // A call that runs while the certificate changes.
        let mut running = Agent::connect(&old_door, Era::Modern, "/mcp", &token)?;
        let request = running.tool_request(&json!("r"), "crm__slow", &json!({"ms": 3_000}));
        running.wire.send(&request)?;

        let second = renew(&folder)?;
        let begun = Instant::now();
        let new_door = Door::trusting(system, &second)?;
        wait_until(LIMIT, "the new certificate", || {
            let shown = new_door.open().ok()?.certificate();
            (shown == der(&second).ok()?).then_some(())
        })?;
        told(&format!("a changed certificate is shown after {:.0?}", begun.elapsed()));
        ensure!(old_door.open().is_err(), "the old certificate is still shown");
        call(&mut old)?;
        ensure!(running.wire.reply()?.answer()?["id"] == "r", "the running call was dropped");
        call(&mut running)?;

        // What cannot be used is said, and changes nothing.
        std::fs::write(folder.join("tls.crt"), "not a certificate")?;
        system.gateway.signal(Signal::HUP);
        let gateway = &system.gateway;
        wait_until(LIMIT, "the complaint", || {
            gateway.log_text().contains("the old certificate stays").then_some(())
        })?;
        let mut still = Agent::connect(&new_door, Era::Modern, "/mcp", &token)?;
        call(&mut still)?;
        call(&mut old)?;
        let third = renew(&folder)?;
        system.gateway.signal(Signal::HUP);
        let third_door = Door::trusting(system, &third)?;
        wait_until(LIMIT, "the third certificate", || third_door.open().ok())?;
        call(&mut old)
    });
}

#[test]
fn a_stop_lets_calls_finish_and_takes_no_more() {
    play(&SystemSpec::usual(), |system| {
        let token = system.token_of("ann", &["support"])?;
        let door = Door::of(system)?;
        let mut idle = Agent::connect(&door, Era::Modern, "/mcp", &token)?;
        ensure!(!idle.list()?.is_empty());
        let mut legacy = Agent::connect(&door, Era::Legacy, "/mcp", &token)?;
        ensure!(!legacy.list()?.is_empty());
        let mut running = Agent::connect(&door, Era::Modern, "/mcp", &token)?;
        ensure!(!running.list()?.is_empty());
        let calls = || -> anyhow::Result<String> {
            let url = system.filled_in("{url:crm}");
            let address = url.trim_start_matches("http://").trim_end_matches("/mcp").to_owned();
            Ok(tests_fixtures::stack::get(&address, "/calls")?.body)
        };
        let before = calls()?;
        let request = running.tool_request(&json!("last"), "crm__slow", &json!({"ms": 4_000}));
        let begun = Instant::now();
        running.wire.send(&request)?;
        wait_until(LIMIT, "the running call", || (calls().ok()? != before).then_some(()))?;

        system.gateway.signal(Signal::TERM);
        idle.wire.closed_within(Duration::from_secs(3)).context("an idle connection")?;
        legacy.wire.closed_within(Duration::from_secs(3)).context("an idle legacy connection")?;
        wait_until(Duration::from_secs(3), "refusals of new connections", || {
            let request = idle.request(&json!(1), "tools/list", &json!({}));
            door.ask(&request).is_err().then_some(())
        })?;
        // Whichever core a new connection would go to.
        for _ in 0..20 {
            let request = idle.request(&json!(1), "tools/list", &json!({}));
            ensure!(door.ask(&request).is_err(), "a new connection is served");
        }
        ensure!(begun.elapsed() < Duration::from_millis(4_000), "the call ended before all that");
        let answer = running.wire.reply()?.answer()?;
        ensure!(text_of(&answer).contains("waited_ms"), "{answer}");
        running.wire.closed_within(Duration::from_secs(3)).context("after its last answer")?;
        let gateway = &mut system.gateway;
        let status = wait_until(LIMIT, "the end", || gateway.ended())?;
        ensure!(status.success(), "{status}");
        told(&format!("stopped {:.1?} after a call of 4 s began", begun.elapsed()));
        let folder = records::folder(system);
        records::sound(&folder)?;
        let mut ends = Vec::new();
        records::each(&folder, |_, record| {
            if let Some(call) = record.call().filter(|call| call.phase == Phase::Outcome) {
                ends.push(call.ending.end);
            }
        })?;
        ensure!(ends == [End::Answered], "{ends:?}");
        Ok(())
    });
}

#[test]
fn a_stop_waits_no_longer_than_it_is_told() {
    let mut spec = SystemSpec::usual();
    spec.gateway = vec!["--drain-s".into(), "1".into()];
    play(&spec, |system| {
        let token = system.token_of("ann", &["support"])?;
        let mut running = Agent::connect(&Door::of(system)?, Era::Modern, "/mcp", &token)?;
        ensure!(!running.list()?.is_empty());
        let request = running.tool_request(&json!(1), "crm__slow", &json!({"ms": 60_000}));
        running.wire.send(&request)?;
        let begun = Instant::now();
        system.gateway.signal(Signal::TERM);
        let gateway = &mut system.gateway;
        wait_until(LIMIT, "the end", || gateway.ended())?;
        ensure!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        records::sound(&records::folder(system))?;
        Ok(())
    });
}
