//! An agent that ignores every refusal costs no memory.

mod world;

use std::sync::Arc;

use allocation_counter::measure;
use dataplane_drops::{Per, Refusal, Rung, Standings};
use dataplane_telemetry::Nanos;
use world::{ANN, MS, World, flow, rule};

#[test]
fn refusals_allocate_nothing_on_any_rung() {
    let mut world = World::new();
    let subject = world.subject(ANN, Per::Agent, rule());
    let owner = world.owner(ANN);
    let mut rungs = [0; 3];
    let mut standings = Standings::new(world.keys);
    for round in 0..20_000_u64 {
        world.now.mono = Nanos(world.now.mono.0 + MS);
        let (subject, at) = (Arc::clone(&subject), world.now.mono);
        let told_until = at.plus(1_000 * MS);
        let flow = flow("192.0.2.1", (round % 3_000) as u16);
        let refusal = Refusal { subject, caller: owner, flow_owner: owner, flow, at, told_until };
        let mut rung = Rung::Tell;
        let heard = measure(|| {
            rung = world.drops.on_refused(&refusal, world.now);
            world.drops.on_timer(world.now);
            world.drops.on_flow_closed(&flow, world.now);
            while world.drops.poll_change().is_some() {}
            while world.drops.poll_event().is_some() {}
        });
        rungs[rung as usize] += 1;
        assert_eq!(heard.count_total, 0, "round {round}, {rung:?}");
        world.drops.write_standings(&mut standings, world.now.mono);
        let asked = measure(|| assert_eq!(standings.of(&refusal.subject, at).rung, rung));
        assert_eq!(asked.count_total, 0);
    }
    assert!(rungs[1] > 5 && rungs[2] > 1_000, "{rungs:?}");
}
