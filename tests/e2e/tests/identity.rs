//! Who is believed: keys that rotate, tokens for somebody else, API keys, and what a client without a
//! token is told.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use dataplane_pipeline::route::{ENTRY_POINTS, Purpose};
use serde_json::{Value, json};
use tests_e2e::{Agent, Door, Era, Reply, Request, code_of, legacy, modern, play, told};
use tests_fixtures::stack::{System, SystemSpec, ask, get, post, wait_until};

const LIMIT: Duration = Duration::from_secs(30);
/// From the API's request to the last refusal.
const WITHDRAWN: Duration = Duration::from_secs(1);

fn list(door: &Door, token: &str) -> anyhow::Result<Reply> {
    door.ask(&modern("/mcp", token, &json!(1), "tools/list", &json!({})))
}

fn is_taken(door: &Door, token: &str) -> anyhow::Result<bool> {
    let reply = list(door, token)?;
    ensure!(reply.status == 200 || reply.status == 401, "{}: {}", reply.status, reply.text());
    Ok(reply.status == 200)
}

fn rotate(system: &System, algorithm: &str, keep: bool) -> anyhow::Result<()> {
    let path = format!("/keys/rotate?alg={algorithm}&keep={keep}");
    let answer = post(&system.issuer, &path, "{}")?;
    ensure!(answer.status == 200, "{}", answer.body);
    Ok(())
}

/// The control plane asks the provider now, and the gateway has what it learnt.
fn refresh(system: &System) -> anyhow::Result<()> {
    let (status, applied) = system.api("POST", "/v1/identity/idp/refresh", None)?;
    ensure!(status == 200 && applied["changed"] == true, "{status}: {applied}");
    system.wait_for_revision(applied["revision"].as_u64().context("a revision")?)
}

#[test]
fn keys_rotate_and_an_old_key_is_refused_also_on_an_open_connection() {
    play(&SystemSpec::usual(), |system| {
        let door = Door::of(system)?;
        let first = system.token_of("ann", &["support"])?;
        ensure!(is_taken(&door, &first)?);
        let mut open = Agent::connect(&door, Era::Modern, "/mcp", &first)?;
        ensure!(!open.list()?.is_empty());
        let mut taken = vec![first];
        for algorithm in ["RS256", "EdDSA", "ES256"] {
            rotate(system, algorithm, true)?;
            let token = system.token_of("ann", &["support"])?;
            ensure!(!is_taken(&door, &token)?, "{algorithm}: a key that was not pushed");
            refresh(system)?;
            ensure!(is_taken(&door, &token)?, "{algorithm}: a key that was pushed");
            taken.push(token);
        }
        for (number, token) in taken.iter().enumerate() {
            ensure!(is_taken(&door, token)?, "key {number} is still published");
        }
        ensure!(!open.list()?.is_empty());
        // Every earlier key is withdrawn: cache or not, connection or not.
        rotate(system, "ES256", false)?;
        refresh(system)?;
        for (number, token) in taken.iter().enumerate() {
            ensure!(!is_taken(&door, token)?, "withdrawn key {number}");
        }
        let reply = open.ask("tools/list", &json!({}))?;
        ensure!(reply.status == 401, "an open connection: {}", reply.status);
        let token = system.token_of("ann", &["support"])?;
        ensure!(is_taken(&door, &token)?);
        Ok(())
    });
}

/// Calls on every connection until all are refused; none is served again once it was refused.
fn refused_within(open: &mut [Agent], since: Instant) -> anyhow::Result<Duration> {
    let mut is_refused = vec![false; open.len()];
    while is_refused.contains(&false) {
        ensure!(since.elapsed() < LIMIT, "still served: {is_refused:?}");
        for (agent, is_refused) in open.iter_mut().zip(&mut is_refused) {
            let status = agent.ask("tools/list", &json!({}))?.status;
            ensure!(status == 401 || (status == 200 && !*is_refused), "{status}");
            *is_refused = status == 401;
        }
    }
    Ok(since.elapsed())
}

