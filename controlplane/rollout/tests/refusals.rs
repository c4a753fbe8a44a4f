//! Who is not let in, and what is not taken.

mod world;

use std::fs;
use std::sync::Arc;
use std::time::Instant;

use controlplane_rollout::{Authority, Report, Rollout};
use dataplane_bundle::{EnrolmentToken, KillList, Revision};
use dataplane_sync::{Dirs, EnrolFault, LoadFault, load_from_disk};
use world::{Appliance, Control, PATIENCE, draft, id, kills, signer};

/// Waits until the box's channel tells of this trouble.
fn troubled(appliance: &Appliance, text: &str) {
    let until = Instant::now() + PATIENCE;
    while !appliance.trouble().contains(text) {
        assert!(Instant::now() < until, "{:?}", appliance.channel.as_ref().unwrap().link());
        std::thread::yield_now();
    }
}

fn enrol(control: &Control, token: &EnrolmentToken) -> Result<(), EnrolFault> {
    let folder = tempfile::tempdir().unwrap();
    let dirs = Dirs::new(folder.path());
    let enrolled = dataplane_sync::enrol(&dirs, &control.address.to_string(), token);
    assert_eq!(dirs.data.join("identity.json").exists(), enrolled.is_ok());
    enrolled.map(drop)
}

#[test]
fn a_token_is_good_once() {
    let control = Control::start();
    let token = control.token("box-1");
    enrol(&control, &token).unwrap();
    let refused = enrol(&control, &token).unwrap_err();
    assert!(matches!(&refused, EnrolFault::Refused(why) if why.contains("used")), "{refused}");
}

#[test]
fn a_control_plane_of_another_authority_is_not_told_the_token() {
    let control = Control::start();
    let mut token = control.token("box-1");
    token.ca_sha256[0] ^= 1;
    let refused = enrol(&control, &token).unwrap_err();
    assert!(matches!(refused, EnrolFault::Unreachable(_)), "{refused}");
    token.ca_sha256[0] ^= 1;
    enrol(&control, &token).unwrap();
}

#[test]
fn an_enrolled_box_is_not_enrolled_again() {
    let control = Control::start();
    let appliance = Appliance::enrolled(&control, "box-1");
    let token = control.token("box-2");
    let again = dataplane_sync::enrol(&appliance.dirs, &control.address.to_string(), &token);
    assert!(matches!(again, Err(EnrolFault::AlreadyEnrolled { .. })));
    enrol(&control, &token).unwrap();
}

#[test]
fn the_identity_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let control = Control::start();
    let appliance = Appliance::enrolled(&control, "box-1");
    let metadata = fs::metadata(appliance.dirs.data.join("identity.json")).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    let control = Control::start();
    let stranger = Control::start();
    let mut appliance = Appliance::enrolled(&stranger, "box-1");
    // Trusts the right control plane, shows the wrong certificate.
    let ours = Appliance::enrolled(&control, "box-2");
    let read = |appliance: &Appliance| {
        fs::read_to_string(appliance.dirs.data.join("identity.json")).unwrap()
    };
    let field = |text: &str, name: &str| {
        let at = text.find(&format!("\"{name}\":\"")).unwrap() + name.len() + 4;
        text[at..].split('"').next().unwrap().to_owned()
    };
    let (foreign, good) = (read(&appliance), read(&ours));
    let mixed = foreign
        .replace(&field(&foreign, "ca"), &field(&good, "ca"))
        .replace(&field(&foreign, "control"), &field(&good, "control"));
    fs::write(appliance.dirs.data.join("identity.json"), mixed).unwrap();
    appliance.connect();
    troubled(&appliance, "certificate");
    assert!(control.rollout.appliances().is_empty());
    assert!(appliance.gateway.seen.lock().unwrap().kills.is_empty());
}

#[test]
fn a_box_does_not_talk_to_a_control_plane_of_another_authority() {
    let control = Control::start();
    let mut appliance = Appliance::enrolled(&control, "box-1");
    let (memory, _, address) = control.stop();
    let other = Authority::create(world::wall()).unwrap().to_secret().to_vec();
    let _impostor = Control::started((memory, other, address), &kills(5));
    appliance.connect();
    troubled(&appliance, "certificate");
    assert!(appliance.gateway.seen.lock().unwrap().kills.is_empty());
}

#[test]
fn a_removed_box_is_dismissed_and_stays_out() {
    let control = Control::start();
    let mut appliance = Appliance::enrolled(&control, "box-1");
    appliance.connect();
    appliance.gateway.killed(1);
    control.memory.state.lock().unwrap().removed.insert(id("box-1"));
    control.rollout.dismiss(&id("box-1"));
    troubled(&appliance, "removed");
    troubled(&appliance, "appliance box-1 was removed");
    assert!(control.rollout.appliances().is_empty());
}

