//! Whose an address, a connection and a configured place are: nobody is dropped for a neighbour.

mod world;

use dataplane_drops::{Attribution, Per, Place, Rung, Seen, Target, What, Why};
use world::{ANN, BOB, World, ZOE, flow, prefix, rule};

const HOME: &str = "192.0.2.1";

/// Ann's agent comes back by connection after connection while it is dropped.
fn comes_back(world: &mut World, per: Per, peer: &str) -> Vec<String> {
    let subject = world.subject(ANN, per, rule());
    world.climb(&subject, ANN, flow(peer, 1), Rung::Drop);
    let first = 2 + world.drops.fill().flows as u16;
    for port in first..first + 4 {
        world.refused(&subject, ANN, flow(peer, port), 1_000);
    }
    world.dropped().into_iter().filter(|target| target.starts_with("new")).collect()
}

#[test]
fn an_address_of_one_owner_is_dropped_after_a_few_connections() {
    let mut world = World::new();
    world.seen(ANN, flow(HOME, 1));
    world.wait(10_000);
    assert_eq!(comes_back(&mut world, Per::Agent, HOME), ["new connections from 192.0.2.1"]);
    assert_eq!(world.drops.explain(HOME.parse().unwrap(), world.now).seen, Seen::OneTenant);
}

#[test]
fn an_address_that_is_not_known_for_long_enough_is_spared() {
    let mut world = World::new();
    world.seen(ANN, flow(HOME, 1));
    world.wait(9_000);
    assert!(comes_back(&mut world, Per::Agent, HOME).is_empty());
    assert!(world.drops.counters().sources_spared > 0);
    assert!(world.drops.fill().entries >= 4, "its connections are dropped");
}

#[test]
fn an_operator_says_how_long_what_was_seen_counts() {
    let mut world = World::new();
    let shorter = Attribution {
        certain_after_ms: 2_000,
        unauthenticated_ms: 3_000,
        ..Attribution::default()
    };
    world.drops.on_attribution(shorter).unwrap();
    world.seen(ANN, flow(HOME, 1));
    world.drops.on_unauthenticated(HOME.parse().unwrap(), world.now);
    let seen = |world: &World| world.drops.explain(HOME.parse().unwrap(), world.now).seen;
    world.wait(2_999);
    assert_eq!(seen(&world), Seen::Unauthenticated);
    world.wait(1);
    assert_eq!(seen(&world), Seen::OneTenant);
    // A longer time holds for what was seen before it, too; what is out of bounds for nothing.
    let longer = Attribution { certain_after_ms: 3_001, ..shorter };
    world.drops.on_attribution(longer).unwrap();
    assert_eq!(seen(&world), Seen::Unsure);
    let wrong = Attribution { certain_after_ms: 999, ..shorter };
    assert!(world.drops.on_attribution(wrong).is_err());
    world.wait(1);
    assert_eq!(seen(&world), Seen::OneTenant);
}

#[test]
fn behind_a_nat_only_the_offenders_connections_are_dropped() {
    for (neighbour, per) in [(ZOE, Per::Tenant), (BOB, Per::User), (BOB, Per::Caller)] {
        let mut world = World::new();
        world.seen(ANN, flow(HOME, 1));
        world.seen(neighbour, flow(HOME, 9));
        world.wait(23 * 3_600_000);
        world.seen(ANN, flow(HOME, 1));
        assert!(comes_back(&mut world, per, HOME).is_empty(), "{neighbour:?}");
        assert!(world.dropped().iter().all(|target| !target.contains(":9 ")), "{neighbour:?}");
    }
}

#[test]
fn two_callers_of_one_agent_are_one_to_a_quota_per_agent() {
    let mut world = World::new();
    world.seen(ANN, flow(HOME, 1));
    world.seen(BOB, flow(HOME, 9));
    world.wait(10_000);
    assert_eq!(comes_back(&mut world, Per::Agent, HOME), ["new connections from 192.0.2.1"]);
}

