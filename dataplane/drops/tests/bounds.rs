//! Every table at its edge and one past it: what finds no place is lost in the caller's favour.

mod world;

use dataplane_drops::{
    Attribution, Drops, ENTRIES_MAX, ENTRIES_PER_SUBJECT_MAX, FLOWS_MAX, Names, Per, Refusal, Rung,
    SLOWED_MAX, SOURCES_MAX, SOURCES_PER_SUBJECT_KEPT, SUBJECTS_MAX, Settings, TOLD_MAX,
};
use world::{ANN, MS, World, flow, rule, settings};

/// A box at full size.
fn full_size() -> World {
    let mut world = World::new();
    let attribution = Attribution { certain_after_ms: 1_000, ..Attribution::default() };
    let settings = Settings { attribution, ..Settings::default() };
    world.drops = Drops::new(settings, world.keys).unwrap();
    world
}

fn host(number: usize) -> String {
    format!("10.{}.{}.{}", number >> 16, number >> 8 & 0xff, number & 0xff)
}

#[test]
fn one_subject_takes_only_its_share_of_the_entries() {
    let mut world = full_size();
    let subject = world.subject(ANN, Per::Agent, rule());
    world.climb(&subject, ANN, flow("192.0.2.1", 0), Rung::Drop);
    for port in 1..2_000 {
        world.refused(&subject, ANN, flow("192.0.2.1", port), 1_000);
    }
    let flows = ENTRIES_PER_SUBJECT_MAX - SOURCES_PER_SUBJECT_KEPT;
    assert_eq!(world.drops.fill().entries, flows as usize);
    assert!(world.drops.counters().entries_refused > 0);
    world.wait(1_000);
    assert_eq!(world.drops.fill().entries, 0);
}

#[test]
fn who_has_many_connections_does_not_thereby_keep_its_addresses() {
    let mut world = full_size();
    let subject = world.subject(ANN, Per::Agent, rule());
    // The first address takes its place before the connections take theirs.
    let hosts = 1 + SOURCES_PER_SUBJECT_KEPT as usize + 1;
    for number in 0..hosts {
        world.seen(ANN, flow(&host(number), 1));
    }
    world.wait(1_000);
    let peer = host(0).parse().unwrap();
    assert!(!world.standings().is_dropped_from(peer, world.now.mono));
    world.climb(&subject, ANN, flow(&host(0), 1), Rung::Drop);
    for port in 2..2_000 {
        world.refused(&subject, ANN, flow(&host(0), port), 1_000);
    }
    for number in 1..hosts {
        world.refused(&subject, ANN, flow(&host(number), 2), 1_000);
    }
    // All but one: that one is past the whole share.
    let dropped = world.dropped();
    let new = dropped.iter().filter(|target| target.starts_with("new connections"));
    assert_eq!(new.count(), hosts - 1);
    assert_eq!(world.drops.fill().entries, ENTRIES_PER_SUBJECT_MAX as usize);
    let generation = world.drops.generation();
    let mut standings = world.standings();
    assert!(standings.is_dropped_from(peer, world.now.mono));
    standings.without_card();
    assert!(!standings.is_dropped_from(peer, world.now.mono));
    world.drops.on_unauthenticated(peer, world.now);
    assert!(world.drops.generation() > generation, "cores are told");
    assert!(!world.standings().is_dropped_from(peer, world.now.mono));
    world.wait(1_000);
    let other = host(1).parse().unwrap();
    assert!(!world.standings().is_dropped_from(other, world.now.mono));
}

#[test]
fn past_the_set_of_entries_packets_pass() {
    let mut world = World::new();
    for number in 0..4 {
        let name = format!("tenant-{number}");
        let names = Names { tenant: &name, ..ANN };
        let subject = world.subject(names, Per::Agent, rule());
        world.climb(&subject, names, flow("192.0.2.1", number), Rung::Drop);
        for port in 0..100 {
            world.refused(&subject, names, flow(&host(number.into()), port), 1_000);
        }
    }
    assert!(world.drops.fill().entries <= settings().entries_max);
    assert!(world.drops.fill().entries > settings().entries_max / 2);
    assert!(world.drops.counters().entries_refused > 0);
}

