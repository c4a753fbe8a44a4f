//! The channel's good days and bad days, with both real sides.

mod world;

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use controlplane_rollout::{Report, Secret};
use dataplane_bundle::Revision;
use dataplane_sync::{Identity, RECORDS_REST_MS, load_from_disk};
use world::{Appliance, Control, Log, PATIENCE, draft, id, kills};

#[test]
fn a_box_is_enrolled_and_gets_what_it_should_have() {
    let control = Control::start();
    let secret =
        Secret { name: "crm-key".to_owned(), revision: 3, value: b"hunter2".to_vec().into() };
    control.memory.state.lock().unwrap().secrets = vec![secret];
    control.push(draft(7, 1_000));
    let mut appliance = Appliance::enrolled(&control, "box-1");
    appliance.connect();
    appliance.gateway.active(7);
    appliance.gateway.killed(1);
    appliance.gateway.wait_for("leases", |seen| !seen.leases.is_empty());
    control
        .memory
        .reported("box-1", |report| *report == Report::BundleActive { revision: Revision(7) });
    control.memory.reported("box-1", |report| *report == Report::KillsApplied { serial: 1 });
    control
        .memory
        .reported("box-1", |report| matches!(report, Report::Status(status) if status.calls == 42));
    let state = control.rollout.appliances().remove(0);
    assert!(state.connected && state.refused.is_none(), "{state:?}");
    assert_eq!((state.revision, state.kill_serial), (Revision(7), 1));
    let seen = appliance.gateway.seen.lock().unwrap();
    let lease = &seen.leases[0][0];
    assert_eq!((lease.secret.as_str(), &lease.value[..]), ("crm-key", &b"hunter2"[..]));
    assert!(lease.expires_at > world::wall());
}

#[test]
fn a_new_bundle_reaches_every_box_signed_for_each_alone() {
    let control = Control::start();
    let mut boxes = ["box-1", "box-2", "box-3"].map(|name| Appliance::enrolled(&control, name));
    boxes.iter_mut().for_each(Appliance::connect);
    for revision in 1..=3 {
        control.push(draft(revision, 1_000));
        boxes.iter().for_each(|appliance| appliance.gateway.active(revision));
    }
    for (appliance, name) in boxes.iter().zip(["box-1", "box-2", "box-3"]) {
        let seen = appliance.gateway.seen.lock().unwrap();
        assert!(seen.bundles.iter().all(|bundle| bundle.appliance == id(name)));
    }
}

#[test]
fn a_refused_bundle_comes_back_with_its_reason_and_the_old_one_stays() {
    let control = Control::start();
    let mut appliance = Appliance::enrolled(&control, "box-1");
    appliance.connect();
    control.push(draft(1, 100));
    appliance.gateway.active(1);
    appliance.gateway.set(|seen| seen.refusing = Some("self-test 3 came out allow".to_owned()));
    control.push(draft(2, 100));
    let expected = Report::BundleRefused {
        revision: Revision(2),
        reason: "self-test 3 came out allow".to_owned(),
    };
    control.memory.reported("box-1", |report| *report == expected);
    let state = control.rollout.appliances().remove(0);
    assert_eq!(state.revision, Revision(1));
    assert_eq!(state.refused, Some((Revision(2), "self-test 3 came out allow".to_owned())));
    assert_eq!(load_from_disk(&appliance.dirs).unwrap().bundle.unwrap().revision, Revision(1));
    appliance.gateway.set(|seen| seen.refusing = None);
    control.push(draft(3, 100));
    appliance.gateway.active(3);
    control
        .memory
        .reported("box-1", |report| *report == Report::BundleActive { revision: Revision(3) });
    assert_eq!(control.rollout.appliances()[0].refused, None);
}

/// From the call of `set_kills` to the call of the sink, in milliseconds, sorted.
fn kill_waits_ms(control: &Control, appliance: &Appliance, serials: Range<u64>) -> Vec<u128> {
    let mut waits = Vec::new();
    for serial in serials {
        let list = kills(serial);
        let pushed = Instant::now();
        assert!(control.rollout.set_kills(&list).unwrap());
        appliance.gateway.killed(serial);
        let applied = appliance.gateway.seen.lock().unwrap().kills.last().unwrap().1;
        waits.push((applied - pushed).as_millis());
    }
    waits.sort_unstable();
    println!("kill: {waits:?} ms");
    waits
}