#[test]
fn a_neighbour_is_remembered_for_its_time_and_forgotten_after_it() {
    let mut world = World::new();
    world.seen(ZOE, flow(HOME, 9));
    world.seen(ANN, flow(HOME, 1));
    for _ in 0..23 {
        world.wait(3_600_000);
        world.seen(ANN, flow(HOME, 1));
    }
    world.wait(3_599_000);
    let seen = |world: &World| world.drops.explain(HOME.parse().unwrap(), world.now).seen;
    assert_eq!(seen(&world), Seen::SeveralTenants);
    world.wait(1_000);
    assert_eq!(seen(&world), Seen::OneTenant);
}

#[test]
fn a_64_is_one_source() {
    let mut world = World::new();
    world.seen(ANN, flow("2001:db8::1", 1));
    world.seen(ZOE, flow("2001:db8::2:2:2:2", 9));
    world.wait(10_000);
    assert!(comes_back(&mut world, Per::Tenant, "2001:db8::1").is_empty());
    let mut world = World::new();
    world.seen(ANN, flow("2001:db8::1", 1));
    world.seen(ZOE, flow("2001:db8:0:1::1", 9));
    world.wait(10_000);
    let dropped = comes_back(&mut world, Per::Tenant, "2001:db8::1");
    assert_eq!(dropped, ["new connections from 2001:db8::/64"]);
}

#[test]
fn who_shows_no_credential_may_be_a_neighbour_for_a_while() {
    let mut world = World::new();
    world.drops.on_unauthenticated(HOME.parse().unwrap(), world.now);
    world.seen(ANN, flow(HOME, 1));
    world.wait(599_000);
    assert!(comes_back(&mut world, Per::Agent, HOME).is_empty());
    world.wait(60_000);
    assert_eq!(comes_back(&mut world, Per::Agent, HOME), ["new connections from 192.0.2.1"]);
    // One on a connection that was open before.
    world.drops.on_unauthenticated(HOME.parse().unwrap(), world.now);
    assert!(world.dropped().iter().all(|target| !target.starts_with("new")));
}

#[test]
fn a_neighbour_that_turns_up_ends_the_entry_at_once() {
    let mut world = World::new();
    world.seen(ANN, flow(HOME, 1));
    world.wait(10_000);
    comes_back(&mut world, Per::Agent, HOME);
    world.seen(ZOE, flow(HOME, 9));
    assert!(world.dropped().iter().all(|target| !target.starts_with("new")));
    let last = world.events.last().unwrap();
    assert_eq!((last.what, &last.why), (What::Released, &Why::Shared));
}

#[test]
fn a_connection_that_several_use_is_nobodys() {
    let mut world = World::new();
    let agents = world.subject(ANN, Per::User, rule());
    let (ann, both) = (world.owner(ANN), world.owner(ANN).and(world.owner(BOB)));
    world.seen(ANN, flow(HOME, 2));
    world.climb(&agents, ANN, flow(HOME, 1), Rung::Drop);
    assert_eq!(world.dropped().len(), 2);
    // A proxy puts Bob's call on the same connection.
    world.drops.on_authenticated(&flow(HOME, 2), &both, &world.owner(BOB), world.now);
    assert_eq!(world.dropped(), ["the connection 192.0.2.1:1 to 198.51.100.1:443"]);
    // And Ann's again: it stays shared.
    world.drops.on_authenticated(&flow(HOME, 2), &both, &ann, world.now);
    assert_eq!(world.dropped().len(), 1);
}

#[test]
fn a_connection_that_ends_takes_its_entry_with_it() {
    let mut world = World::new();
    let agents = world.subject(ANN, Per::Agent, rule());
    world.climb(&agents, ANN, flow(HOME, 1), Rung::Drop);
    world.drops.on_flow_closed(&flow(HOME, 1), world.now);
    assert!(world.dropped().is_empty());
}

