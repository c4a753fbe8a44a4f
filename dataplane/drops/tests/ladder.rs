//! The ladder told as stories: who climbs, who does not, and how everybody comes down.

mod world;

use dataplane_drops::{Change, LadderRule, Per, Rung, What};
use world::{ANN, BOB, World, ZOE, flow, rule};

#[test]
fn who_waits_as_told_never_climbs() {
    let mut world = World::new();
    let agents = world.subject(ANN, Per::Agent, rule());
    for _ in 0..1_000 {
        // Nine calls at once, of which eight are refused; then it waits to the millisecond.
        for _ in 0..8 {
            assert_eq!(world.refused(&agents, ANN, flow("192.0.2.1", 5), 100), Rung::Tell);
        }
        world.wait(100);
    }
    assert_eq!(world.drops.counters().ignored, 0);
}

#[test]
fn calls_under_way_while_the_refusal_travels_ignore_nothing() {
    let mut world = World::new();
    let agents = world.subject(ANN, Per::Agent, rule());
    for _ in 0..99 {
        world.refused(&agents, ANN, flow("192.0.2.1", 5), 60_000);
        world.wait(1);
    }
    assert_eq!(world.drops.counters().ignored, 0);
    world.wait(1);
    world.refused(&agents, ANN, flow("192.0.2.1", 5), 60_000);
    assert_eq!(world.drops.counters().ignored, 1);
}

#[test]
fn who_hammers_a_fast_quota_ignores_it_though_tokens_come_in_between() {
    let mut world = World::new();
    let agents = world.subject(ANN, Per::Agent, rule());
    let mut rung = Rung::Tell;
    for _ in 0..30 {
        // Ten tokens a second: nine calls are refused, the tenth is granted.
        for left_ms in (1..10).rev() {
            rung = world.refused(&agents, ANN, flow("192.0.2.1", 5), left_ms * 10);
            world.wait(10);
        }
        world.wait(10);
    }
    assert!(rung > Rung::Tell, "{:?}", world.drops.counters());
}

#[test]
fn another_caller_of_the_same_bucket_was_not_told_and_ignores_nothing() {
    let mut world = World::new();
    let agents = world.subject(ANN, Per::Agent, rule());
    world.refused(&agents, ANN, flow("192.0.2.1", 5), 60_000);
    world.wait(1_000);
    world.refused(&agents, BOB, flow("192.0.2.2", 5), 60_000);
    assert_eq!(world.drops.counters().ignored, 0);
    world.wait(1_000);
    world.refused(&agents, BOB, flow("192.0.2.2", 5), 60_000);
    assert_eq!(world.drops.counters().ignored, 1);
}

#[test]
fn the_rungs_come_at_their_numbers_and_the_window_counts_anew() {
    let mut world = World::new();
    let agents = world.subject(ANN, Per::Agent, rule());
    let hear = |world: &mut World| world.refused(&agents, ANN, flow("192.0.2.1", 5), 60_000);
    hear(&mut world);
    world.wait(100);
    assert_eq!([hear(&mut world), hear(&mut world)], [Rung::Tell; 2]);
    world.wait(1_000);
    assert_eq!([hear(&mut world), hear(&mut world)], [Rung::Tell; 2], "a new window");
    assert_eq!(hear(&mut world), Rung::Slow, "three in one window");
    assert_eq!(hear(&mut world), Rung::Slow);
    world.wait(1_000);
    assert_eq!([hear(&mut world), hear(&mut world)], [Rung::Slow, Rung::Drop]);
    assert_eq!(world.dropped(), ["the connection 192.0.2.1:5 to 198.51.100.1:443"]);
}

#[test]
fn without_a_rule_to_drop_nobody_is_dropped() {
    let mut world = World::new();
    let quiet = LadderRule { drop: None, ..rule() };
    let agents = world.subject(ANN, Per::Agent, quiet);
    world.climb(&agents, ANN, flow("192.0.2.1", 5), Rung::Slow);
    for _ in 0..10_000 {
        world.refused(&agents, ANN, flow("192.0.2.1", 5), 60_000);
    }
    assert!(world.changes.is_empty() && world.standing(&agents).rung == Rung::Slow);
    assert_eq!(world.standing(&agents).delay_ms, 2_000, "the delay grows to its cap");
    let killed = world.kill(ANN, quiet);
    assert_eq!(world.drops.on_kill(&killed, world.now), Rung::Tell);
}

