//! An agent that ignores its refusals: told, slowed, refused, and its packets dropped at the card,
//! here the loopback interface, while its neighbour behind the same address notices nothing.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use dataplane_audit::{Body, Control};
use serde_json::{Value, json};
use tests_e2e::{Agent, Door, Era, acknowledged, code_of, play, records, skip, told};
use tests_fixtures::stack::{System, SystemSpec, wait_until};

const OVER_QUOTA: i64 = -31_429;
/// Of everything that is waited for.
const LIMIT: Duration = Duration::from_secs(30);
/// The first drop.
const DROP: Duration = Duration::from_secs(3);

/// One call an hour; ten ignored refusals slow, ten more drop.
fn spec() -> SystemSpec {
    let mut spec = SystemSpec::usual();
    spec.folder.entry("portcullis.toml".into()).and_modify(|text| {
        *text = text.replace("60000/min", "1/hour").replace("10000", "1");
        text.push_str(
            "\n[quotas.callers.ladder]\nignored_refusals = 10\ngrace_ms = 0\n\
             drop = { ignored_refusals = 10, drop_ms_first = 3000 }\n",
        );
    });
    spec
}

/// A bpf file system of the test's own. Unmounted when dropped.
struct Pins(PathBuf);

impl Pins {
    fn new() -> Option<Self> {
        let path = std::env::temp_dir().join(format!("portcullis-pins-{}", std::process::id()));
        std::fs::create_dir_all(&path).ok()?;
        let mounted = Command::new("mount").args(["-t", "bpf", "bpf"]).arg(&path).status().ok()?;
        mounted.success().then_some(Self(path))
    }

