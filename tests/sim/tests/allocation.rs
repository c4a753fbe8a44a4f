//! An agent that loops against a kill costs no memory: the refusals allocate nothing after warm-up.

use allocation_counter::measure;
use dataplane_bundle::{Kill, KillTarget};
use dataplane_pipeline::{Connection, Step};
use dataplane_telemetry::WallNanos;
use serde_json::json;
use tests_sim::http::{call, modern};
use tests_sim::{FLOW, World, WorldSpec};

#[test]
fn refusals_by_a_kill_allocate_nothing() {
    for target in [
        KillTarget::Tool { server: "crm".into(), tool: "get_orders".into() },
        KillTarget::User { tenant: "acme".into(), user: "ann".into() },
    ] {
        let mut world = World::new(&WorldSpec::default());
        let is_caller = matches!(target, KillTarget::User { .. });
        let at = WallNanos(0);
        let (reason, author) = ("it loops".into(), "ops".into());
        world.kill(vec![Kill { id: "k".into(), target, reason, author, at, expires_at: None }]);
        let key = world.key("ann").to_owned();
        let mut requests = vec![call("/mcp", &key, json!(1), "crm__get_orders", json!({}))];
        if is_caller {
            requests.push(modern("/mcp", &key, json!(2), "tools/list", json!({})));
        }
        let mut machine = Connection::new(FLOW, world.now.mono);
        for round in 0..50 {
            for request in &requests {
                machine.inbox().extend_from_slice(request);
                let refused =
                    measure(|| machine.on_client_bytes(&mut world.core, world.now)).count_total;
                world.commit();
                assert_eq!(machine.step(&world.core), Step::WriteClient);
                let said = String::from_utf8_lossy(machine.outbox()).into_owned();
                assert!(said.contains("-31410"), "{said}");
                machine.on_written(&mut world.core, world.now);
                assert!(round < 10 || refused == 0, "{refused} allocations in round {round}");
            }
        }
    }
}
