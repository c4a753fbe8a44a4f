//! Properties that the fuzz targets check.
//!
//! Bytes are read as operations on a small world: callers of three tenants behind a few addresses,
//! some of them shared, rules that drop, an operator, restarts. A plain list of who was seen where
//! says what may be dropped; the changes are carried out on a plain list that stands for the card.
//! And bytes are read as a packet that was dropped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use dataplane_telemetry::{Nanos, Now, WallNanos};

use crate::packet::Headers;
use crate::{
    Attribution, Cause, Change, DropRule, Drops, Flow, Keys, LadderRule, Listed, Names, Owner,
    PIN_MS_MAX, Per, Pinned, Place, Prefix, Refusal, Rung, Select, Settings, Standings, Subject,
    Target, What, Why,
};

const MS: u64 = 1_000_000;
const BYTES_AN_OPERATION: usize = 6;
/// Who there is: tenant, user, agent.
const PEOPLE: [(&str, Option<&str>, Option<&str>); 6] = [
    ("acme", Some("ann"), None),
    ("acme", Some("ann"), Some("bot")),
    ("acme", Some("bob"), Some("bot")),
    ("zeta", Some("ann"), None),
    ("zeta", None, Some("bot")),
    ("kilo", None, None),
];

/// Whatever is heard in whatever order: nobody is dropped for a neighbour, every entry is the
/// dataplane's own refusal, within its cap, on record, and ends by itself.
///
/// # Panics
/// Where the property does not hold.
pub fn operations(bytes: &[u8]) {
    let _ = play(bytes);
}

/// Bytes as a packet: reading ends within them, and what is kept of them says the same.
///
/// # Panics
/// Where the property does not hold.
pub fn packet(bytes: &[u8]) {
    let headers = Headers::read(bytes);
    let kept = bytes.get(..headers.bytes);
    assert!(kept.is_some_and(|kept| Headers::read(kept) == headers), "{headers:?} of {bytes:?}");
    assert!(headers.says.is_none() || headers.ports.is_some(), "{headers:?}");
    assert!(headers.ports.is_none() || headers.protocol.is_some(), "{headers:?}");
    assert!(headers.protocol.is_none() || headers.addresses.is_some(), "{headers:?}");
}

/// A seed: a tenant that ignores its refusals until its address is dropped, over a restart.
#[must_use]
pub fn sound_loop() -> Vec<u8> {
    let known = [150, 0, 0, 0, 0, 0];
    let long_enough = [250, 0, 0, 210, 0, 0];
    let ignored = |port: u8| [0, 0, port * 5, 80, 0, 240];
    let restart = [247, 0, 0, 0, 0, 0];
    let story = [known, long_enough, ignored(0), ignored(0), ignored(0), ignored(0), ignored(0)];
    let rest = [ignored(0), ignored(1), ignored(2), restart, ignored(1), long_enough];
    story.into_iter().chain(rest).flatten().collect()
}

fn play(bytes: &[u8]) -> Reached {
    let Some(mut play) = Play::new() else { return Reached::default() };
    for operation in bytes.chunks_exact(BYTES_AN_OPERATION) {
        if let [kind, who, place, time, more, rest] = *operation {
            play.wait(time);
            play.act(kind, usize::from(who), place, more, rest);
            play.check();
        }
    }
    play.end();
    play.reached
}

/// What a play came to: a world in which nothing happens proves nothing.
#[derive(Debug, Default)]
struct Reached {
    flows: u64,
    sources: u64,
    configured: u64,
    extended: u64,
    expired: u64,
    adopted: u64,
    /// By whom entries were ended before their time: see [`Why`].
    released: [u64; 6],
}

struct Play {
    reached: Reached,
    keys: Keys,
    drops: Drops,
    standings: Standings,
    now: Now,
    people: Vec<Person>,
    /// Who has used each connection that is open.
    open: Vec<(Flow, Owner, Vec<usize>)>,
    /// Who was where, since the last restart: nobody is somebody without a credential.
    seen: Vec<(Prefix, Option<usize>, Nanos)>,
    card: Vec<(Target, Nanos)>,
    /// Entries whose making is on record, and whose end is not.
    recorded: usize,
}

struct Person {
    owner: Owner,
    subjects: Vec<Arc<Subject>>,
    killed: Arc<Subject>,
}

fn settings() -> Settings {
    let attribution = Attribution {
        certain_after_ms: 1_000,
        unauthenticated_ms: 5_000,
        ..Attribution::default()
    };
    Settings {
        attribution,
        subjects_max: 16,
        told_max: 16,
        flows_max: 8,
        sources_max: 4,
        entries_max: 12,
    }
}

