//! Bundles that are signed and wrong: the gateway tries each before it decides by it, refuses it with
//! the reason, keeps the one it has, and takes the next good one. One by which the process dies is
//! left after the second death; here the test does the killing, because no bundle that we can make
//! kills.
//!
//! The real push channel, with a control plane of the test's own behind it: the real one does not
//! make such bundles.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use controlplane_compile::{
    Directory as People, Input, PolicyFile, Server as Judged, Tool as JudgedTool, compile,
};
use controlplane_rollout::{Authority, Config, Directory, Report, Rollout, Secret};
use dataplane_bundle::message::{Certified, Records};
use dataplane_bundle::{
    ApplianceId, CallerKind, Catalog, Draft, Era, Expect, GatewaySettings, KillList, Revision,
    SelfTest, Server, Signer, TestCaller, Timeouts, Tool,
};
use dataplane_telemetry::WallNanos;
use serde_json::json;
use tests_fixtures::stack::{Place, Process, binary, free_port, get, metric, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

fn wall() -> WallNanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    WallNanos(u64::try_from(since.as_nanos()).unwrap())
}

/// The state behind the channel.
#[derive(Default)]
struct Store {
    tokens: Mutex<BTreeMap<String, ApplianceId>>,
    bundle: Mutex<Option<Arc<Draft>>>,
    reports: Mutex<Vec<Report>>,
}

impl Directory for Store {
    async fn redeem(&self, secret: &str, _: SocketAddr) -> Result<ApplianceId, String> {
        self.tokens.lock().unwrap().remove(secret).ok_or_else(|| "unknown".to_owned())
    }

    async fn certified(&self, _: &ApplianceId, _: [u8; 32], _: &Certified) -> Result<(), String> {
        Ok(())
    }

    async fn admit(&self, _: &ApplianceId, _: [u8; 32]) -> Result<(), String> {
        Ok(())
    }

    async fn bundle(&self, _: &ApplianceId) -> Result<Option<Arc<Draft>>, String> {
        Ok(self.bundle.lock().unwrap().clone())
    }

    async fn secrets(&self, _: &ApplianceId) -> Result<Vec<Secret>, String> {
        Ok(Vec::new())
    }

    async fn records_next(&self, _: &ApplianceId) -> Result<u64, String> {
        Ok(0)
    }

    async fn keep_records(&self, _: &ApplianceId, batch: Records) -> Result<u64, String> {
        Ok(batch.first_index + batch.records.len() as u64)
    }

    fn report(&self, _: &ApplianceId, report: Report) {
        self.reports.lock().unwrap().push(report);
    }
}

impl Store {
    /// What came of the bundle of this revision: why it was refused, if it was.
    fn outcome(&self, wanted: u64) -> Option<Result<(), String>> {
        self.reports.lock().unwrap().iter().rev().find_map(|report| match report {
            Report::BundleActive { revision } if revision.0 == wanted => Some(Ok(())),
            Report::BundleRefused { revision, reason } if revision.0 == wanted => {
                Some(Err(reason.clone()))
            }
            _ => None,
        })
    }
}

/// One server with one tool, which role `support` may call.
fn table() -> Vec<u8> {
    let input_schema = json!({"type": "object", "properties": {"customer": {"type": "string"}}});
    let tool =
        JudgedTool { name: "get_orders".into(), input_schema, destructive: false, read_only: true };
    let rule = "permit(principal in Role::\"support\", action == Action::\"call\", resource == Tool::\"crm/get_orders\");";
    let input = Input {
        servers: vec![Judged { name: "crm".into(), tools: vec![tool] }],
        directory: People {
            tenants: BTreeSet::from(["acme".to_owned()]),
            roles: BTreeSet::from(["support".to_owned()]),
            ..People::default()
        },
        policies: vec![PolicyFile { path: "support.cedar".into(), text: rule.into() }],
        quotas: None,
        obligations: BTreeSet::new(),
    };
    compile(&input).unwrap().table
}

fn catalog(port: u16) -> Catalog {
    let tool = Tool {
        name: "get_orders".into(),
        digest: "0".repeat(64),
        definition: json!({"name": "get_orders", "inputSchema": {"type": "object"}}).to_string(),
        destructive: false,
        read_only: true,
    };
    let server = Server {
        name: "crm".into(),
        url: "http://127.0.0.1:9/mcp".into(),
        era: Era::Modern,
        protocol: "2026-07-28".into(),
        ca_pem: None,
        inject: None,
        timeouts: Timeouts::default(),
        tools: vec![tool],
    };
    let gateway = GatewaySettings {
        public_url: format!("https://localhost:{port}"),
        hosts: vec![format!("localhost:{port}")],
        origins: Vec::new(),
    };
    Catalog { gateway, servers: vec![server], ..Catalog::default() }
}