/// Connections that have just been served, so that each core knows their caller.
fn served(door: &Door, token: &str) -> anyhow::Result<Vec<Agent>> {
    let connect = |_| Agent::connect(door, Era::Modern, "/mcp", token);
    let mut open: Vec<Agent> = (0..8).map(connect).collect::<Result<_, _>>()?;
    for agent in &mut open {
        ensure!(!agent.list()?.is_empty() && !agent.list()?.is_empty());
    }
    Ok(open)
}

#[test]
fn what_is_withdrawn_is_refused_within_a_second_though_it_is_cached() {
    play(&SystemSpec::usual(), |system| {
        let door = Door::of(system)?;
        let robot = json!({"tenant": "acme", "kind": "agent", "agent": "robot",
            "roles": ["support"]});
        let mut latencies = Vec::new();
        for _ in 0..3 {
            let (status, issued) = system.api("POST", "/v1/keys", Some(&robot))?;
            ensure!(status == 201, "{status}: {issued}");
            system.wait_for_revision(issued["revision"].as_u64().context("a revision")?)?;
            let key = issued["key"].as_str().context("a key")?;
            let id = issued["info"]["id"].as_str().context("an id")?;
            let mut open = served(&door, key)?;
            let since = Instant::now();
            let (status, applied) = system.api("DELETE", &format!("/v1/keys/{id}"), None)?;
            ensure!(status == 200, "{applied}");
            latencies.push(refused_within(&mut open, since)?);
            ensure!(!is_taken(&door, key)?, "a deleted key, on a new connection");
        }
        told(&format!("a deleted API key, to refusal on 8 connections: {latencies:.1?}"));
        let token = system.token_of("ann", &["support"])?;
        let mut open = served(&door, &token)?;
        rotate(system, "ES256", false)?;
        let since = Instant::now();
        let (status, applied) = system.api("POST", "/v1/identity/idp/refresh", None)?;
        ensure!(status == 200 && applied["changed"] == true, "{status}: {applied}");
        let rotated = refused_within(&mut open, since)?;
        ensure!(!is_taken(&door, &token)?, "a withdrawn key's token, on a new connection");
        told(&format!("a key taken out of its set, to refusal on 8 connections: {rotated:.1?}"));
        latencies.push(rotated);
        ensure!(latencies.iter().all(|one| *one < WITHDRAWN), "{latencies:?}");
        Ok(())
    });
}

#[test]
fn a_token_for_somebody_else_is_refused_and_says_why() {
    let mut spec = SystemSpec::usual();
    spec.folder.entry("portcullis.toml".into()).and_modify(|text| {
        text.push_str("\n[tenants.initech]\ndisabled = true\n");
    });
    play(&spec, |system| {
        let door = Door::of(system)?;
        let good = json!({"sub": "ann", "org": "acme", "groups": ["support"]});
        ensure!(is_taken(&door, &system.token_for(good.clone())?)?);
        let with = |name: &str, value: Value| -> anyhow::Result<String> {
            let mut claims = good.clone();
            claims[name] = value;
            system.token_for(claims)
        };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
        let refused = [
            ("another audience", with("aud", json!("https://elsewhere.example/mcp"))?),
            ("no audience", with("aud", json!([]))?),
            ("another issuer", with("iss", json!("https://idp.elsewhere.example"))?),
            ("a tenant that is switched off", with("org", json!("initech"))?),
            ("a tenant that is no text", with("org", json!(["acme"]))?),
            ("no tenant", with("org", Value::Null)?),
            ("not yet", with("nbf", json!(now + 3_600))?),
            ("over", with("exp", json!(now - 3_600))?),
            ("no end", with("exp", Value::Null)?),
        ];
        for (why, token) in &refused {
            let reply = list(&door, token)?;
            let is_refused = reply.status == 401
                || reply.answer().is_ok_and(|answer| answer["result"]["tools"] == json!([]));
            ensure!(is_refused, "{why}: {}: {}", reply.status, reply.text());
            if reply.status == 401 {
                let challenge = reply.header("www-authenticate").context("a challenge")?;
                ensure!(challenge.contains("error=\"invalid_token\""), "{why}: {challenge}");
                ensure!(challenge.contains("error_description="), "{why}: {challenge}");
                ensure!(!challenge.contains(token.as_str()), "{why}");
            }
        }
        // The same token, bent.
        let token = system.token_for(good)?;
        let parts: Vec<&str> = token.split('.').collect();
        let [head, body, signature] = parts.as_slice() else { anyhow::bail!("{token}") };
        let none = "eyJhbGciOiJub25lIn0";
        let mut flipped = signature.to_string();
        flipped.replace_range(..1, if flipped.starts_with('A') { "B" } else { "A" });
        for bent in [
            format!("{head}.{body}.{flipped}"),
            format!("{head}.{body}."),
            format!("{head}.{body}"),
            format!("{none}.{body}."),
            format!("{none}.{body}.{signature}"),
            format!("{head}.{body}.{signature}.{signature}"),
            format!("{head}.{body}.{signature}="),
            token.to_lowercase(),
        ] {
            ensure!(!is_taken(&door, &bent)?, "{bent}");
        }
        ensure!(is_taken(&door, &token)?);
        Ok(())
    });
}

