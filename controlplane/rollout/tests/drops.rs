//! Drops over the channel, with both real sides: reports up, orders down, and what goes wrong.

mod world;

use std::sync::Arc;
use std::time::Instant;

use controlplane_rollout::{ApplianceState, AskFault};
use dataplane_bundle::drops::{
    CardMode, CardPackets, CardState, Chosen, DropReason, DropRow, DropTable, DroppedPacket,
    DropsReport, Order, PACKETS_MAX,
};
use dataplane_drops::{Cause, PIN_MS_MAX, Per, Seen, Target};
use dataplane_telemetry::WallNanos;
use world::{Appliance, Control, PATIENCE, id, wall};

fn report(count: u16, drops: u64) -> DropsReport {
    let row = |port| DropRow {
        drop: 7,
        target: Target::Service(([192, 0, 2, 1], port).into()),
        tenant: "acme".to_owned(),
        user: None,
        agent: None,
        per: Per::Tenant,
        cause: Cause::Quota("agents".into()),
        since: wall(),
        until: WallNanos(wall().0 + 60_000_000_000),
        level: 1,
        pinned_by: None,
    };
    let card = CardState {
        interface: "eth0".to_owned(),
        mode: CardMode::Native,
        program_sha256: [7; 32],
        drops,
        entries: u32::from(count),
        entries_max: 16_384,
        thinned: Vec::new(),
    };
    let rows: Vec<DropRow> = (0..count).map(row).collect();
    DropsReport { entries: u32::from(count), rows, cards: vec![card], ..DropsReport::default() }
}

fn connected(control: &Control) -> Appliance {
    let mut appliance = Appliance::enrolled(control, "box-1");
    appliance.connect();
    appliance.gateway.killed(1);
    appliance
}

/// Waits until the control plane knows it so.
fn known(control: &Control, is: impl Fn(&ApplianceState) -> bool) -> ApplianceState {
    let until = Instant::now() + PATIENCE;
    let mut changes = control.rollout.changes();
    loop {
        let found = control.rollout.appliances().into_iter().find(&is);
        if let Some(found) = found {
            return found;
        }
        let left = until.checked_duration_since(Instant::now()).expect("not said");
        control.wait(async { tokio::time::timeout(left, changes.changed()).await }).ok();
    }
}

#[test]
fn what_is_dropped_is_known_and_what_ends_is_gone() {
    let control = Control::start();
    let appliance = connected(&control);
    assert_eq!(known(&control, |state| state.status.is_some()).drops, None);
    appliance.gateway.set(|seen| seen.drops = Some(report(2, 0)));
    let first = known(&control, |state| state.drops.is_some()).drops.unwrap();
    let rate = first.drops_per_s(&first.report.cards[0]);
    assert_eq!((first.report.rows.len(), rate), (2, 0));
    appliance.gateway.set(|seen| seen.drops = Some(report(0, 5_000)));
    let next = known(&control, |state| {
        state.drops.as_ref().is_some_and(|drops| drops.report.rows.is_empty())
    });
    let next = next.drops.unwrap();
    let took_ms = (next.at.0 - first.at.0) / 1_000_000;
    assert!(took_ms >= 900, "once a second at most: {took_ms}");
    assert_eq!(next.report.cards[0].drops, 5_000);
}

#[test]
fn a_new_connection_is_told_anew() {
    let control = Control::start();
    let mut appliance = connected(&control);
    appliance.gateway.set(|seen| seen.drops = Some(report(1, 0)));
    let before = known(&control, |state| state.drops.is_some());
    appliance.halt();
    known(&control, |state| !state.connected);
    appliance.gateway.set(|seen| seen.drops = Some(report(1, 0)));
    appliance.connect();
    let after = known(&control, |state| state.connected && state.drops.is_some());
    assert!(!Arc::ptr_eq(&before.drops.unwrap().report, &after.drops.unwrap().report));
}

#[test]
fn orders_are_carried_out_by_name_and_their_refusals_come_back() {
    let control = Control::start();
    let appliance = connected(&control);
    let order = |order| {
        control.wait(control.rollout.order_drops(&id("box-1"), "olga", "they called", order))
    };
    assert_eq!(order(Order::Release(Chosen::Tenant("acme".to_owned()))), Ok(3));
    let pin = |for_ms| order(Order::Pin { drop: 9, for_ms });
    assert_eq!(pin(1_000), Err(AskFault::Refused("there is no drop 9".to_owned())));
    let past = pin(PIN_MS_MAX + 1).unwrap_err().to_string();
    assert_eq!(past, "order.for_ms: 43200001 is more than the limit of 43200000");
    let seen = appliance.gateway.seen.lock().unwrap();
    assert_eq!(seen.orders.len(), 2, "what is out of its bounds is not sent");
    assert_eq!((&*seen.orders[0].by, &*seen.orders[0].reason), ("olga", "they called"));
    assert_ne!(seen.orders[0].id, seen.orders[1].id);
}

#[test]
fn a_box_that_is_away_or_goes_away_is_said_to_be() {
    let control = Control::start();
    let order = || {
        let all = Order::Release(Chosen::All);
        control.wait(control.rollout.order_drops(&id("box-1"), "olga", "why", all))
    };
    assert_eq!(order(), Err(AskFault::Away));
    let mut appliance = connected(&control);
    appliance.gateway.set(|seen| seen.hold_orders = true);
    let gateway = Arc::clone(&appliance.gateway);
    let leaving = std::thread::spawn(move || {
        gateway.wait_for("the order", |seen| !seen.orders.is_empty());
        gateway.set(|seen| seen.hold_orders = false);
        appliance.halt();
    });
    // Its answer may be quicker than its going.
    assert!(matches!(order(), Err(AskFault::Away) | Ok(3)));
    leaving.join().unwrap();
}

#[test]
fn an_address_is_explained() {
    let control = Control::start();
    let appliance = connected(&control);
    let explain = || {
        let address = [192, 0, 2, 7].into();
        control.wait(control.rollout.explain_address(&id("box-1"), address)).unwrap()
    };
    assert_eq!(explain(), None, "a box that drops nobody");
    appliance.gateway.set(|seen| seen.drops = Some(report(2, 0)));
    let known = explain().unwrap();
    assert_eq!((known.seen, known.entries, known.rows.len()), (Seen::SeveralTenants, 2, 2));
    assert_eq!(known.sentence, "192.0.2.7 is shared.");
}

#[test]
fn packets_are_told_to_who_asks_and_without_their_payload() {
    let control = Control::start();
    let appliance = connected(&control);
    let ask = || control.wait(control.rollout.dropped_packets(&id("box-1"))).unwrap();
    assert_eq!(ask(), vec![], "a box without a card");
    let header = [&[2; 12][..], &[8, 6], b"who has 192.0.2.7"].concat();
    let packet = DroppedPacket {
        at: wall(),
        tenant: "acme".to_owned(),
        reason: DropReason::Kill,
        table: DropTable::Flow,
        length: 60,
        header: header.clone(),
    };
    let told = DroppedPacket { header: header[..14].to_vec(), ..packet.clone() };
    let packets = vec![packet; PACKETS_MAX + 1];
    let card = CardPackets { interface: "eth0".to_owned(), one_in: 1_024, lost: 5, packets };
    appliance.gateway.set(|seen| seen.packets = vec![card.clone()]);
    assert_eq!(ask(), [CardPackets { packets: vec![told; PACKETS_MAX], ..card }]);
}