fn rule() -> LadderRule {
    let drop = DropRule {
        ignored_refusals: 2,
        drop_ms_first: 100,
        drop_growth_percent: 300,
        drop_ms_max: 2_000,
        flows_before_source: 1,
    };
    let (window_ms, grace_ms, calm_ms) = (1_000, 10, 1_000);
    let rule =
        LadderRule { ignored_refusals: 2, window_ms, grace_ms, calm_ms, ..LadderRule::default() };
    LadderRule { drop: Some(drop), ..rule }
}

impl Play {
    fn new() -> Option<Self> {
        let keys = Keys::new(*b"any process' key");
        let rule = rule().check(true).ok()?;
        let person = |(tenant, user, agent)| -> Option<Person> {
            let names = Names { tenant, user, agent };
            let subject = |cause, per| keys.subject(cause, per, names, rule).map(Arc::new);
            let quota = |per| subject(Cause::Quota(format!("{per:?}").into()), per);
            let subjects = Per::ALL.into_iter().filter_map(quota).collect();
            let killed = subject(Cause::Kill("k".into()), Per::Tenant)?;
            Some(Person { owner: keys.owner(names), subjects, killed })
        };
        Some(Self {
            reached: Reached::default(),
            keys,
            drops: Drops::new(settings(), keys).ok()?,
            standings: Standings::new(keys),
            now: Now { mono: Nanos(1), wall: WallNanos(1 << 60) },
            people: PEOPLE.into_iter().map(person).collect::<Option<Vec<_>>>()?,
            open: Vec::new(),
            seen: Vec::new(),
            card: Vec::new(),
            recorded: 0,
        })
    }

    /// Mostly a little, sometimes a day.
    fn wait(&mut self, time: u8) {
        let wait_ms = match time {
            0..=199 => u64::from(time) / 4,
            200..=251 => (u64::from(time) - 199) * 100,
            252..=254 => 60_000,
            255 => 25 * 3_600_000,
        };
        self.now.mono = self.now.mono.plus(wait_ms * MS);
        self.now.wall = WallNanos(self.now.wall.0.saturating_add(wait_ms * MS));
    }

    fn act(&mut self, kind: u8, who: usize, place: u8, more: u8, rest: u8) {
        let (now, flow) = (self.now, flow(place));
        let who = who % PEOPLE.len();
        match kind {
            0..=149 => self.refused(who, flow, more, rest),
            150..=199 => {
                let Some(owner) = self.used(who, flow) else { return };
                let Some(person) = self.people.get(who) else { return };
                self.drops.on_authenticated(&flow, &owner, &person.owner, now);
            }
            200..=209 => {
                self.drops.on_unauthenticated(flow.peer.ip(), now);
                self.seen.push((flow.source(), None, now.mono));
            }
            210..=229 => {
                self.open.retain(|(open, ..)| *open != flow);
                self.drops.on_flow_closed(&flow, now);
            }
            230..=233 => {
                let Some(person) = self.people.get(who) else { return };
                self.drops.on_kill(&Arc::clone(&person.killed), now);
            }
            234..=236 => self.drops.on_causes(|cause| !matches!(cause, Cause::Kill(_)), now),
            237..=239 => self.pin(more, rest),
            240..=242 => {
                let address = Select::Address(flow.peer.ip());
                let select = if more < 128 { Select::Drop(u64::from(rest)) } else { address };
                let _ = self.drops.release_by(&select, "ops", now);
            }
            243..=246 => self.configure(more),
            247..=248 => self.restart(more),
            _ => self.drops.on_timer(now),
        }
    }

    fn refused(&mut self, who: usize, flow: Flow, more: u8, rest: u8) {
        let Some(flow_owner) = self.used(who, flow) else { return };
        let Some(person) = self.people.get(who) else { return };
        let chosen = person.subjects.get(usize::from(more) % (person.subjects.len() + 1));
        let subject = Arc::clone(chosen.unwrap_or(&person.killed));
        let wait_ms = if rest < 200 { u64::from(rest) } else { 5_000 };
        // Some are heard late.
        let at = Nanos(self.now.mono.0.saturating_sub(u64::from(more & 3) * 20 * MS));
        let told_until = at.plus(wait_ms * MS);
        let caller = person.owner;
        let refusal = Refusal { subject, caller, flow_owner, flow, at, told_until };
        self.drops.on_refused(&refusal, self.now);
    }

    /// Somebody uses a connection: what everybody on it has in common.
    fn used(&mut self, who: usize, flow: Flow) -> Option<Owner> {
        let caller = self.people.get(who)?.owner;
        self.seen.push((flow.source(), Some(who), self.now.mono));
        if let Some((_, owner, users)) = self.open.iter_mut().find(|(open, ..)| *open == flow) {
            *owner = owner.and(caller);
            users.push(who);
            return Some(*owner);
        }
        self.open.push((flow, caller, vec![who]));
        Some(caller)
    }