#[test]
fn what_cannot_be_recorded_is_not_dropped_and_every_end_is() {
    let mut world = World::new();
    let subject = world.subject(ANN, Per::Agent, rule());
    let owner = world.owner(ANN);
    // A shell that fetches nothing, while entries come and go.
    for round in 0..2_000_u64 {
        world.now.mono.0 += 10 * MS;
        let flow = flow("192.0.2.1", (round % 50) as u16);
        let (subject, at) = (subject.clone(), world.now.mono);
        let told_until = at.plus(1_000 * MS);
        let refusal = Refusal { subject, caller: owner, flow_owner: owner, flow, at, told_until };
        world.drops.on_refused(&refusal, world.now);
        if round % 3 == 0 {
            world.drops.on_flow_closed(&flow, world.now);
        }
    }
    assert!(world.drops.counters().entries_refused > 0, "{:?}", world.drops.counters());
    world.wait(60_000);
    let counted = world.drops.counters();
    assert_eq!(counted.made, counted.expired + counted.released);
    assert!(world.changes.len() <= 2 * settings().entries_max);
    let ends =
        |one: &&dataplane_drops::Change| matches!(one, dataplane_drops::Change::Remove { .. });
    assert_eq!(world.changes.iter().filter(ends).count() as u64, counted.made);
    // And it goes on afterwards.
    world.climb(&subject, ANN, flow("192.0.2.1", 1), Rung::Drop);
    assert!(!world.dropped().is_empty());
}

#[test]
fn a_flood_of_names_and_addresses_fills_tables_and_no_more() {
    let mut world = full_size();
    for number in 0..150_000 {
        let name = format!("user-{}", number / 4);
        let names = Names { user: Some(&name), ..ANN };
        let subject = world.subject(names, Per::User, rule());
        world.now.mono.0 += 20_000;
        world.refused(&subject, names, flow(&host(number), 5), 60_000);
        world.changes.clear();
        world.events.clear();
    }
    let fill = world.drops.fill();
    assert!(fill.flows <= FLOWS_MAX && fill.flows > FLOWS_MAX / 2, "{fill:?}");
    assert!(fill.told <= TOLD_MAX && fill.told > TOLD_MAX / 2, "{fill:?}");
    assert!(fill.sources <= 2 * SOURCES_MAX && fill.sources > SOURCES_MAX, "{fill:?}");
    assert!(fill.subjects <= 2 * SUBJECTS_MAX && fill.entries <= ENTRIES_MAX, "{fill:?}");
    assert!(world.drops.counters().sources_crowded > 0);
}

#[test]
fn subjects_without_a_place_are_told_and_no_more() {
    let mut world = World::new();
    let mut rungs = [0; 3];
    for number in 0..1_000 {
        let name = format!("user-{number}");
        let names = Names { user: Some(&name), ..ANN };
        let subject = world.subject(names, Per::User, rule());
        // Told at once after the other, and all ignored later: no time for calm in between.
        let mut rung = world.refused(&subject, names, flow("192.0.2.1", 5), 60_000);
        world.wait(100);
        for _ in 0..3 {
            rung = world.refused(&subject, names, flow("192.0.2.1", 5), 60_000);
        }
        world.now.mono.0 -= 100 * MS;
        rungs[rung as usize] += 1;
    }
    assert!(rungs[0] > 0 && world.drops.counters().subjects_crowded > 0, "{rungs:?}");
    assert!(world.drops.fill().subjects <= 2 * settings().subjects_max);
    assert!(rungs[1] > 0 && rungs[2] == 0, "{rungs:?}");
}

#[test]
fn one_delayed_source_too_many_goes_without_delay() {
    let mut world = full_size();
    let count = 3 * SLOWED_MAX;
    let subject = world.subject(ANN, Per::Agent, rule());
    for number in 0..count {
        world.seen(ANN, flow(&host(number), 5));
    }
    world.wait(1_000);
    world.climb(&subject, ANN, flow(&host(0), 5), Rung::Slow);
    for number in 0..count {
        // Each waits long enough to ignore nothing: it stays slowed, and is heard from everywhere.
        world.now.mono.0 += MS;
        let owner = world.owner(ANN);
        let (subject, at) = (subject.clone(), world.now.mono);
        let flow = flow(&host(number), 5);
        let refusal =
            Refusal { subject, caller: owner, flow_owner: owner, flow, at, told_until: at };
        // What is told here is over at once, and what was told before may be ignored once.
        if world.drops.on_refused(&refusal, world.now) == Rung::Drop {
            world.wait(1_000);
        }
    }
    let standings = world.standings();
    let delayed = (0..count).filter(|number| {
        standings.handshake_delay_ms(host(*number).parse().unwrap(), world.now.mono) > 0
    });
    let delayed = delayed.count();
    assert!(delayed <= SLOWED_MAX && delayed > 0, "{delayed}");
}