/// Someone of this role calls the tool.
fn case(role: &str, expect: Expect) -> SelfTest {
    SelfTest {
        caller: TestCaller {
            tenant: "acme".into(),
            user: Some("ann".into()),
            agent: None,
            kind: CallerKind::User,
            roles: vec![role.into()],
            groups: Vec::new(),
        },
        server: "crm".into(),
        tool: "get_orders".into(),
        arguments: Some("{}".into()),
        at: wall(),
        expect,
    }
}

/// A gateway, and a control plane of the test's own.
struct Scene {
    place: Place,
    runtime: tokio::runtime::Runtime,
    store: Arc<Store>,
    rollout: Rollout,
    gateway: Process,
    admin: String,
    catalog: Catalog,
    table: Vec<u8>,
}

impl Scene {
    /// The gateway is enrolled, and has no bundle yet.
    fn new(name: &str) -> Self {
        let place = Place::new(name).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.unwrap();
        let inside = runtime.enter();
        let store = Arc::new(Store::default());
        let config = Config { retry_ms: 200, ..Config::new((Ipv4Addr::LOCALHOST, 0).into()) };
        let kills = KillList { serial: 1, created_at: wall(), kills: Vec::new() };
        let signer = Signer::from_seed(&[7; 32]).unwrap();
        let authority = Authority::create(wall()).unwrap();
        let rollout = Rollout::start(config, authority, signer, &kills, Arc::clone(&store));
        let rollout = rollout.unwrap();
        drop(inside);
        let token = rollout.enrolment_token().unwrap();
        let appliance = ApplianceId::new("box").unwrap();
        store.tokens.lock().unwrap().insert(token.secret.clone(), appliance);
        let (listen, admin) = (free_port().unwrap(), format!("127.0.0.1:{}", free_port().unwrap()));
        let arguments = [
            "--data-dir".to_owned(),
            place.path("gateway").display().to_string(),
            "--listen".to_owned(),
            format!("127.0.0.1:{listen}"),
            "--admin-listen".to_owned(),
            admin.clone(),
            "--control".to_owned(),
            rollout.local_addr().unwrap().to_string(),
            "--enrol".to_owned(),
            token.to_string(),
        ];
        let program = binary("portcullis-gateway").unwrap();
        let log = place.path("gateway.log");
        let mut gateway = Process::start("gateway", &program, &arguments, &[], &log).unwrap();
        let is_up = || get(&admin, "/healthz").is_ok();
        gateway.until(LIMIT, "the management listener", is_up).unwrap();
        let (catalog, table) = (catalog(listen), table());
        Self { place, runtime, store, rollout, gateway, admin, catalog, table }
    }

    /// Pushes a bundle of this revision; why it was refused, if it was.
    fn push(
        &self,
        revision: u64,
        table: Vec<u8>,
        catalog: &Catalog,
        tests: &[SelfTest],
    ) -> Result<(), String> {
        let draft = Draft::new(Revision(revision), wall(), table, catalog, tests).unwrap();
        *self.store.bundle.lock().unwrap() = Some(Arc::new(draft));
        self.rollout.bundles_changed();
        let answered = || self.store.outcome(revision);
        wait_until(LIMIT, &format!("an answer to {revision}"), answered).unwrap()
    }

    fn push_good(&self, revision: u64) {
        let honest = [case("support", Expect::Allow), case("guest", Expect::Deny)];
        assert_eq!(self.push(revision, self.table.clone(), &self.catalog, &honest), Ok(()));
        self.until_in_force(revision);
    }

    fn in_force(&self) -> Option<u64> {
        metric(&self.admin, "portcullis_bundle_revision").ok()
    }

    fn until_in_force(&self, revision: u64) {
        let is = || self.in_force().filter(|found| *found == revision);
        wait_until(LIMIT, &format!("revision {revision}"), is).unwrap();
    }

    /// Until the revision has served for long enough to be believed.
    fn until_good(&self, revision: u64) {
        let floor = self.place.path("gateway/floor");
        let is_good = || {
            let bytes = std::fs::read(&floor).ok()?;
            (bytes.get(8..16)? == revision.to_le_bytes()).then_some(())
        };
        wait_until(LIMIT, &format!("revision {revision} to be good"), is_good).unwrap();
    }

