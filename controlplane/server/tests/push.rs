//! A real appliance at the other end: enrolment, bundles, kills, leases, records.

mod support;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dataplane_audit::{Body, Call, CallerNames, Decision, Phase, Record, Stamp, Verdict};
use dataplane_bundle::message::Status;
use dataplane_bundle::{Bundle, KillList, Lease};
use dataplane_sync::{Dirs, Handle, RecordSource, Sink, Standing};
use dataplane_telemetry::WallNanos;
use reqwest::Method;
use serde_json::{Value, json};
use support::Plane;
use support::upstream::Upstream;

const PATIENCE: Duration = Duration::from_secs(30);

/// What a box is sent, each kind in its own order: the kinds do not wait for each other.
struct Inbox {
    bundles: Mutex<Sender<Bundle>>,
    kills: Mutex<Sender<KillList>>,
    leases: Mutex<Sender<Vec<Lease>>>,
}

impl Sink for Inbox {
    fn on_bundle(&self, bundle: Bundle) -> Result<(), String> {
        self.bundles.lock().unwrap().send(bundle).map_err(|error| error.to_string())
    }

    fn on_kills(&self, kills: &KillList) {
        let _ = self.kills.lock().unwrap().send(kills.clone());
    }

    fn on_leases(&self, leases: Vec<Lease>) {
        let _ = self.leases.lock().unwrap().send(leases);
    }

    fn status(&self) -> Status {
        Status { calls: 42, ..Status::default() }
    }
}

struct Records(Vec<Vec<u8>>);

impl RecordSource for Records {
    fn durable(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&mut self, first: u64, _: usize, out: &mut Vec<Vec<u8>>) -> Result<u64, String> {
        out.extend(self.0.iter().skip(first as usize).cloned());
        Ok(first)
    }
}

fn record(phase: Phase, verdict: Verdict, user: &str) -> Vec<u8> {
    let call = Call {
        phase,
        caller: CallerNames { tenant: "acme", user, agent: "", client: "" },
        server: "crm",
        tool: "refund",
        method: "tools/call",
        decision: Decision { verdict, rule: "support.cedar:1", revision: 1, ..Decision::default() },
        ..Call::default()
    };
    let stamp = Stamp { wall: WallNanos::from_secs(1_780_272_001), ..Stamp::default() };
    let mut bytes = Vec::new();
    Record::new(stamp, Body::Call(call)).encode(&mut bytes);
    bytes
}

struct Appliance {
    bundles: Receiver<Bundle>,
    kills: Receiver<KillList>,
    leases: Receiver<Vec<Lease>>,
    handle: Handle,
    _dir: tempfile::TempDir,
}

impl Appliance {
    async fn enrolled(plane: &Plane, name: &str, records: Vec<Vec<u8>>) -> Self {
        let body = json!({ "name": name });
        let enrolment = plane.admin.ok(Method::POST, "/v1/appliances/enrolments", Some(body)).await;
        let token: String = enrolment["token"].as_str().unwrap().to_owned();
        let control = plane.running.quic.to_string();
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs::new(dir.path().join("gateway"));
        let ((to_bundles, bundles), (to_kills, kills)) = (channel(), channel());
        let (to_leases, leases) = channel();
        let start = move || {
            let token = token.parse().unwrap();
            dataplane_sync::enrol(&dirs, &control, &token).unwrap();
            // A token works once.
            let again = Dirs::new(dirs.data.join("again"));
            assert!(dataplane_sync::enrol(&again, &control, &token).is_err());
            let mut config = dataplane_sync::Config::new(dirs, Standing::default(), 7);
            config.status_ms = 50;
            let sink = Arc::new(Inbox {
                bundles: Mutex::new(to_bundles),
                kills: Mutex::new(to_kills),
                leases: Mutex::new(to_leases),
            });
            dataplane_sync::start(config, sink, Some(Box::new(Records(records)))).unwrap()
        };
        let handle = tokio::task::spawn_blocking(start).await.unwrap();
        Self { bundles, kills, leases, handle, _dir: dir }
    }

    fn bundle(&self, revision: u64) -> Bundle {
        next(&self.bundles, |bundle| bundle.revision.0 == revision)
    }

    fn kills(&self, serial: u64) -> KillList {
        next(&self.kills, |kills| kills.serial == serial)
    }

    async fn stop(self) {
        tokio::task::spawn_blocking(move || self.handle.stop()).await.unwrap();
    }
}

/// The next one that was sent and fits.
fn next<T>(sent: &Receiver<T>, fits: impl Fn(&T) -> bool) -> T {
    loop {
        let one = sent.recv_timeout(PATIENCE).unwrap();
        if fits(&one) {
            return one;
        }
    }
}