    fn pin(&mut self, more: u8, rest: u8) {
        let newest = self.drops.list(&Select::All, self.now).first().map_or(0, |entry| entry.drop);
        let drop = if more < 200 { newest } else { u64::from(more) };
        let _ = self.drops.pin(drop, u64::from(rest) * 50, "ops", self.now);
    }

    fn configure(&mut self, more: u8) {
        let place = |target, tenant: &str| Place { target, tenant: tenant.to_owned() };
        let network = |third| Prefix::new(IpAddr::V4(Ipv4Addr::new(10, 0, third, 0)), 24);
        let mut places = vec![place(Target::Vlan { outer: 7, inner: 0 }, "acme")];
        places.push(place(Target::Service(local(more)), "zeta"));
        places.extend(network(more & 1).map(|prefix| place(Target::Prefix(prefix), "acme")));
        assert!(self.drops.on_places(&places, self.now).is_ok());
    }

    fn restart(&mut self, more: u8) {
        self.carry_out();
        let kept = self.drops.keep("boot", self.now.mono);
        let Ok(mut drops) = Drops::new(settings(), self.keys) else { return };
        let boot = if more < 200 { "boot" } else { "another" };
        let pinned = |(target, until): &(Target, Nanos)| Pinned { target: *target, until: *until };
        let pinned: Vec<Pinned> = self.card.iter().map(pinned).collect();
        let stale = drops.adopt(&pinned, &kept, boot, self.now);
        self.card.retain(|(target, _)| !stale.contains(target));
        // The connections have ended with the process; who was where is not known any more.
        self.open.clear();
        self.seen.clear();
        self.recorded = 0;
        self.drops = drops;
    }

    fn carry_out(&mut self) {
        while let Some(change) = self.drops.poll_change() {
            let is_there = |target: &Target, card: &[(Target, Nanos)]| {
                card.iter().any(|(known, _)| known == target)
            };
            match change {
                Change::Add { target, until, .. } => {
                    assert!(!is_there(&target, &self.card), "{target} added twice");
                    self.card.push((target, until));
                }
                Change::Extend { target, until, .. } => {
                    let known = self.card.iter_mut().find(|(known, _)| *known == target);
                    let is_longer =
                        known.is_some_and(|(_, old)| std::mem::replace(old, until) < until);
                    assert!(is_longer, "{target} extended to less, or not there");
                }
                Change::Remove { target } => {
                    assert!(is_there(&target, &self.card), "{target} removed twice");
                    self.card.retain(|(known, _)| *known != target);
                }
            }
        }
        while let Some(event) = self.drops.poll_event() {
            let reached = &mut self.reached;
            match event.what {
                What::Made | What::Adopted => self.recorded += 1,
                What::Released | What::Expired => self.recorded -= 1,
                What::Extended | What::Slowed => {}
            }
            let kind = match event.target {
                Some(Target::Flow(_)) => &mut reached.flows,
                Some(Target::Source(_)) => &mut reached.sources,
                Some(Target::Prefix(_) | Target::Service(_) | Target::Vlan { .. }) => {
                    &mut reached.configured
                }
                None => continue,
            };
            match (event.what, event.why) {
                (What::Made, _) => *kind += 1,
                (What::Adopted, _) => reached.adopted += 1,
                (What::Extended, _) => reached.extended += 1,
                (What::Expired, _) => reached.expired += 1,
                (What::Released, Why::Ladder) => reached.released[0] += 1,
                (What::Released, Why::Operator(_)) => reached.released[1] += 1,
                (What::Released, Why::Closed) => reached.released[2] += 1,
                (What::Released, Why::Shared) => reached.released[3] += 1,
                (What::Released, Why::Configuration) => reached.released[4] += 1,
                (What::Released, Why::Restart) => reached.released[5] += 1,
                (What::Slowed, _) => {}
            }
        }
    }

    fn check(&mut self) {
        self.carry_out();
        let now = self.now;
        let listed = self.drops.list(&Select::All, now);
        let live = |(_, until): &&(Target, Nanos)| *until > now.mono;
        assert_eq!(self.card.iter().filter(live).count(), listed.len(), "the card and the list");
        assert_eq!(self.card.len(), self.recorded, "the card and the records");
        self.drops.write_standings(&mut self.standings, now.mono);
        for entry in &listed {
            self.check_entry(entry);
        }
        let fill = self.drops.fill();
        assert!(fill.entries <= 12 && fill.flows <= 8 && fill.sources <= 8, "{fill:?}");
        assert!(fill.subjects <= 32 && fill.told <= 16, "{fill:?}");
    }