#[test]
fn an_older_revision_is_refused_with_its_reason() {
    let control = Control::start();
    let mut appliance = Appliance::enrolled(&control, "box-1");
    appliance.connect();
    control.push(draft(5, 100));
    appliance.gateway.active(5);
    control.push(draft(4, 100));
    control.memory.reported("box-1", |report| {
        matches!(report, Report::BundleRefused { revision: Revision(4), reason }
            if reason.contains("older"))
    });
    // The same number with other contents, as from a restored database.
    control.push(draft(5, 101));
    control.memory.reported("box-1", |report| {
        matches!(report, Report::BundleRefused { revision: Revision(5), .. })
    });
    assert_eq!(appliance.gateway.seen.lock().unwrap().bundles.len(), 1);
}

#[test]
fn an_older_kill_list_is_refused() {
    let control = Control::start();
    let mut appliance = Appliance::enrolled(&control, "box-1");
    appliance.connect();
    control.rollout.set_kills(&kills(8)).unwrap();
    control.memory.reported("box-1", |report| *report == Report::KillsApplied { serial: 8 });
    assert!(!control.rollout.set_kills(&kills(7)).unwrap());
    let control = control.restart(&kills(3));
    control.memory.reported("box-1", |report| {
        matches!(report, Report::KillsRefused { serial: 3, reason } if reason.contains("older"))
    });
    appliance.gateway.killed(8);
}

/// Bundles of one box on the disk of another, an older one put back, a changed one.
#[test]
fn the_disk_is_trusted_no_more_than_the_wire() {
    let control = Control::start();
    let mut boxes = ["box-1", "box-2"].map(|name| Appliance::enrolled(&control, name));
    boxes.iter_mut().for_each(Appliance::connect);
    let current = |appliance: &Appliance| appliance.dirs.data.join("bundle.current");
    let active = |revision: u64| {
        control.push(draft(revision, 100));
        for name in ["box-1", "box-2"] {
            control.memory.reported(name, |report| {
                *report == Report::BundleActive { revision: Revision(revision) }
            });
        }
    };
    active(1);
    let first = fs::read(current(&boxes[0])).unwrap();
    active(2);
    let second = fs::read(current(&boxes[0])).unwrap();
    let others = fs::read(current(&boxes[1])).unwrap();
    boxes.iter_mut().for_each(Appliance::halt);
    let appliance = &boxes[0];
    fs::remove_file(appliance.dirs.data.join("bundle.previous")).unwrap();
    for (bytes, why) in [(&first, "older"), (&others, "box-2"), (&second[..99].to_vec(), "cut")] {
        fs::write(current(appliance), bytes).unwrap();
        let refused = load_from_disk(&appliance.dirs).unwrap_err();
        assert!(matches!(&refused, LoadFault::Bundle(_)), "{refused}");
        assert!(refused.to_string().contains(why), "{refused}");
    }
    fs::remove_file(current(appliance)).unwrap();
    assert!(matches!(load_from_disk(&appliance.dirs), Err(LoadFault::Bundle(_))));
    fs::write(current(appliance), &second).unwrap();
    assert_eq!(load_from_disk(&appliance.dirs).unwrap().bundle.unwrap().revision, Revision(2));
    let kills = appliance.dirs.data.join("kills.current");
    fs::remove_file(kills).unwrap();
    assert!(matches!(load_from_disk(&appliance.dirs), Err(LoadFault::Kills(_))));
    let floor = appliance.dirs.floor.join("floor");
    let mut bytes = fs::read(&floor).unwrap();
    bytes[9] ^= 1;
    fs::write(&floor, bytes).unwrap();
    assert!(matches!(load_from_disk(&appliance.dirs), Err(LoadFault::Floor(_))));
}

/// Before a bundle is marked good, its predecessor may stand in for it; after that, not.
#[test]
fn the_previous_bundle_stands_in_until_the_current_one_is_good() {
    let control = Control::start();
    let mut appliance = Appliance::enrolled(&control, "box-1");
    appliance.connect_with(None, |config| config.good_after_ms = u64::MAX / 4);
    for revision in 1..=2 {
        control.push(draft(revision, 100));
        control.memory.reported("box-1", |report| {
            *report == Report::BundleActive { revision: Revision(revision) }
        });
    }
    appliance.halt();
    let current = appliance.dirs.data.join("bundle.current");
    let good = fs::read(&current).unwrap();
    fs::write(&current, b"torn").unwrap();
    let stored = load_from_disk(&appliance.dirs).unwrap();
    assert_eq!(stored.bundle.unwrap().revision, Revision(1));
    assert!(stored.warnings[0].contains("revision 1 is used instead"), "{:?}", stored.warnings);
    fs::write(&current, good).unwrap();
    appliance.connect();
    let until = Instant::now() + PATIENCE;
    let floor = appliance.dirs.floor.join("floor");
    let marked = || fs::read(&floor).is_ok_and(|bytes| bytes[8] == 2);
    while !marked() {
        assert!(Instant::now() < until);
        std::thread::yield_now();
    }
    appliance.halt();
    fs::write(&current, b"torn").unwrap();
    assert!(matches!(load_from_disk(&appliance.dirs), Err(LoadFault::Bundle(_))));
}