/// Asks until the answer fits; each question waits for the channel's own progress.
async fn until(plane: &Plane, path: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let answer = plane.admin.get(path).await;
        if fits(&answer) {
            return answer;
        }
        assert!(std::time::Instant::now() < deadline, "{path}: {answer:#}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_appliance_gets_what_it_should_have_and_tells_what_it_did() {
    let (plane, upstream) = (Plane::start().await, Upstream::start().await);
    let main = format!(
        "[servers.crm]\nurl = \"{}\"\ninject = {{ header = \"Authorization\", secret = \"crm-key\" }}\n\
         [servers.crm.tools.get_orders]\nread_only = true\n[roles.support]\n",
        upstream.url()
    );
    let policy = "permit(principal in Role::\"support\", action == Action::\"call\", resource in Server::\"crm\");";
    let test = "[[case]]\ncaller = { tenant = \"acme\", user = \"ann\", roles = [\"support\"] }\n\
                call = { tool = \"crm/get_orders\" }\nexpect = \"allow\"\n";
    plane.admin.ok(Method::PUT, "/v1/secrets/crm-key", Some(json!({ "value": "hunter2" }))).await;
    plane
        .admin
        .apply(&[("portcullis.toml", &main), ("a.cedar", policy), ("tests/a.toml", test)])
        .await;
    let records = vec![
        record(Phase::Intent, Verdict::Allowed, "ann"),
        record(Phase::Outcome, Verdict::Allowed, "ann"),
        record(Phase::Refused, Verdict::Denied, "bob"),
    ];
    let appliance = Appliance::enrolled(&plane, "edge-1", records).await;

    let bundle = appliance.bundle(1);
    let server = &bundle.catalog.servers[0];
    assert_eq!((server.name.as_str(), server.protocol.as_str()), ("crm", "2026-07-28"));
    let inject = server.inject.as_ref().unwrap();
    assert_eq!((inject.prefix.as_str(), inject.secret.as_str()), ("Bearer ", "crm-key"));
    let flags: Vec<_> = server
        .tools
        .iter()
        .map(|tool| (tool.name.as_str(), tool.destructive, tool.read_only))
        .collect();
    assert_eq!(flags, [("get_orders", false, true), ("refund", true, false)]);
    assert_eq!(bundle.self_tests.len(), 1);
    dataplane_policy::Table::load(&bundle.table).unwrap();
    let leases = next(&appliance.leases, |leases| !leases.is_empty());
    assert_eq!(
        (leases[0].secret.as_str(), leases[0].value.as_slice()),
        ("crm-key", b"hunter2".as_slice())
    );

    let kill = json!({ "target": { "tool": "crm/refund" }, "reason": "loop", "expires_in_s": 60 });
    let killed = plane.admin.ok(Method::POST, "/v1/kills", Some(kill)).await;
    let list = appliance.kills(killed["serial"].as_u64().unwrap());
    assert_eq!(
        (list.kills[0].reason.as_str(), list.kills[0].author.as_str()),
        ("loop", "bootstrap")
    );
    plane.pass_ms(60_000);
    assert!(appliance.kills(2).kills.is_empty(), "an expired kill leaves the list by itself");

    let calls = plane.admin.get("/v1/calls?after=0&wait_ms=20000&limit=3").await;
    let mut users: Vec<String> = Vec::new();
    let mut after = calls["after"].as_u64().unwrap();
    let note = |page: &Value, users: &mut Vec<String>| {
        for call in page["items"].as_array().unwrap() {
            users.push(format!(
                "{} {} {}",
                call["user"].as_str().unwrap(),
                call["phase"].as_str().unwrap(),
                call["decision"].as_str().unwrap()
            ));
        }
    };
    note(&calls, &mut users);
    while users.len() < 3 {
        let more = plane.admin.get(&format!("/v1/calls?after={after}&wait_ms=20000")).await;
        after = more["after"].as_u64().unwrap();
        note(&more, &mut users);
    }
    assert_eq!(users, ["ann intent allow", "ann outcome allow", "bob refused deny"]);
    let denied = plane.admin.get("/v1/calls?decision=deny").await;
    assert_eq!(
        (&denied["items"][0]["rule"], denied["items"].as_array().unwrap().len()),
        (&json!("support.cedar:1"), 1)
    );
    plane.admin.refused(400, Method::GET, "/v1/calls?decision=maybe", None).await;

    let state = until(&plane, "/v1/appliances/edge-1", |state| {
        state["state"] == "current" && state["counters"]["calls"] == 42
    })
    .await;
    assert_eq!((&state["revision"], &state["kill_serial"]), (&json!(1), &json!(2)));
    let applied =
        plane.admin.ok(Method::PUT, "/v1/tenants/acme", Some(json!({ "disabled": false }))).await;
    assert_eq!(applied["pushed_to"], json!(["edge-1"]));
    appliance.bundle(2);

    plane.admin.ok(Method::DELETE, "/v1/appliances/edge-1", None).await;
    let state = plane.admin.get("/v1/appliances/edge-1").await;
    assert_eq!(state["state"], "revoked");
    appliance.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_restarted_control_plane_is_the_same_to_its_appliances() {
    let plane = Plane::start().await;
    plane.admin.apply(&[("portcullis.toml", "[tenants.acme]\n")]).await;
    let enrolment = plane
        .admin
        .ok(Method::POST, "/v1/appliances/enrolments", Some(json!({ "name": "edge-1" })))
        .await;
    let authority = |enrolment: &Value| {
        enrolment["token"].as_str().unwrap().rsplit('_').next().unwrap().to_owned()
    };
    let before = authority(&enrolment);
    let plane = plane.restart().await;
    let enrolment = plane
        .admin
        .ok(Method::POST, "/v1/appliances/enrolments", Some(json!({ "name": "edge-1" })))
        .await;
    assert_eq!(authority(&enrolment), before);
    let first = Appliance::enrolled(&plane, "edge-2", Vec::new()).await;
    assert_eq!(first.bundle(1).appliance.as_str(), "edge-2");
    let second = Appliance::enrolled(&plane, "edge-2", Vec::new()).await;
    assert_eq!(second.bundle(1).appliance.as_str(), "edge-2-2", "another box, another log");
    let list = plane.admin.get("/v1/appliances").await;
    let states: Vec<&Value> =
        list["items"].as_array().unwrap().iter().map(|appliance| &appliance["state"]).collect();
    assert_eq!(states[0], "revoked");
    first.stop().await;
    second.stop().await;
}
