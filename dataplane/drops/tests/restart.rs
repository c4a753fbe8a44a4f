//! A restart of the gateway, and what an operator may do.

mod world;

use dataplane_drops::{
    Change, Drops, Kept, Keys, OperatorFault, PIN_MS_MAX, Per, Pinned, Place, Rung, Select, Target,
    What, Why,
};
use dataplane_telemetry::Nanos;
use world::{ANN, BOB, MS, World, ZOE, flow, rule};

/// The card's entries, as the changes so far have made them.
fn card(world: &World) -> Vec<Pinned> {
    let mut card: Vec<Pinned> = Vec::new();
    for change in &world.changes {
        match change {
            Change::Add { target, until, .. } | Change::Extend { target, until, .. } => {
                card.retain(|known| known.target != *target);
                card.push(Pinned { target: *target, until: *until });
            }
            Change::Remove { target } => card.retain(|known| known.target != *target),
        }
    }
    card
}

const HOME: &str = "192.0.2.3";

/// Two dropped subjects: an agent with two connections, and a tenant with three, an address and a
/// VLAN.
fn dropped() -> World {
    let mut world = World::new();
    let vlan = Place { target: VLAN, tenant: "zeta".to_owned() };
    world.drops.on_places(&[vlan], world.now).unwrap();
    world.seen(ZOE, flow(HOME, 1));
    world.wait(10_000);
    let agent = world.subject(ANN, Per::Agent, rule());
    world.climb(&agent, ANN, flow("192.0.2.1", 1), Rung::Drop);
    world.refused(&agent, BOB, flow("192.0.2.2", 2), 1_000);
    let tenant = world.subject(ZOE, Per::Tenant, rule());
    world.climb(&tenant, ZOE, flow(HOME, 1), Rung::Drop);
    world.refused(&tenant, ZOE, flow(HOME, 2), 1_000);
    world.refused(&tenant, ZOE, flow(HOME, 3), 1_000);
    assert_eq!(world.dropped().len(), 7);
    world
}

const VLAN: Target = Target::Vlan { outer: 7, inner: 0 };

/// The same box after a restart: a new key, and what was kept in a file.
fn restarted(before: &World, boot: &str, edit: impl Fn(&mut Kept)) -> (World, usize) {
    let written = serde_json::to_string(&before.drops.keep("b1", before.now.mono)).unwrap();
    let mut kept: Kept = serde_json::from_str(&written).unwrap();
    edit(&mut kept);
    let mut world = World::new();
    world.keys = Keys::new(*b"another process'");
    world.drops = Drops::new(world::settings(), world.keys).unwrap();
    world.now = before.now;
    let stale = world.drops.adopt(&card(before), &kept, boot, world.now);
    world.fetch();
    (world, stale.len())
}

/// Until when Ann's agent is dropped, by this process' key.
fn until(world: &World) -> Nanos {
    let standing = world.standing(&world.subject(ANN, Per::Agent, rule()));
    assert_eq!(standing.rung, Rung::Drop);
    standing.until
}

#[test]
fn what_is_pinned_and_known_goes_on_and_its_subject_stays_refused() {
    let before = dropped();
    let (mut world, stale) = restarted(&before, "b1", |_| ());
    assert_eq!(stale, 5, "connections have ended with the process");
    assert_eq!(world.dropped(), ["everything of VLAN 7", "new connections from 192.0.2.3"]);
    assert!(world.changes.is_empty(), "the card has them already");
    assert!(world.events.iter().all(|event| event.what == What::Adopted));
    // Who had nothing but connections is refused all the same, and dropped where it comes back.
    let agent = world.subject(ANN, Per::Agent, rule());
    assert_eq!(world.standing(&agent).until, until(&before));
    assert_eq!(world.refused(&agent, ANN, flow("192.0.2.1", 9), 1_000), Rung::Drop);
    assert_eq!(world.dropped().len(), 3);
    // A neighbour behind the address shows that it is shared; the VLAN is another's now.
    world.seen(ANN, flow(HOME, 9));
    world.drops.on_places(&[], world.now).unwrap();
    assert_eq!(world.dropped().len(), 1);
    // The next one is longer, as if nothing had happened, and has a number of its own.
    world.wait(1_000);
    assert!(world.dropped().is_empty());
    world.climb(&agent, ANN, flow("192.0.2.1", 1), Rung::Drop);
    assert_eq!(world.standing(&agent).wait_ms(world.now.mono), 2_000);
    assert_eq!(world.drops.list(&Select::All, world.now)[0].drop, 3);
}