#[test]
fn a_kill_does_not_wait_while_a_bundle_is_tried() {
    let control = Control::start();
    let mut appliance = Appliance::enrolled(&control, "box-1");
    appliance.connect();
    appliance.gateway.killed(1);
    appliance.gateway.set(|seen| seen.hold = true);
    control.push(draft(1, 1_000));
    appliance.gateway.wait_for("trying", |seen| seen.trying);
    let waits = kill_waits_ms(&control, &appliance, 2..22);
    assert!(appliance.gateway.seen.lock().unwrap().trying);
    assert!(waits[10] < 100, "{waits:?}");
    appliance.gateway.set(|seen| seen.hold = false);
    appliance.gateway.active(1);
}

#[test]
fn a_kill_overtakes_a_bundle_of_60_mib() {
    let control = Control::start();
    let mut appliance = Appliance::enrolled(&control, "box-1");
    appliance.connect();
    appliance.gateway.killed(1);
    control.push(draft(1, 60 << 20));
    let waits = kill_waits_ms(&control, &appliance, 2..7);
    let seen = appliance.gateway.seen.lock().unwrap();
    assert!(!seen.trying && seen.bundles.is_empty(), "the bundle was quicker: test a larger one");
    drop(seen);
    assert!(waits[2] < 100, "{waits:?}");
    appliance.gateway.active(1);
}

#[test]
fn a_box_without_its_control_plane_starts_from_disk() {
    let control = Control::start();
    let mut appliance = Appliance::enrolled(&control, "box-1");
    appliance.connect();
    control.push(draft(4, 1_000));
    appliance.gateway.active(4);
    assert!(control.rollout.set_kills(&kills(9)).unwrap());
    control.memory.reported("box-1", |report| *report == Report::KillsApplied { serial: 9 });
    control
        .memory
        .reported("box-1", |report| *report == Report::BundleActive { revision: Revision(4) });
    let stopped = control.stop();
    appliance.halt();
    let stored = load_from_disk(&appliance.dirs).unwrap();
    assert_eq!(stored.bundle.as_ref().unwrap().revision, Revision(4));
    assert_eq!(stored.kills.as_ref().unwrap().kills[0].id, "k9");
    assert!(stored.warnings.is_empty());
    // The control plane is back, and the box with it; what it has is not sent again.
    appliance.connect();
    let control = Control::started(stopped, &kills(9));
    appliance.gateway.killed(9);
    control.push(draft(5, 1_000));
    appliance.gateway.active(5);
    assert_eq!(appliance.gateway.seen.lock().unwrap().bundles.len(), 1);
}

#[test]
fn a_box_comes_back_when_the_control_plane_does() {
    let control = Control::start();
    let mut appliance = Appliance::enrolled(&control, "box-1");
    appliance.connect();
    control.push(draft(1, 1_000));
    appliance.gateway.active(1);
    let control = control.restart(&kills(2));
    appliance.gateway.killed(2);
    control.push(draft(2, 1_000));
    appliance.gateway.active(2);
    let link = appliance.channel.as_ref().unwrap().link();
    assert!(link.connected && link.connections >= 2, "{link:?}");
}

#[test]
fn a_directory_that_fails_is_asked_again() {
    let control = Control::start();
    control.memory.state.lock().unwrap().failing = 3;
    control.push(draft(1, 1_000));
    let mut appliance = Appliance::enrolled(&control, "box-1");
    appliance.connect();
    appliance.gateway.active(1);
}

#[test]
fn a_panic_in_one_connection_takes_no_other() {
    let control = Control::start();
    let mut bad = Appliance::enrolled(&control, "bad");
    let mut good = Appliance::enrolled(&control, "good");
    control.memory.state.lock().unwrap().panics_for = Some(id("bad"));
    good.connect();
    bad.connect();
    control.memory.reported("bad", |report| matches!(report, Report::Disconnected { .. }));
    for revision in 1..=3 {
        control.push(draft(revision, 1_000));
        good.gateway.active(revision);
    }
    control.memory.state.lock().unwrap().panics_for = None;
    bad.gateway.active(3);
}

#[test]
fn a_dataplane_that_panics_on_a_bundle_refuses_it() {
    let control = Control::start();
    let mut appliance = Appliance::enrolled(&control, "box-1");
    appliance.gateway.set(|seen| seen.panicking = true);
    appliance.connect();
    control.push(draft(1, 1_000));
    control.memory.reported(
        "box-1",
        |report| matches!(report, Report::BundleRefused { reason, .. } if reason.contains("panic")),
    );
    control.rollout.set_kills(&kills(2)).unwrap();
    control.memory.reported("box-1", |report| *report == Report::KillsApplied { serial: 2 });
}