    fn check_entry(&self, entry: &Listed) {
        let Some((_, until)) = self.card.iter().find(|(target, _)| *target == entry.target) else {
            assert!(self.card.is_empty() && entry.drop == u64::MAX, "not at the card: {entry:?}");
            return;
        };
        let cap_ms = if entry.pinned_by.is_some() { PIN_MS_MAX } else { 2_000 };
        assert!(until.since(self.now.mono) <= cap_ms * MS, "longer than its cap: {entry:?}");
        let all =
            self.people.iter().flat_map(|person| person.subjects.iter().chain([&person.killed]));
        let subject = all.into_iter().find(|subject| is_of(entry, subject));
        let Some(subject) = subject else {
            assert!(self.people.is_empty(), "nobody's: {entry:?}");
            return;
        };
        let standing = self.standings.of(subject, self.now.mono);
        assert!(standing.rung == Rung::Drop && standing.until >= *until, "allowed: {entry:?}");
        let owns = |who: &usize| self.people.get(*who).is_some_and(|one| one.owner.is_of(subject));
        match &entry.target {
            Target::Flow(flow) => {
                let users = self.open.iter().find(|(open, ..)| open == flow);
                let own = users.is_some_and(|(_, _, users)| users.iter().all(owns));
                assert!(own, "a neighbour's connection: {entry:?}");
            }
            Target::Source(source) => self.check_source(source, owns, entry),
            Target::Prefix(_) | Target::Service(_) | Target::Vlan { .. } => {
                assert_eq!(entry.per, Per::Tenant, "a place of all: {entry:?}");
                assert!(entry.tenant == "acme" || entry.tenant == "zeta", "{entry:?}");
            }
        }
    }

    fn check_source(&self, source: &Prefix, owns: impl Fn(&usize) -> bool, entry: &Listed) {
        let settings = settings();
        for (place, who, at) in &self.seen {
            let age_ms = self.now.mono.since(*at) / MS;
            if place != source {
                continue;
            }
            match who {
                Some(who) if age_ms < settings.attribution.memory_ms => {
                    assert!(owns(who), "a neighbour's address: {entry:?}");
                }
                None => assert!(
                    age_ms >= settings.attribution.unauthenticated_ms,
                    "a stranger's: {entry:?}"
                ),
                Some(_) => {}
            }
        }
    }

    /// Everything ends by itself, and is forgotten.
    fn end(&mut self) {
        let all_ns = (PIN_MS_MAX + 1_000) * MS;
        self.now.mono = self.now.mono.plus(all_ns);
        self.drops.on_timer(self.now);
        self.check();
        assert!(self.card.is_empty(), "{:?} does not end", self.card);
        for _ in 0..130 {
            self.now.mono = self.now.mono.plus(2_000 * MS);
            self.drops.on_timer(self.now);
        }
        self.drops.write_standings(&mut self.standings, self.now.mono);
        assert!(self.standings.is_empty(), "{:?}", self.standings);
        let fill = self.drops.fill();
        assert_eq!((fill.subjects, fill.told, fill.entries), (0, 0, 0), "{fill:?}");
    }
}

fn is_of(entry: &Listed, subject: &Subject) -> bool {
    let names = (entry.tenant.as_str(), entry.user.as_deref(), entry.agent.as_deref());
    let its = (&*subject.tenant, subject.user.as_deref(), subject.agent.as_deref());
    names == its && entry.per == subject.per && entry.cause == subject.cause
}

/// Five addresses in four sources, three ports, two services.
fn flow(place: u8) -> Flow {
    let address = match place % 5 {
        0 => IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
        1 => IpAddr::V4(Ipv4Addr::new(10, 0, 1, 1)),
        2 => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        3 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        _ => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 9, 9, 9, 9)),
    };
    let port = 50_000 + u16::from(place / 5 % 3);
    Flow::new(SocketAddr::new(address, port), local(place / 15))
}

fn local(number: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), 443 + u16::from(number & 1))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_seed_is_a_story() {
        let reached = super::play(&super::sound_loop());
        let found = (reached.flows > 1, reached.sources, reached.adopted);
        assert_eq!(found, (true, 1, 1), "{reached:?}");
    }

    /// Without it the properties could hold because nothing is ever dropped.
    #[test]
    fn the_world_gets_to_everything() {
        let mut state = 7_u64;
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .take(6 * 100_000)
        .collect();
        let reached = super::play(&bytes);
        let all = [reached.flows, reached.sources, reached.configured, reached.extended];
        assert!(all.iter().all(|count| *count > 20), "{reached:?}");
        assert!(reached.expired > 20 && reached.adopted > 20, "{reached:?}");
        assert!(reached.released[1..5].iter().all(|count| *count > 20), "{reached:?}");
    }
}
