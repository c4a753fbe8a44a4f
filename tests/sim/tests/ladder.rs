//! What the pipeline tells the ladder's machine, and what it does with its word: the real machine, on
//! the test's clock, beside one core.

use std::net::SocketAddr;
use std::sync::Arc;

use dataplane_bundle::{Per, Quota, Rate};
use dataplane_drops::{DropRule, Drops, Flow, Keys, LadderRule, Settings, Standings, Target};
use dataplane_pipeline::{Connection, Heard, Step};
use serde_json::json;
use tests_sim::http::{call, initialize, legacy, modern, result};
use tests_sim::{Client, FLOW, World, WorldSpec};

const KEYS: Keys = Keys::new([7; 16]);

/// Ann's second call a minute is refused; ten ignored refusals slow her, ten more drop her for 5 s.
fn world() -> (World, Drops) {
    let drop = DropRule { ignored_refusals: 10, ..DropRule::default() };
    let ladder =
        LadderRule { ignored_refusals: 10, grace_ms: 0, drop: Some(drop), ..LadderRule::default() };
    let quota = Quota {
        name: "agents".into(),
        per: Per::Caller,
        calls: Rate { units: 1, period_ms: 60_000 },
        burst: 1,
        server: None,
        tool: None,
        ladder: Some(ladder),
    };
    let world = World::new(&WorldSpec { quotas: vec![quota], ..WorldSpec::default() });
    (world, Drops::new(Settings::default(), KEYS).unwrap())
}

/// One turn of the ladder's thread.
fn turn(world: &mut World, drops: &mut Drops) -> usize {
    let mut heard = 0;
    while let Some(one) = world.core.heard() {
        heard += 1;
        match one {
            Heard::Refused(refusal) => drop(drops.on_refused(&refusal, world.now)),
            Heard::Authenticated { flow, flow_owner, caller } => {
                drops.on_authenticated(&flow, &flow_owner, &caller, world.now);
            }
            Heard::Unauthenticated { peer } => drops.on_unauthenticated(peer, world.now),
            Heard::Closed { flow } => drops.on_flow_closed(&flow, world.now),
            Heard::Killed { .. } => panic!("nobody is killed here"),
        }
    }
    drops.on_timer(world.now);
    let mut standings = Standings::new(KEYS);
    drops.write_standings(&mut standings, world.now.mono);
    world.core.on_standings(Arc::new(standings));
    heard
}

struct Caller {
    client: Client,
    key: String,
}

impl Caller {
    fn new(world: &World, name: &str) -> Self {
        Self { client: Client::new(world), key: world.key(name).to_owned() }
    }

    fn ask(&mut self, world: &mut World, request: &[u8]) -> tests_sim::Reply {
        self.client.send(world, request, &mut |request: &[u8]| Some(result(request, "done")));
        self.client.reply()
    }

    fn call(&mut self, world: &mut World) -> tests_sim::Reply {
        let request = call("/mcp", &self.key, json!(7), "crm__get_orders", json!({}));
        self.ask(world, &request)
    }

    /// A new connection, if the last answer ended the old one.
    fn again(&mut self, world: &World, reply: &tests_sim::Reply) {
        if reply.header("Connection") == Some("close") {
            self.client = Client::new(world);
        }
    }
}