#[test]
fn durable_records_arrive_once_in_order_and_go_on_after_a_restart() {
    let control = Control::start();
    let mut appliance = Appliance::enrolled(&control, "box-1");
    let log = Arc::new(Mutex::new(Vec::new()));
    let fill = |from: u32, to: u32| {
        let record = |number: u32| [&number.to_le_bytes()[..], &[0; 1_000]].concat();
        log.lock().unwrap().extend((from..to).map(record));
    };
    fill(0, 3_000); // Three batches.
    appliance.connect_with(Some(Box::new(Log(log.clone()))), |_| {});
    let kept = |count: usize| move |state: &world::State| state.records.len() == count;
    control.memory.wait_for("records", kept(3_000));
    fill(3_000, 3_500);
    appliance.channel.as_ref().unwrap().records_ready();
    control.memory.wait_for("more records", kept(3_500));
    let control = control.restart(&kills(1));
    fill(3_500, 4_000);
    control.memory.wait_for("records after a restart", kept(4_000));
    assert!(*control.memory.state.lock().unwrap().records == *log.lock().unwrap());
}

#[test]
fn full_batches_of_records_leave_time_for_calls() {
    let control = Control::start();
    let mut appliance = Appliance::enrolled(&control, "box-1");
    let log = Arc::new(Mutex::new(vec![vec![0; 1_000]; 3_000])); // Three batches.
    appliance.connect_with(Some(Box::new(Log(log))), |_| {});
    let kept = |least: usize| move |state: &world::State| state.records.len() >= least;
    control.memory.wait_for("the first batch", kept(1));
    let first = Instant::now();
    control.memory.wait_for("all of them", kept(3_000));
    // Two rests lie between, of which the first may have begun before it was seen here.
    assert!(first.elapsed() >= Duration::from_millis(RECORDS_REST_MS), "{:?}", first.elapsed());
}

/// As if half of the certificate's life were over.
#[test]
fn a_certificate_is_renewed_at_half_its_life_and_used() {
    let control = Control::start();
    let mut appliance = Appliance::enrolled(&control, "box-1");
    let file = appliance.dirs.data.join("identity.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let (head, tail) = text.split_once("\"renew_at_s\":").unwrap();
    let (_, tail) = tail.split_once(',').unwrap();
    std::fs::write(&file, format!("{head}\"renew_at_s\":1,{tail}")).unwrap();
    let before = Identity::load(&appliance.dirs).unwrap().unwrap().certified;
    appliance.connect();
    control.memory.wait_for("a second certificate", |state| state.certificates.len() == 2);
    let until = Instant::now() + PATIENCE;
    let renewed = loop {
        let now = Identity::load(&appliance.dirs).unwrap().unwrap().certified;
        if now.certificate != before.certificate {
            break now;
        }
        assert!(Instant::now() < until);
        std::thread::yield_now();
    };
    assert!(renewed.renew_at > world::wall());
    // The old one would not do any more, and the box goes on running.
    let old = ring::digest::digest(&ring::digest::SHA256, &before.certificate);
    let old: [u8; 32] = old.as_ref().try_into().unwrap();
    assert!(control.memory.state.lock().unwrap().certificates.remove(&old));
    let _control = control.restart(&kills(2));
    appliance.gateway.killed(2);
}

#[test]
fn leases_are_renewed_and_follow_the_secrets() {
    let control = Control::start();
    let mut appliance = Appliance::enrolled(&control, "box-1");
    appliance.connect();
    appliance.gateway.wait_for("none", |seen| seen.leases.last().is_some_and(Vec::is_empty));
    let set = |revision: u64| {
        let value = format!("value {revision}").into_bytes().into();
        let secret = Secret { name: "crm-key".to_owned(), revision, value };
        control.memory.state.lock().unwrap().secrets = vec![secret];
        control.rollout.secrets_changed();
    };
    for revision in 1..=3 {
        set(revision);
        appliance.gateway.wait_for("the new value", |seen| {
            seen.leases.last().is_some_and(|all| all.len() == 1 && all[0].revision == revision)
        });
    }
    control.memory.state.lock().unwrap().secrets.clear();
    control.rollout.secrets_changed();
    appliance.gateway.wait_for("taken back", |seen| seen.leases.last().unwrap().is_empty());
}

#[test]
fn the_newest_connection_of_a_box_is_the_one() {
    let control = Control::start();
    let mut appliance = Appliance::enrolled(&control, "box-1");
    appliance.connect();
    appliance.gateway.killed(1);
    let first = appliance.channel.take().unwrap();
    appliance.connect();
    let until = Instant::now() + PATIENCE;
    while first.link().trouble.is_empty() {
        assert!(Instant::now() < until);
        std::thread::yield_now();
    }
    assert!(first.link().trouble.contains("connected again"), "{:?}", first.link());
    first.stop();
    control.push(draft(1, 100));
    appliance.gateway.active(1);
}