#[test]
fn what_is_stale_unknown_or_too_long_is_flushed() {
    let before = dropped();
    let stale = |boot, edit: fn(&mut Kept)| {
        let (world, stale) = restarted(&before, boot, edit);
        assert_eq!(world.dropped().len() + stale, 7);
        stale
    };
    assert_eq!(stale("b2", |_| ()), 7, "another boot");
    assert_eq!(stale("b1", |kept| kept.entries.retain(|entry| entry.target != VLAN)), 6);
    assert_eq!(stale("b1", |kept| kept.subjects.clear()), 7);
    let longer: fn(&mut Kept) = |kept| {
        kept.subjects.iter_mut().for_each(|subject| subject.until_mono += 5_000 * MS);
    };
    assert_eq!(stale("b1", longer), 7, "longer than the rule's cap");
    let shorter: fn(&mut Kept) = |kept| {
        kept.subjects.iter_mut().for_each(|subject| subject.until_mono -= MS);
    };
    assert_eq!(stale("b1", shorter), 7, "an entry that would outlive the refusal");
    let mute: fn(&mut Kept) = |kept| {
        kept.subjects.iter_mut().for_each(|subject| subject.rule.drop = None);
    };
    assert_eq!(stale("b1", mute), 7);
    let mut late = dropped();
    late.now.mono = Nanos(late.now.mono.0 + 60_000 * MS);
    let (world, stale) = restarted(&late, "b1", |_| ());
    assert_eq!((world.dropped().len(), stale), (0, 7), "over");
}

#[test]
fn a_release_ends_all_of_a_subject_and_begins_at_the_bottom() {
    let mut world = dropped();
    let agent = world.subject(ANN, Per::Agent, rule());
    let listed = world.drops.list(&Select::Tenant("acme"), world.now);
    assert_eq!(listed.len(), 2);
    let drop = listed[0].drop;
    assert_eq!(world.drops.release_by(&Select::Drop(drop), "olga", world.now), Ok(1));
    world.fetch();
    assert_eq!(world.dropped().len(), 5);
    let last = world.events.last().unwrap();
    assert_eq!((last.what, &last.why), (What::Released, &Why::Operator("olga".into())));
    assert_eq!(world.standing(&agent).rung, Rung::Tell);
    let again = world.drops.release_by(&Select::Drop(drop), "olga", world.now);
    assert_eq!(again, Err(OperatorFault::NoDrop(drop)));
    world.climb(&agent, ANN, flow("192.0.2.1", 1), Rung::Drop);
    assert_eq!(world.standing(&agent).wait_ms(world.now.mono), 1_000, "forgotten");
    assert_eq!(world.drops.release_by(&Select::All, "olga", world.now), Ok(2));
    assert!(world.dropped().is_empty());
}

#[test]
fn one_past_the_time_that_an_operator_may_hold_a_drop() {
    let mut world = dropped();
    let agent = world.subject(ANN, Per::Agent, rule());
    let drop = world.drops.list(&Select::Tenant("acme"), world.now)[0].drop;
    let too_long = world.drops.pin(drop, PIN_MS_MAX + 1, "olga", world.now);
    assert_eq!(too_long, Err(OperatorFault::TooLong { found_ms: PIN_MS_MAX + 1 }));
    assert_eq!(world.drops.pin(99, 1, "olga", world.now), Err(OperatorFault::NoDrop(99)));
    assert_eq!(world.drops.pin(drop, PIN_MS_MAX, "olga", world.now), Ok(2));
    world.fetch();
    world.wait(PIN_MS_MAX - 1);
    assert_eq!(world.dropped().len(), 2, "the tenant's has ended in its time");
    assert_eq!(world.standing(&agent).rung, Rung::Drop);
    // A restart keeps it.
    let (after, stale) = restarted(&world, "b1", |_| ());
    assert_eq!((until(&after), stale), (until(&world), 2));
    world.wait(1);
    assert!(world.dropped().is_empty());
    assert_eq!(world.drops.pin(drop, 1, "olga", world.now), Err(OperatorFault::NoDrop(drop)));
}

#[test]
fn each_entry_is_explained_in_a_sentence() {
    let mut world = dropped();
    let agent = world.subject(ANN, Per::Agent, rule());
    let drop = world.drops.list(&Select::Tenant("acme"), world.now)[0].drop;
    world.drops.pin(drop, 90_000, "olga", world.now).unwrap();
    let address = "192.0.2.1".parse().unwrap();
    let explained = world.drops.explain(address, world.now);
    assert_eq!(
        explained.entries[0].sentence,
        "The card drops the connection 192.0.2.1:1 to 198.51.100.1:443: agent bot of tenant acme went \
         on calling before the time that quota agents had told. olga holds it. It ends by itself in \
         90 s; `portcullis drops release --drop 1` ends it now."
    );
    assert_eq!(
        explained.sentence,
        "One entry drops packets of 192.0.2.1; as for the address, it is not known for long enough, so \
         it is not dropped whole."
    );
    let written = serde_json::to_value(&explained).unwrap();
    assert_eq!(written["entries"][0]["cause"]["quota"], "agents");
    assert_eq!(world.standing(&agent).wait_ms(world.now.mono), 90_000);
}