#[test]
fn who_ignores_refusals_is_told_then_slowed_then_refused_whatever_it_asks() {
    let (mut world, mut drops) = world();
    let mut ann = Caller::new(&world, "ann");
    assert_eq!(ann.call(&mut world).status, 200);
    let mut rungs = Vec::new();
    for _ in 0..30 {
        world.pass_ms(10);
        let refused = ann.call(&mut world);
        assert_eq!(refused.status, 429, "{refused:?}");
        let data = refused.json()["error"]["data"].clone();
        assert_eq!(data["quota"], "agents");
        let is_closed = refused.header("Connection") == Some("close");
        let everything = refused.json()["error"]["message"].to_string().contains("everything");
        rungs.push((is_closed, everything));
        ann.again(&world, &refused);
        turn(&mut world, &mut drops);
    }
    // The first refusal tells a time, ten ignore it; ten more on connections that are closed.
    assert_eq!(rungs[..11], [(false, false); 11]);
    assert_eq!(rungs[11..21], [(true, false); 10]);
    assert_eq!(rungs[21..], [(false, true); 9]);
    // Every method and endpoint is refused now, with the time; the record says by which quota.
    for request in [
        modern("/mcp", &ann.key, json!(1), "tools/list", json!({})),
        modern("/servers/crm/mcp", &ann.key, json!(1), "server/discover", json!({})),
        legacy("/mcp", &ann.key, None, &initialize()),
    ] {
        let refused = ann.ask(&mut world, &request);
        assert_eq!(refused.status, 429, "{refused:?}");
        assert!(refused.json()["error"]["data"]["retryAfterMs"].as_u64().unwrap() <= 5_000);
        ann.again(&world, &refused);
    }
    assert_eq!(world.records().last().unwrap().decision.quota, "agents");
    // Her neighbour behind the same address notices nothing.
    let mut bot = Caller::new(&world, "bot");
    let reply = bot.call(&mut world);
    assert_ne!(reply.header("Connection"), Some("close"));
    assert_ne!(reply.status, 429);
    // It ends by itself.
    world.pass_ms(5_000);
    turn(&mut world, &mut drops);
    let listed =
        ann.ask(&mut world, &modern("/mcp", &ann.key.clone(), json!(1), "tools/list", json!({})));
    assert_eq!(listed.status, 200);
}

#[test]
fn the_connection_that_ignored_is_what_the_card_is_told_to_drop() {
    let (mut world, mut drops) = world();
    let mut ann = Caller::new(&world, "ann");
    ann.call(&mut world);
    for _ in 0..30 {
        world.pass_ms(10);
        let refused = ann.call(&mut world);
        ann.again(&world, &refused);
        turn(&mut world, &mut drops);
    }
    let changes: Vec<_> = std::iter::from_fn(|| drops.poll_change()).collect();
    let added = changes.iter().filter_map(|change| match change {
        dataplane_drops::Change::Add { target, .. } => Some(*target),
        _ => None,
    });
    assert_eq!(added.collect::<Vec<_>>(), [Target::Flow(FLOW)]);
}

#[test]
fn a_caller_who_waits_is_told_for_ever() {
    let (mut world, mut drops) = world();
    let mut ann = Caller::new(&world, "ann");
    for _ in 0..100 {
        assert_eq!(ann.call(&mut world).status, 200);
        let refused = ann.call(&mut world);
        assert_eq!(refused.status, 429);
        assert_ne!(refused.header("Connection"), Some("close"));
        let wait = refused.json()["error"]["data"]["retryAfterMs"].as_u64().unwrap();
        world.pass_ms(wait);
        turn(&mut world, &mut drops);
    }
    assert_eq!(drops.counters().ignored, 0);
}