    fn end(mut self) {
        self.gateway.terminate();
        self.runtime.block_on(self.rollout.stop());
        self.runtime.shutdown_timeout(Duration::from_secs(10));
    }
}

#[test]
fn a_signed_bundle_that_is_wrong_is_refused_with_its_reason() {
    let mut scene = Scene::new("portcullis-poison");
    assert_eq!(get(&scene.admin, "/readyz").unwrap().status, 503, "ready without a bundle");
    scene.push_good(1);
    let (table, catalog) = (scene.table.clone(), scene.catalog.clone());
    let honest = [case("support", Expect::Allow)];

    let lying = [case("guest", Expect::Allow)];
    let lying = scene.push(2, table.clone(), &catalog, &lying).unwrap_err();
    assert!(lying.contains("test"), "{lying}");
    let broken = scene.push(3, vec![7; table.len()], &catalog, &honest).unwrap_err();
    assert!(!broken.is_empty());
    let mut unfit = catalog.clone();
    unfit.servers[0].tools.clear();
    let unfit = scene.push(4, table, &unfit, &[]).unwrap_err();
    assert!(!unfit.is_empty() && unfit != broken, "{unfit}");
    assert_eq!(scene.in_force(), Some(1), "a refused bundle decides");
    assert_eq!(metric(&scene.admin, "portcullis_bundles_refused_total").unwrap(), 3);
    assert_eq!(get(&scene.admin, "/readyz").unwrap().status, 200);
    let log = scene.gateway.log_text();
    assert!(log.contains(&lying), "the log does not say why: {log}");

    // On disk, too, the good one stayed; and nothing older than it is ever taken.
    scene.gateway.restart().unwrap();
    scene.until_in_force(1);
    scene.push_good(5);
    scene.end();
}

#[test]
fn a_bundle_by_which_the_gateway_dies_twice_is_left_until_a_newer_one_comes() {
    let mut scene = Scene::new("portcullis-poison-death");
    scene.push_good(1);
    scene.until_good(1);
    // Killed as often as you like: what has proved good stays.
    for _ in 0..3 {
        scene.gateway.restart().unwrap();
        scene.until_in_force(1);
    }
    scene.push_good(2);
    // Once may be an operator's `kill -9`, and an end in order is no death at all.
    scene.gateway.restart().unwrap();
    scene.until_in_force(2);
    for _ in 0..2 {
        scene.gateway.terminate();
        scene.gateway.restart().unwrap();
        scene.until_in_force(2);
    }
    // Twice is believed to be the bundle.
    scene.store.reports.lock().unwrap().clear();
    let died = Instant::now();
    scene.gateway.restart().unwrap();
    scene.until_in_force(1);
    let back_ms = died.elapsed().as_millis();
    println!("dead, started again and back on the last good bundle after {back_ms} ms");
    assert!(back_ms < 2_000, "{back_ms} ms");
    assert_eq!(get(&scene.admin, "/readyz").unwrap().status, 200);
    assert_eq!(metric(&scene.admin, "portcullis_bundle_backed_out_revision").unwrap(), 2);
    let log = scene.gateway.log_text();
    assert!(log.contains("backed out of revision 2: crashed"), "{log}");
    // The control plane sends it again, and hears why it is not taken; also after the next start.
    for _ in 0..2 {
        let refused = wait_until(LIMIT, "a refusal", || scene.store.outcome(2)).unwrap();
        let refused = refused.unwrap_err();
        assert!(refused.contains("backed out of revision 2: crashed"), "{refused}");
        let told = || {
            let reports = scene.store.reports.lock().unwrap();
            let troubled = |report: &Report| matches!(report, Report::Status(status) if status.trouble.contains("backed out"));
            reports.iter().any(troubled).then_some(())
        };
        wait_until(LIMIT, "the status to say so", told).unwrap();
        assert_eq!(scene.in_force(), Some(1));
        scene.store.reports.lock().unwrap().clear();
        scene.gateway.restart().unwrap();
        scene.until_in_force(1);
    }
    scene.push_good(3);
    assert_eq!(metric(&scene.admin, "portcullis_bundle_backed_out_revision").unwrap(), 0);
    scene.gateway.restart().unwrap();
    scene.until_in_force(3);
    scene.end();
}