#[test]
fn api_keys_are_issued_shown_once_and_revoked() {
    play(&SystemSpec::usual(), |system| {
        let door = Door::of(system)?;
        let issue = |request: &Value| -> anyhow::Result<Value> {
            let (status, issued) = system.api("POST", "/v1/keys", Some(request))?;
            ensure!(status == 201, "{status}: {issued}");
            system.wait_for_revision(issued["revision"].as_u64().context("a revision")?)?;
            Ok(issued)
        };
        let robot = json!({"tenant": "acme", "agent": "robot", "roles": ["support"]});
        let issued = issue(&robot)?;
        let key = issued["key"].as_str().context("a key")?;
        ensure!(key.starts_with("pck_"), "{key}");
        let mut agent = Agent::connect(&door, Era::Modern, "/mcp", key)?;
        let answer = agent.call("crm__get_orders", json!({"customer": "c"}))?;
        ensure!(code_of(&answer).is_none(), "{answer}");
        let secret = key.splitn(3, '_').nth(2).context("a secret")?;
        let (_, page) = system.api("GET", "/v1/keys", None)?;
        ensure!(!page.to_string().contains(secret), "a key is shown twice");
        let mut wrong = key.to_owned();
        let last = if wrong.ends_with('A') { "B" } else { "A" };
        wrong.replace_range(key.len() - 1.., last);
        ensure!(!is_taken(&door, &wrong)?, "a wrong secret");

        let id = issued["info"]["id"].as_str().context("an id")?;
        let (status, applied) = system.api("DELETE", &format!("/v1/keys/{id}"), None)?;
        ensure!(status == 200, "{applied}");
        system.wait_for_revision(applied["revision"].as_u64().context("a revision")?)?;
        ensure!(!is_taken(&door, key)?, "a revoked key");
        ensure!(agent.ask("tools/list", &json!({}))?.status == 401, "on an open connection");

        let mut short = robot;
        short["expires_in_s"] = json!(2);
        let issued = issue(&short)?;
        let key = issued["key"].as_str().context("a key")?;
        wait_until(LIMIT, "the key's end", || (!is_taken(&door, key).ok()?).then_some(()))
    });
}