    /// What gives a gateway the loopback interface for a card.
    fn arguments(&self) -> [String; 4] {
        let below = self.0.join("portcullis").display().to_string();
        ["--card-interface", "lo", "--card-pins", &below].map(str::to_owned)
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        // What is pinned lets go of the interface when its file is gone.
        let _ = std::fs::remove_dir_all(self.0.join("portcullis"));
        let _ = Command::new("umount").arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// Calls without waiting until everything is refused; the connection is then open.
fn ignore_refusals(door: &Door, token: &str) -> anyhow::Result<(Agent, usize)> {
    let mut agent = Agent::connect(door, Era::Modern, "/mcp", token)?;
    let begun = Instant::now();
    for number in 0.. {
        ensure!(begun.elapsed() < Duration::from_secs(60), "never dropped, {number} calls");
        let call = json!({"name": "crm__get_orders", "arguments": {"customer": "c"}});
        let Ok(reply) = agent.ask("tools/call", &call) else {
            agent = Agent::connect(door, Era::Modern, "/mcp", token)?;
            continue;
        };
        let answer = reply.answer()?;
        if number > 0 {
            ensure!(code_of(&answer) == Some(OVER_QUOTA) && reply.status == 429, "{answer}");
        }
        if answer["error"]["message"].as_str().unwrap_or_default().contains("everything") {
            return Ok((agent, number));
        }
        if reply.header("connection") == Some("close") {
            agent = Agent::connect(door, Era::Modern, "/mcp", token)?;
        }
    }
    unreachable!("the numbers do not end")
}

/// Threads of a process that may do more than the gateway has to.
fn overpowered(pid: u32) -> anyhow::Result<Vec<String>> {
    // Of capabilities(7): DAC_OVERRIDE, NET_BIND_SERVICE, IPC_LOCK.
    let kept = 1_u64 << 1 | 1 << 10 | 1 << 14;
    let mut found = Vec::new();
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = std::fs::read_to_string(thread?.path().join("status"))?;
        let has_more = status.lines().any(|line| {
            let set = ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"]
                .iter()
                .find_map(|name| u64::from_str_radix(line.strip_prefix(name)?.trim(), 16).ok());
            set.is_some_and(|set| set & !kept != 0) || line == "NoNewPrivs:\t0"
        });
        if has_more {
            found.push(status);
        }
    }
    Ok(found)
}

/// What the gateway has put on record of ladders: what, and of what.
fn steps(folder: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let mut steps = Vec::new();
    records::each(folder, |_, record| {
        if let Body::Control(Control::LadderStep { what, target, .. }) = &record.body {
            steps.push(((*what).to_owned(), (*target).to_owned()));
        }
    })?;
    Ok(steps)
}

#[test]
fn who_ignores_refusals_is_refused_whatever_it_asks_without_a_card_too() {
    play(&spec(), |system| {
        let door = Door::of(system)?;
        let token = system.token_of("ann", &["support"])?;
        let (mut agent, _) = ignore_refusals(&door, &token)?;
        let listed = agent.ask("tools/list", &json!({}))?;
        ensure!(listed.status == 429, "{}", listed.text());
        ensure!(system.metric("portcullis_ladder_slowed_total")? == 1);
        ensure!(system.metric("portcullis_ladder_drops_total")? == 1);
        let token = system.token_of("bob", &["support"])?;
        let answer = Agent::connect(&door, Era::Modern, "/mcp", &token)?
            .call("crm__get_orders", json!({"customer": "c"}))?;
        ensure!(code_of(&answer).is_none(), "{answer}");
        wait_until(Duration::from_secs(30), "the drop's end", || {
            agent.ask("tools/list", &json!({})).ok().filter(|reply| reply.status == 200)
        })?;
        Ok(())
    });
}

#[test]
fn packets_die_at_the_card_and_the_neighbours_do_not() {
    let test = "packets_die_at_the_card_and_the_neighbours_do_not";
    let Some(pins) = Pins::new() else {
        return skip(test, "mounting a bpf file system needs root");
    };
    let mut spec = spec();
    spec.gateway.extend(pins.arguments());
    play(&spec, |system| {
        acknowledged(system)?;
        let pid = system.gateway.id().context("no gateway")?;
        ensure!(overpowered(pid)?.is_empty(), "{:?}", overpowered(pid)?);
        let door = Door::of(system)?;
        let token = system.token_of("ann", &["support"])?;
        let (mut agent, calls) = ignore_refusals(&door, &token)?;
        let refused = Instant::now();
        // Its next packets are not answered, not even refused. Connections before this one may have
        // had entries, which ended with them.
        let dropped = || system.metric("portcullis_card_dropped_packets_total").ok();
        let folder = records::folder(system);
        let own = format!("the connection {} to ", agent.wire.local()?);
        wait_until(Duration::from_secs(2), "entry of its connection", || {
            let steps = steps(&folder).ok()?;
            let is_made =
                |(what, target): &(String, String)| what == "made" && target.starts_with(&own);
            steps.iter().any(is_made).then_some(())
        })?;
        let call = json!({"name": "crm__get_orders", "arguments": {"customer": "c"}});
        agent.wire.send(&agent.request(&json!(1), "tools/call", &call))?;
        ensure!(agent.wire.is_quiet_for(Duration::from_millis(800)), "it was answered");
        wait_until(Duration::from_secs(2), "dropped packets", || dropped().filter(|n| *n > 0))?;
        // Another caller from the same address, meanwhile.
        let others = system.token_of("bob", &["support"])?;
        let mut bob = Agent::connect(&door, Era::Modern, "/mcp", &others)?;
        let answer = bob.call("crm__get_orders", json!({"customer": "c"}))?;
        ensure!(code_of(&answer).is_none(), "{answer}");
        // An operator sees who, by what and until when.
        let rows = wait_until(Duration::from_secs(5), "the list of drops", || {
            let (_, page) = system.api("GET", "/v1/drops", None).ok()?;
            page["items"].as_array().filter(|rows| !rows.is_empty()).cloned()
        })?;
        let row: &Value = rows.first().context("a row")?;
        ensure!(row["tenant"] == "acme" && row["user"] == "ann", "{row}");
        ensure!(row.to_string().contains("callers"), "{row}");
        // And what died at the card: whose, why, from where to where.
        let packet = wait_until(LIMIT, "sample of its packets", || {
            sampled(system, "?tenant=acme", |packet| packet["table"] == "flow")
        })?;
        let end = |name: &str| packet[name].as_str().unwrap_or_default().parse::<SocketAddr>();
        let (from, to) = (end("source")?, end("destination")?);
        ensure!(from.ip().is_loopback() && from.port() != to.port(), "{packet}");
        ensure!(to.port() == door.address.port(), "{packet}");
        ensure!(packet["reason"] == "refusals" && packet["protocol"] == "TCP", "{packet}");
        ensure!(packet["interface"] == "lo", "{packet}");
        // The first may be the end of a connection before this one; none opens one.
        let says = packet["says"].as_str().unwrap_or("SYN");
        ensure!(!says.starts_with("SYN"), "{packet}");
        // What was sent again meanwhile is answered once it has ended by itself.
        let reply = agent.wire.reply()?;
        ensure!(reply.status == 429 && !reply.text().contains("everything"), "{}", reply.text());
        ensure!(refused.elapsed() >= DROP / 2, "{:?}", refused.elapsed());
        told(&format!(
            "dropped after {calls} calls; answered again {:.1} s later",
            refused.elapsed().as_secs_f64()
        ));
        ensure!(system.metric("portcullis_drop_entries")? == 0);
        let steps = wait_until(Duration::from_secs(5), "the records", || {
            let steps = steps(&folder).ok()?;
            steps.iter().any(|(what, _)| what == "expired").then_some(steps)
        })?;
        let whats: Vec<&str> = steps.iter().map(|(what, _)| what.as_str()).collect();
        ensure!(whats.first() == Some(&"slowed") && whats.contains(&"made"), "{steps:?}");
        Ok(())
    });
}

/// The newest sampled packet of this query that fits.
fn sampled(system: &System, query: &str, fits: impl Fn(&Value) -> bool) -> Option<Value> {
    let (_, page) = system.api("GET", &format!("/v1/drops/packets{query}"), None).ok()?;
    page["items"].as_array()?.iter().find(|packet| fits(packet)).cloned()
}

/// Whether a connection to the gateway's port is made at once; a SYN that was dropped is sent again a
/// second later.
fn connects(at: &str) -> bool {
    let mut found = at.to_socket_addrs().expect("an address and port");
    let at = found.find(SocketAddr::is_ipv4).expect("of IPv4");
    std::net::TcpStream::connect_timeout(&at, Duration::from_millis(500)).is_ok()
}

/// What the metrics say of Acme's connections.
fn thinned(system: &System) -> Option<u64> {
    let name = "portcullis_card_tenant_dropped_packets_total";
    system.metric(&format!("{name}{{tenant=\"acme\",reason=\"connections\"}}")).ok()
}

/// Applies a folder in which Acme has this address to itself, and waits until the card's bound is such
/// a burst.
fn bound(
    system: &System,
    folder: &BTreeMap<String, String>,
    written: &str,
    burst: Option<u64>,
) -> anyhow::Result<()> {
    let mut folder = folder.clone();
    folder.entry("portcullis.toml".into()).and_modify(|text| {
        let own = format!("[tenants.acme]\nprefixes = [\"127.0.0.1\"]\n{written}");
        *text = text.replace("[tenants.acme]\n", &own);
    });
    system.apply(&folder)?;
    wait_until(LIMIT, "the bound in the status", || {
        let (_, status) = system.api("GET", "/v1/status", None).ok()?;
        let card = status["cards"].as_array()?.first()?;
        (card["thinned"][0]["burst"].as_u64() == burst).then_some(())
    })
}

#[test]
fn new_connections_of_a_tenant_are_bounded_at_the_card_as_its_folder_says() {
    let test = "new_connections_of_a_tenant_are_bounded_at_the_card_as_its_folder_says";
    let Some(pins) = Pins::new() else {
        return skip(test, "mounting a bpf file system needs root");
    };
    let mut spec = SystemSpec::usual();
    spec.gateway.extend(pins.arguments());
    let folder = spec.folder.clone();
    play(&spec, |system| {
        acknowledged(system)?;
        // As many as a burst has, then one an hour: the ones past it die at the card.
        bound(system, &folder, "connections = \"1/hour\"\nconnections_burst = 5\n", Some(5))?;
        let made = (0..8).filter(|_| connects(&system.listen)).count();
        ensure!(made == 5, "{made} of a burst of 5");
        let dropped = wait_until(LIMIT, "the count of dropped connections", || {
            thinned(system).filter(|count| *count >= 3)
        })?;
        let page = wait_until(LIMIT, "the count in the list", || {
            let (_, page) = system.api("GET", "/v1/drops", None).ok()?;
            (page["thinned"][0]["drops"].as_u64()? >= 3).then_some(page)
        })?;
        ensure!(page["entries"] == 0, "{page}");
        let packet = wait_until(LIMIT, "sample of what is past the bound", || {
            sampled(system, "", |packet| packet["table"] == "bucket")
        })?;
        ensure!(packet["tenant"] == "acme" && packet["reason"] == "connections", "{packet}");
        ensure!(packet["says"].as_str().is_some_and(|says| says.starts_with("SYN")), "{packet}");
        ensure!(system.metric("portcullis_card_samples_lost_total")? == 0);
        // A gateway that starts again finds the bucket as empty as it was, and its counts.
        system.gateway.restart()?;
        wait_until(LIMIT, "the counts, after a restart", || {
            thinned(system).filter(|count| *count >= dropped)
        })?;
        ensure!(!connects(&system.listen), "a restart filled the bucket");
        // Another bound begins with a full bucket; without one all pass.
        bound(system, &folder, "connections = \"1/hour\"\nconnections_burst = 2\n", Some(2))?;
        let made = (0..4).filter(|_| connects(&system.listen)).count();
        ensure!(made == 2, "{made} of a burst of 2");
        bound(system, &folder, "", None)?;
        ensure!((0..20).all(|_| connects(&system.listen)), "bounded still");
        Ok(())
    });
}