#[test]
fn a_connection_says_whose_it_is_once_and_its_end() {
    let (mut world, _) = world();
    let peer: SocketAddr = "192.0.2.7:5000".parse().unwrap();
    let flow = Flow::new(peer, FLOW.local);
    let mut machine = Connection::new(flow, world.now.mono);
    let key = world.key("ann").to_owned();
    let list = modern("/mcp", &key, json!(1), "tools/list", json!({}));
    for _ in 0..3 {
        machine.inbox().extend_from_slice(&list);
        machine.on_client_bytes(&mut world.core, world.now);
        assert_eq!(machine.step(&world.core), Step::WriteClient);
        machine.on_written(&mut world.core, world.now);
    }
    let told = |world: &mut World| std::iter::from_fn(|| world.core.heard()).collect::<Vec<_>>();
    let first = told(&mut world);
    let is_hers =
        |heard: &Heard| matches!(heard, Heard::Authenticated { flow: f, .. } if *f == flow);
    assert!(first.len() == 1 && is_hers(&first[0]), "{first:?}");
    // Another caller on the same connection is news, and so is ten minutes of silence about it.
    let bots = modern("/mcp", world.key("bot"), json!(1), "tools/list", json!({}));
    for (request, after_ms, news) in [(&bots, 0, 1), (&bots, 599_999, 0), (&bots, 1, 1)] {
        world.pass_ms(after_ms);
        machine.inbox().extend_from_slice(request);
        machine.on_client_bytes(&mut world.core, world.now);
        machine.on_written(&mut world.core, world.now);
        assert_eq!(told(&mut world).len(), news);
    }
    machine.on_closed(&mut world.core);
    assert!(matches!(told(&mut world)[..], [Heard::Closed { .. }]));
    // Without a good credential it is somebody's whom nobody knows: told once, not once a request.
    let mut stranger = Connection::new(flow, world.now.mono);
    let wrong = modern("/mcp", "nobody", json!(1), "tools/list", json!({}));
    for _ in 0..3 {
        stranger.inbox().extend_from_slice(&wrong);
        stranger.on_client_bytes(&mut world.core, world.now);
        stranger.on_written(&mut world.core, world.now);
    }
    stranger.on_closed(&mut world.core);
    assert!(matches!(told(&mut world)[..], [Heard::Unauthenticated { peer: p }] if p == peer.ip()));
    let mut cut = Connection::new(flow, world.now.mono);
    cut.inbox().extend_from_slice(b"POST");
    cut.on_client_bytes(&mut world.core, world.now);
    cut.on_closed(&mut world.core);
    assert!(matches!(told(&mut world)[..], [Heard::Unauthenticated { .. }]));
    // Who asks nothing is nobody: a handshake that was given up.
    Connection::new(flow, world.now.mono).on_closed(&mut world.core);
    assert!(told(&mut world).is_empty());
}

#[test]
fn what_finds_no_room_to_be_heard_is_counted() {
    let (mut world, _) = world();
    let most = dataplane_pipeline::limits::HEARD_MAX;
    for _ in 0..=most {
        let mut cut = Connection::new(FLOW, world.now.mono);
        cut.inbox().extend_from_slice(b"POST");
        cut.on_client_bytes(&mut world.core, world.now);
        cut.on_closed(&mut world.core);
    }
    assert_eq!(std::iter::from_fn(|| world.core.heard()).count(), most);
    assert_eq!(world.core.counters().heard_lost, 1);
}

#[test]
fn where_the_card_drops_new_connections_those_that_are_open_are_closed() {
    let (mut world, mut drops) = world();
    let mut ann = Caller::new(&world, "ann");
    ann.call(&mut world);
    for _ in 0..11 {
        turn(&mut world, &mut drops);
        world.pass_ms(60_000);
    }
    for _ in 0..30 {
        world.pass_ms(10);
        let refused = ann.call(&mut world);
        ann.again(&world, &refused);
        turn(&mut world, &mut drops);
    }
    // Refused whatever it asks, on a connection that stays: the card has it.
    let refused = ann.call(&mut world);
    assert_eq!((refused.status, refused.header("Connection")), (429, None));
    // Three more connections, and the address itself is dropped.
    let request = call("/mcp", &ann.key, json!(7), "crm__get_orders", json!({}));
    for port in 1..=3 {
        let flow = Flow::new(SocketAddr::new(FLOW.peer.ip(), port), FLOW.local);
        let mut machine = Connection::new(flow, world.now.mono);
        machine.inbox().extend_from_slice(&request);
        machine.on_client_bytes(&mut world.core, world.now);
        turn(&mut world, &mut drops);
    }
    let refused = ann.call(&mut world);
    assert_eq!((refused.status, refused.header("Connection")), (429, Some("close")));
}

#[test]
fn an_address_that_is_slowed_waits_before_its_handshake() {
    let (mut world, mut drops) = world();
    let mut ann = Caller::new(&world, "ann");
    ann.call(&mut world);
    turn(&mut world, &mut drops);
    // Alone there for long enough that nobody else can be behind it.
    let peer = FLOW.peer.ip();
    for minute in 0..12 {
        assert_eq!(world.core.handshake_delay_ms(peer, world.now.mono), 0, "{minute}");
        world.pass_ms(60_000);
        turn(&mut world, &mut drops);
    }
    for _ in 0..14 {
        world.pass_ms(10);
        let refused = ann.call(&mut world);
        ann.again(&world, &refused);
        turn(&mut world, &mut drops);
    }
    assert_eq!(world.core.handshake_delay_ms(peer, world.now.mono), 100);
}