#[test]
fn who_has_no_token_is_told_where_to_get_one() {
    play(&SystemSpec::usual(), |system| {
        let door = Door::of(system)?;
        let issuer = format!("http://{}", system.issuer);
        for point in ENTRY_POINTS.iter().filter(|point| point.purpose == Purpose::Mcp) {
            for server in ["crm", "no-such-server"] {
                let path = point.path(server);
                for request in [
                    modern(&path, "", &json!(1), "tools/list", &json!({})),
                    legacy(&path, "", None, &json!(1), "initialize", &json!({})),
                    Request::new("GET", &path).header("Accept", "text/event-stream"),
                    Request::new("DELETE", &path).header("Mcp-Session-Id", "x"),
                ] {
                    let reply = door.ask(&request)?;
                    ensure!(reply.status == 401, "{} {path}: {}", request.method, reply.status);
                    let challenge = reply.header("www-authenticate").context("a challenge")?;
                    ensure!(!challenge.contains("error="), "{challenge}");
                    let named = challenge.split('"').nth(1).context("resource_metadata")?;
                    ensure!(challenge.starts_with("Bearer resource_metadata="), "{challenge}");
                    let metadata = named.strip_prefix(&system.url("")).context("our own URL")?;
                    let document = door.ask(&Request::new("GET", metadata))?;
                    ensure!(document.status == 200, "{metadata}: {}", document.status);
                    let document: Value = serde_json::from_slice(&document.body)?;
                    ensure!(document["resource"] == system.url(&path), "{document}");
                    ensure!(document["authorization_servers"] == json!([issuer]), "{document}");
                }
            }
        }
        // The chain goes on: the provider's own metadata, and a token that is taken.
        let answer = get(&system.issuer, "/.well-known/openid-configuration")?;
        let provider: Value = serde_json::from_str(&answer.body)?;
        ensure!(provider["issuer"] == issuer, "{provider}");
        ensure!(is_taken(&door, &system.token_of("ann", &["support"])?)?);
        Ok(())
    });
}

#[test]
fn every_listener_checks_host_and_origin() {
    play(&SystemSpec::usual(), |system| {
        let door = Door::of(system)?;
        let token = system.token_of("ann", &["support"])?;
        let honest = modern("/mcp", &token, &json!(1), "tools/list", &json!({}));
        let with_host = |host: &str| -> anyhow::Result<u16> {
            let mut wire = door.open()?;
            wire.send_bytes(&honest.to_bytes(host))?;
            Ok(wire.reply()?.status)
        };
        ensure!(with_host(&door.host)? == 200);
        for host in ["evil.example", "localhost", "localhost.:1", "127.0.0.1.nip.io", "[::1]"] {
            let status = with_host(host)?;
            ensure!(status == 403 || status == 421 || status == 400, "{host}: {status}");
        }
        for origin in ["https://evil.example", "null", "http://localhost", "https://localhost"] {
            let status = door.ask(&honest.clone().header("Origin", origin))?.status;
            ensure!(status == 403, "{origin}: {status}");
        }
        for path in ["/metrics", "/healthz", "/readyz"] {
            ensure!(get(&system.admin, path)?.status == 200, "{path}");
            let rebound = rebound(&system.admin, path, "evil.example", "")?;
            ensure!(rebound == 403, "{path}: {rebound}");
            let page = rebound_with_origin(&system.admin, path)?;
            ensure!(page == 403, "{path} from a page: {page}");
        }
        let status = ask(&system.rest, "GET", "/v1/status", &system.token, None)?.status;
        ensure!(status == 200);
        for (host, origin) in [("evil.example", ""), (system.rest.as_str(), "https://evil.example")]
        {
            let status = rebound_as(&system.rest, "/v1/status", host, origin, &system.token)?;
            ensure!(status == 403 || status == 421, "REST, {host} {origin}: {status}");
        }
        Ok(())
    });
}

fn rebound(address: &str, path: &str, host: &str, origin: &str) -> anyhow::Result<u16> {
    rebound_as(address, path, host, origin, "")
}

fn rebound_with_origin(address: &str, path: &str) -> anyhow::Result<u16> {
    rebound(address, path, address, "https://evil.example")
}

/// A plain request under another name: what a page in somebody's browser can make.
fn rebound_as(
    address: &str,
    path: &str,
    host: &str,
    origin: &str,
    token: &str,
) -> anyhow::Result<u16> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut text = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for (name, value) in [("Origin", origin), ("Authorization", token)] {
        if !value.is_empty() {
            let value = if name == "Origin" { value.to_owned() } else { format!("Bearer {value}") };
            text.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    stream.write_all(format!("{text}\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).context("a status")
}