#[test]
fn configured_places_are_dropped_with_their_tenant_only() {
    let mut world = World::new();
    let service = |text: &str| Target::Service(text.parse().unwrap());
    let place = |target, tenant: &str| Place { target, tenant: tenant.to_owned() };
    let places = [
        place(prefix("10.1.0.0", 16), "acme"),
        place(Target::Vlan { outer: 7, inner: 0 }, "acme"),
        place(service("198.51.100.9:443"), "acme"),
        place(prefix("10.2.0.0", 16), "zeta"),
    ];
    world.drops.on_places(&places, world.now).unwrap();
    let agent = world.subject(ANN, Per::Agent, rule());
    world.climb(&agent, ANN, flow(HOME, 1), Rung::Drop);
    assert_eq!(world.dropped().len(), 1, "an agent is not its tenant");
    let tenant = world.subject(ANN, Per::Tenant, rule());
    world.climb(&tenant, ANN, flow(HOME, 1), Rung::Drop);
    let all = world.dropped();
    let everything: Vec<_> = all.iter().filter(|one| one.starts_with("everything")).collect();
    assert_eq!(
        everything,
        ["everything from 10.1.0.0/16", "everything of VLAN 7", "everything to 198.51.100.9:443"]
    );
    // Zeta is seen to come from what is said to be acme's.
    world.seen(ZOE, flow("10.1.2.3", 1));
    assert!(!world.dropped().contains(&"everything from 10.1.0.0/16".to_owned()));
    // The next configuration gives the VLAN away.
    world.drops.on_places(&places[2..], world.now).unwrap();
    assert!(!world.dropped().contains(&"everything of VLAN 7".to_owned()));
    assert!(world.dropped().contains(&"everything to 198.51.100.9:443".to_owned()));
}

#[test]
fn past_the_table_of_addresses_an_address_is_shared() {
    use dataplane_drops::{Drops, Settings};
    let mut world = World::new();
    let attribution = Attribution { certain_after_ms: 1_000, ..Attribution::default() };
    let settings = Settings { sources_max: 4, attribution, ..Settings::default() };
    world.drops = Drops::new(settings, world.keys).unwrap();
    let address = |number: u16| format!("192.0.2.{number}");
    // Eight places. Zoe is at all nine addresses, Ann comes to each of them much later.
    for number in 0..9 {
        world.seen(ZOE, flow(&address(number), 9));
    }
    assert_eq!((world.drops.fill().sources, world.drops.counters().sources_crowded), (8, 1));
    let seen = |world: &World, number| {
        world.drops.explain(address(number).parse().unwrap(), world.now).seen
    };
    world.wait(24 * 3_600_000 - 10_000);
    world.seen(ANN, flow(&address(8), 1));
    world.seen(ZOE, flow(&address(9), 9));
    assert_eq!(seen(&world, 8), Seen::Unsure, "no place for it");
    // Now the first eight are forgotten, and there are places: but Zoe's second sighting is not.
    world.wait(10_000);
    world.seen(ANN, flow(&address(9), 1));
    world.wait(12 * 3_600_000);
    world.seen(ANN, flow(&address(9), 1));
    assert_eq!(seen(&world, 9), Seen::Unsure, "whatever was lost may have been here");
    world.wait(12 * 3_600_000 - 10_000);
    assert_eq!(seen(&world, 9), Seen::OneTenant);
}

#[test]
fn handshakes_are_delayed_where_the_address_is_the_offenders_alone() {
    let mut world = World::new();
    world.seen(ANN, flow(HOME, 1));
    world.seen(ANN, flow("192.0.2.2", 1));
    world.seen(ZOE, flow("192.0.2.2", 9));
    world.wait(10_000);
    let agents = world.subject(ANN, Per::Agent, rule());
    world.climb(&agents, ANN, flow(HOME, 1), Rung::Slow);
    world.refused(&agents, ANN, flow("192.0.2.2", 1), 60_000);
    world.refused(&agents, ANN, flow(HOME, 1), 60_000);
    let delay_ms = |world: &World, peer: &str| {
        world.standings().handshake_delay_ms(peer.parse().unwrap(), world.now.mono)
    };
    assert_eq!((delay_ms(&world, HOME), delay_ms(&world, "192.0.2.2")), (100, 0));
    let before = world.drops.generation();
    world.seen(ZOE, flow(HOME, 9));
    assert!(delay_ms(&world, HOME) == 0 && world.drops.generation() > before);
}