/// A process begins from what is on disk.
fn boot(dirs: &Dirs) -> dataplane_sync::Stored {
    let identity = dataplane_sync::load_identity(dirs).unwrap();
    dataplane_sync::boot_from_disk(identity, dirs).unwrap()
}

/// The process dies: nothing is told to stop. The next one begins.
fn die_and_boot(appliance: &mut Appliance) -> dataplane_sync::Stored {
    drop(appliance.channel.take());
    appliance.gateway = Arc::default();
    boot(&appliance.dirs)
}

fn revision_of(stored: &dataplane_sync::Stored) -> Option<u64> {
    stored.bundle.as_ref().map(|bundle| bundle.revision.0)
}

#[test]
fn a_box_goes_back_to_the_last_good_bundle_and_not_to_one_that_is_merely_older() {
    let control = Control::start();
    let mut appliance = Appliance::enrolled(&control, "box-1");
    let active = |appliance: &Appliance, revision: u64| {
        control.push(draft(revision, 100));
        appliance.gateway.active(revision);
        let active = Report::BundleActive { revision: Revision(revision) };
        control.memory.reported("box-1", |report| *report == active);
    };
    appliance.connect();
    active(&appliance, 1);
    let floor = appliance.dirs.floor.join("floor");
    let until = Instant::now() + PATIENCE;
    while !fs::read(&floor).is_ok_and(|bytes| bytes[8] == 1) {
        assert!(Instant::now() < until);
        std::thread::yield_now();
    }
    appliance.halt();
    let never = |config: &mut dataplane_sync::Config| config.good_after_ms = u64::MAX / 4;
    appliance.connect_with(None, never);
    active(&appliance, 2);
    active(&appliance, 3);
    assert_eq!(revision_of(&die_and_boot(&mut appliance)), Some(3));
    // It dies while the dataplane tries the next one: that one is to blame, and is on no disk.
    appliance.connect_with(None, never);
    appliance.gateway.set(|seen| seen.hold = true);
    control.push(draft(4, 100));
    appliance.gateway.wait_for("trying", |seen| seen.trying);
    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(&appliance.dirs.data).unwrap() {
        let file = file.unwrap();
        // What is just being written bears another name a moment later.
        let copied = fs::copy(file.path(), copy.path().join(file.file_name()));
        let gone = |fault: &std::io::Error| fault.kind() == std::io::ErrorKind::NotFound;
        assert!(copied.as_ref().err().is_none_or(gone), "{copied:?}");
    }
    let dead = Dirs::new(copy.path());
    appliance.gateway.set(|seen| seen.hold = false);
    let stored = boot(&dead);
    assert_eq!((revision_of(&stored), stored.backed_out), (Some(3), None), "4 has died, not 3");
    dataplane_sync::stopped_in_order(&dead);
    let stored = boot(&dead);
    assert_eq!((revision_of(&stored), stored.backed_out), (Some(3), None), "that was no death");
    let stored = boot(&dead);
    assert_eq!(revision_of(&stored), Some(1), "{:?}", stored.warnings);
    assert_eq!(stored.backed_out.unwrap().revision, Revision(3));
    assert!(copy.path().join("bundle.refused").exists());
    assert!(stored.warnings.iter().any(|one| one.contains("push a newer revision")));
    let again = boot(&dead);
    assert_eq!((revision_of(&again), again.backed_out), (Some(1), stored.backed_out));
}

#[test]
fn without_a_good_bundle_before_it_a_box_serves_nothing_rather_than_what_it_dies_by() {
    let control = Control::start();
    let mut appliance = Appliance::enrolled(&control, "box-1");
    let never = |config: &mut dataplane_sync::Config| config.good_after_ms = u64::MAX / 4;
    appliance.connect_with(None, never);
    let active = |revision| Report::BundleActive { revision: Revision(revision) };
    control.push(draft(1, 100));
    control.memory.reported("box-1", |report| *report == active(1));
    assert_eq!(revision_of(&die_and_boot(&mut appliance)), Some(1));
    let stored = die_and_boot(&mut appliance);
    assert_eq!((revision_of(&stored), stored.backed_out.unwrap().deaths), (None, 2));
    appliance.connect_with(None, never);
    control.memory.reported("box-1", |report| match report {
        Report::BundleRefused { revision: Revision(1), reason } => {
            reason.contains("backed out of revision 1: crashed")
        }
        _ => false,
    });
    control.push(draft(2, 100));
    control.memory.reported("box-1", |report| *report == active(2));
    assert!(appliance.gateway.seen.lock().unwrap().bundles.iter().all(|one| one.revision.0 == 2));
}

#[test]
fn a_box_that_was_never_enrolled_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let refused = load_from_disk(&Dirs::new(folder.path())).unwrap_err();
    assert!(refused.to_string().contains("Get a token"), "{refused}");
}

#[test]
fn a_kill_list_past_its_bounds_is_not_signed() {
    let control = Control::start();
    let rollout: &Rollout = &control.rollout;
    let mut list = kills(2);
    list.kills[0].reason = "a".repeat(10_000);
    assert!(rollout.set_kills(&list).is_err());
    assert!(KillList::default().seal(&signer(1)).is_ok());
}