#[test]
fn drops_grow_to_the_cap_and_calm_leads_down_a_step_at_a_time() {
    let mut world = World::new();
    let agents = world.subject(ANN, Per::Agent, rule());
    let mut lasted = Vec::new();
    for _ in 0..5 {
        world.climb(&agents, ANN, flow("192.0.2.1", 5), Rung::Drop);
        let wait_ms = world.standing(&agents).wait_ms(world.now.mono);
        lasted.push(wait_ms);
        world.wait(wait_ms);
        assert!(world.dropped().is_empty());
        assert_eq!(world.standing(&agents).rung, Rung::Slow, "on probation");
    }
    assert_eq!(lasted, [1_000, 2_000, 4_000, 5_000, 5_000]);
    world.wait(9_999);
    assert_eq!(world.standing(&agents).rung, Rung::Slow);
    world.wait(1);
    assert_eq!(world.standing(&agents).rung, Rung::Tell);
    // Two more calms: two of five drops are forgotten, the next is the fourth again.
    world.wait(20_000);
    world.climb(&agents, ANN, flow("192.0.2.1", 5), Rung::Drop);
    assert_eq!(world.standing(&agents).wait_ms(world.now.mono), 5_000);
    world.wait(5_000);
    world.wait(10_000 + 4 * 10_000);
    for _ in 0..70 {
        world.wait(1_000);
    }
    assert_eq!(world.drops.fill().subjects, 0, "forgotten");
    world.climb(&agents, ANN, flow("192.0.2.1", 5), Rung::Drop);
    assert_eq!(world.standing(&agents).wait_ms(world.now.mono), 1_000);
}

#[test]
fn one_ignored_refusal_before_each_calm_keeps_it_slowed() {
    let mut world = World::new();
    let agents = world.subject(ANN, Per::Agent, rule());
    world.climb(&agents, ANN, flow("192.0.2.1", 5), Rung::Slow);
    for _ in 0..20 {
        world.wait(9_999);
        assert_eq!(world.refused(&agents, ANN, flow("192.0.2.1", 5), 60_000), Rung::Slow);
        assert_eq!(world.standing(&agents).rung, Rung::Slow);
    }
    world.wait(10_000);
    assert_eq!(world.refused(&agents, ANN, flow("192.0.2.1", 5), 60_000), Rung::Tell);
}

#[test]
fn what_comes_during_a_drop_does_not_prolong_it() {
    let mut world = World::new();
    let agents = world.subject(ANN, Per::Agent, rule());
    world.climb(&agents, ANN, flow("192.0.2.1", 5), Rung::Drop);
    let until = world.standing(&agents).until;
    for port in 0..900 {
        world.refused(&agents, ANN, flow("192.0.2.1", port), 60_000);
        world.wait(1);
    }
    assert_eq!(world.standing(&agents).until, until);
    assert!(!world.changes.iter().any(|change| matches!(change, Change::Extend { .. })));
}

#[test]
fn a_refusal_that_is_heard_late_makes_no_entry() {
    let mut world = World::new();
    let agents = world.subject(ANN, Per::Agent, rule());
    world.climb(&agents, ANN, flow("192.0.2.1", 5), Rung::Slow);
    world.wait(500);
    let owner = world.owner(ANN);
    let late = |world: &mut World, late_ms: u64| {
        let at = dataplane_telemetry::Nanos(world.now.mono.0 - late_ms * world::MS);
        let told_until = at.plus(50 * world::MS);
        let (subject, flow) = (agents.clone(), flow("192.0.2.1", 5));
        let refusal = dataplane_drops::Refusal {
            subject,
            caller: owner,
            flow_owner: owner,
            flow,
            at,
            told_until,
        };
        world.drops.on_refused(&refusal, world.now)
    };
    // The caller of these was free to call again long ago.
    assert_eq!((0..50).map(|_| late(&mut world, 101)).max(), Some(Rung::Slow));
    assert_eq!(late(&mut world, 100), Rung::Drop);
}

#[test]
fn a_kill_of_a_tenant_goes_straight_to_dropping() {
    let mut world = World::new();
    let stop = world.kill(ANN, rule());
    world.seen(ANN, flow("192.0.2.1", 5));
    world.seen(BOB, flow("192.0.2.2", 6));
    world.seen(ZOE, flow("192.0.2.3", 7));
    assert_eq!(world.drops.on_kill(&stop, world.now), Rung::Drop);
    world.fetch();
    let connection = |peer| format!("the connection {peer} to 198.51.100.1:443");
    assert_eq!(world.dropped(), [connection("192.0.2.1:5"), connection("192.0.2.2:6")]);
    world.drops.on_causes(|_| false, world.now);
    assert!(world.dropped().is_empty(), "lifted");
    world.fetch();
    assert_eq!(world.events.iter().filter(|event| event.what == What::Released).count(), 2);
}

#[test]
fn a_late_clock_changes_nothing() {
    let mut world = World::new();
    let agents = world.subject(ANN, Per::Agent, rule());
    world.climb(&agents, ANN, flow("192.0.2.1", 5), Rung::Drop);
    let until = world.standing(&agents).until;
    let early = dataplane_telemetry::Now { mono: dataplane_telemetry::Nanos(7), ..world.now };
    world.drops.on_timer(early);
    world.drops.on_unauthenticated("192.0.2.9".parse().unwrap(), early);
    assert_eq!((world.dropped().len(), world.standing(&agents).until), (1, until));
}
