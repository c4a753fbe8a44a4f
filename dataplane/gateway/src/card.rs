//! The network card, as the ladder's machine speaks of it: targets become keys, tenants numbers.
//!
//! An address of ours is told to the card when the first connection to it is seen. A penalty needs one:
//! what does not go to the gateway is never dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use dataplane_bundle::Connections;
use dataplane_bundle::drops::{CardMode, CardPackets, CardState, Thinned};
use dataplane_drops::{Change, Pinned, Place, Subject, Target};
use dataplane_telemetry::{Nanos, Now};
use ebpf_loader::{
    Attribution, Card as Program, Fault, Fill, Flow, Mode, OBJECT, Owner, Penalty, Prefix,
    Protocol, Rate, Reason, Service, TENANTS_MAX, Tenant, Vlan, Wanted,
};

use crate::samples::{SAMPLES_PER_LOOK, Samples};

/// The program drops for so long after the last heartbeat; then everything passes.
const BEAT_NS: u64 = 1_000_000_000;

/// A card that is in use.
pub(crate) struct Card {
    program: Program,
    /// By name; the place is the number, from 1.
    tenants: Vec<Box<str>>,
    numbers: BTreeMap<Box<str>, u32>,
    services: BTreeSet<SocketAddr>,
    places: Vec<Place>,
    /// New connections that are bounded.
    bounds: Vec<Connections>,
    interface: String,
    mode: CardMode,
    program_sha256: [u8; 32],
    samples: Samples,
    /// Samples that found the ring full, as of the last look at the counters.
    samples_lost: u64,
}

impl Card {
    /// Loads the program, adopts what is pinned, and attaches to the interface. It is told of where we
    /// listen with the first places; an address that is any, by the first connection to it.
    pub(crate) fn open(
        interface: &str,
        pins: &Path,
        tenants: Vec<Box<str>>,
        listen: SocketAddr,
    ) -> Result<Self, Fault> {
        let (mut program, adopted) = Program::open(OBJECT, pins)?;
        let attached = program.attach(interface, Wanted::Best)?;
        match &attached.not_native {
            None => {
                tracing::info!(interface, mode = ?attached.mode, ?adopted, "the card's program")
            }
            Some(why) => tracing::warn!(
                interface, mode = ?attached.mode, ?adopted, why,
                "the card's program is not in the driver: drops are dearer"
            ),
        }
        let numbers = (1..).zip(&tenants).map(|(number, name)| (name.clone(), number)).collect();
        let shared = program.shared_services().into_iter().map(|service| service.at);
        let listen = Some(listen).filter(|at| !at.ip().is_unspecified());
        let services = shared.chain(listen).collect();
        let mut program_sha256 = [0; 32];
        program_sha256
            .copy_from_slice(ring::digest::digest(&ring::digest::SHA256, OBJECT).as_ref());
        Ok(Self {
            program,
            tenants,
            numbers,
            // Those of a process before this one: who was dropped at them is dropped on.
            services,
            places: Vec::new(),
            bounds: Vec::new(),
            interface: interface.to_owned(),
            mode: match attached.mode {
                Mode::Native => CardMode::Native,
                Mode::Generic => CardMode::Generic,
            },
            program_sha256,
            samples: Samples::default(),
            samples_lost: 0,
        })
    }

    /// Names of tenants in the order of their numbers, to be kept: counters go by number.
    pub(crate) fn tenants(&self) -> &[Box<str>] {
        &self.tenants
    }

    pub(crate) fn beat(&mut self, now: Nanos) -> Result<(), Fault> {
        self.program.beat(now.0.saturating_add(BEAT_NS))
    }

    /// What a process before this one has left at work.
    pub(crate) fn pinned(&self) -> Vec<Pinned> {
        let penalties = self.program.penalties().into_iter();
        let known = penalties.filter_map(|(key, penalty)| {
            let target = target_of(key, &penalty)?;
            Some(Pinned { target, until: Nanos(penalty.until_ns) })
        });
        known.collect()
    }

    /// What belongs to one tenant alone, by configuration.
    pub(crate) fn on_places(&mut self, places: Vec<Place>) -> Result<(), Fault> {
        self.places = places;
        self.configure()
    }

    /// How many new connections of a tenant pass; those of tenants that are not named all do.
    pub(crate) fn on_connections(&mut self, bounds: &[Connections]) -> Result<(), Fault> {
        let mut rates = BTreeMap::new();
        for bound in bounds {
            rates.insert(self.number(&bound.tenant)?, rate(bound));
        }
        self.bounds = bounds.to_vec();
        let before: Vec<Tenant> = self.program.limited().collect();
        for tenant in before.into_iter().filter(|tenant| !rates.contains_key(tenant)) {
            self.program.limit_connections(tenant, None)?;
        }
        rates
            .into_iter()
            .try_for_each(|(tenant, rate)| self.program.limit_connections(tenant, rate))
    }

    /// What was dropped: whose, why, how many packets. What was not is left out.
    pub(crate) fn dropped(&mut self) -> Vec<Dropped> {
        self.samples_lost = 0;
        let numbers = (1..).zip(&self.tenants);
        let all = numbers.filter_map(|(number, tenant)| {
            let drops = self.program.drops(Tenant(number)).ok()?;
            self.samples_lost += drops.samples_lost;
            Some(Reason::ALL.map(|reason| {
                let packets = drops.reasons.get(reason as usize).map_or(0, |count| count.packets);
                Dropped { tenant: tenant.clone(), reason, packets }
            }))
        });
        all.flatten().filter(|dropped| dropped.packets > 0).collect()
    }

    /// Takes up what was sampled since the last look.
    pub(crate) fn read_samples(&mut self) {
        let samples = &mut self.samples;
        self.program.samples(SAMPLES_PER_LOOK, |sample| samples.push(sample));
    }

    pub(crate) const fn samples_lost(&self) -> u64 {
        self.samples_lost
    }

    /// The newest dropped packets.
    pub(crate) fn packets(&self, now: Now) -> CardPackets {
        let name = |number: u32| {
            let place = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
            place.and_then(|place| self.tenants.get(place)).map(ToString::to_string)
        };
        CardPackets {
            interface: self.interface.clone(),
            one_in: self.program.sampled_one_in(),
            lost: self.samples_lost,
            packets: self.samples.told(now, |number| name(number).unwrap_or_default()),
        }
    }

    /// A connection came to this address of ours.
    pub(crate) fn on_local(&mut self, local: SocketAddr) -> Result<(), Fault> {
        if self.services.insert(local) { self.configure() } else { Ok(()) }
    }

    pub(crate) fn carry_out(&mut self, change: &Change) -> Result<(), Fault> {
        match change {
            Change::Add { target, until, subject } | Change::Extend { target, until, subject } => {
                if let Target::Flow(flow) = target {
                    self.on_local(flow.local)?;
                }
                let tenant = self.number(&subject.tenant)?;
                let penalty = Penalty {
                    tenant,
                    reason: reason(subject),
                    until_ns: until.0,
                    new_only: matches!(target, Target::Source(_)),
                };
                for key in keys(target) {
                    self.program.penalise(key, penalty)?;
                }
            }
            Change::Remove { target } => self.release(target)?,
        }
        Ok(())
    }

    pub(crate) fn release(&mut self, target: &Target) -> Result<(), Fault> {
        keys(target).into_iter().try_for_each(|key| self.program.release(&key).map(drop))
    }

    /// What people are shown of it.
    pub(crate) fn state(&self, dropped: &[Dropped]) -> CardState {
        let drops = dropped.iter().map(|dropped| dropped.packets).sum();
        let thinned = self.bounds.iter().map(|bound| {
            let mine = dropped.iter().filter(|dropped| {
                dropped.reason == Reason::Connections && *dropped.tenant == *bound.tenant
            });
            Thinned {
                tenant: bound.tenant.clone(),
                rate: bound.rate,
                burst: bound.burst,
                drops: mine.map(|dropped| dropped.packets).sum(),
            }
        });
        let fill = self.program.fill();
        let entries: usize = fill.iter().map(|fill| fill.penalised).sum();
        let max = |sum: u32, fill: &Fill| sum.saturating_add(fill.max);
        CardState {
            interface: self.interface.clone(),
            mode: self.mode,
            program_sha256: self.program_sha256,
            drops,
            entries: u32::try_from(entries).unwrap_or(u32::MAX),
            entries_max: fill.iter().fold(0, max),
            thinned: thinned.collect(),
        }
    }

    fn configure(&mut self) -> Result<(), Fault> {
        let mut wanted: BTreeMap<ebpf_loader::Target, Owner> = BTreeMap::new();
        for local in &self.services {
            for key in keys(&Target::Service(*local)) {
                wanted.insert(key, Owner::All);
            }
        }
        for place in self.places.clone() {
            let owner = Owner::One(self.number(&place.tenant)?);
            wanted.extend(keys(&place.target).into_iter().map(|key| (key, owner)));
        }
        let wanted: Vec<Attribution> =
            wanted.into_iter().map(|(target, owner)| Attribution { target, owner }).collect();
        self.program.configure(&wanted)
    }

    fn number(&mut self, tenant: &str) -> Result<Tenant, Fault> {
        if let Some(number) = self.numbers.get(tenant) {
            return Ok(Tenant(*number));
        }
        let number = u32::try_from(self.tenants.len()).unwrap_or(u32::MAX).saturating_add(1);
        if number >= TENANTS_MAX {
            return Err(Fault::NoSuchTenant(Tenant(number)));
        }
        self.tenants.push(tenant.into());
        self.numbers.insert(tenant.into(), number);
        Ok(Tenant(number))
    }
}

/// Packets of a tenant that the card has dropped for a reason.
#[derive(Clone, Debug)]
pub(crate) struct Dropped {
    pub tenant: Box<str>,
    pub reason: Reason,
    pub packets: u64,
}

impl Dropped {
    /// As metrics name it.
    pub(crate) const fn reason(&self) -> &'static str {
        match self.reason {
            Reason::Refusals => "refusals",
            Reason::Kill => "kill",
            Reason::Operator => "operator",
            Reason::Connections => "connections",
        }
    }
}

/// `None`, no bound, for a rate that nothing could be: it was refused before.
fn rate(bound: &Connections) -> Option<Rate> {
    let (units, burst) = (NonZeroU32::new(bound.rate.units)?, NonZeroU32::new(bound.burst)?);
    Some(Rate::new(units, Duration::from_millis(bound.rate.period_ms), burst))
}

fn reason(subject: &Subject) -> Reason {
    if subject.is_killed() { Reason::Kill } else { Reason::Refusals }
}

/// The card's keys of a target: a service is one for TCP and one for QUIC.
fn keys(target: &Target) -> Vec<ebpf_loader::Target> {
    use ebpf_loader::Target as Key;
    let prefix = |prefix: &dataplane_drops::Prefix| {
        Prefix::new(prefix.network(), prefix.bits()).map(Key::Source).into_iter().collect()
    };
    match target {
        Target::Flow(flow) => vec![Key::Flow(Flow {
            protocol: Protocol::Tcp,
            source: flow.peer,
            destination: flow.local,
        })],
        Target::Source(source) => prefix(source),
        Target::Prefix(found) => prefix(found),
        Target::Service(at) => [Protocol::Tcp, Protocol::Quic]
            .map(|protocol| Key::Service(Service { protocol, at: *at }))
            .to_vec(),
        Target::Vlan { outer, inner } => {
            let inner = (*inner != 0).then_some(*inner);
            Vlan::new(*outer, inner).map(Key::Vlan).into_iter().collect()
        }
    }
}

/// A key of the card as the machine knows it.
fn target_of(key: ebpf_loader::Target, penalty: &Penalty) -> Option<Target> {
    use ebpf_loader::Target as Key;
    Some(match key {
        Key::Flow(flow) => Target::Flow(dataplane_drops::Flow::new(flow.source, flow.destination)),
        Key::Source(prefix) => {
            let found = dataplane_drops::Prefix::new(prefix.address(), prefix.bits())?;
            if penalty.new_only { Target::Source(found) } else { Target::Prefix(found) }
        }
        Key::Service(service) => Target::Service(service.at),
        Key::Vlan(vlan) => {
            Target::Vlan { outer: vlan.outer(), inner: vlan.inner().unwrap_or_default() }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The card takes what the machine may name, and nothing is lost on the way there and back.
    #[test]
    fn a_prefix_is_the_same_to_the_card() {
        let mut known = 0;
        for network in ["10.0.0.0", "0.0.0.0", "2001:db8::", "2001:db8:0:1::", "::", "ff00::"] {
            for bits in 0..=128 {
                let network = network.parse().unwrap();
                let Some(prefix) = dataplane_drops::Prefix::new(network, bits) else { continue };
                let target = Target::Prefix(prefix);
                let [key] = keys(&target)[..] else { panic!("{prefix}: no key") };
                let penalty = Penalty {
                    tenant: Tenant(1),
                    reason: Reason::Kill,
                    until_ns: 1,
                    new_only: false,
                };
                assert_eq!(target_of(key, &penalty), Some(target), "{prefix}");
                known += 1;
            }
        }
        assert!(known > 100, "{known}: nothing was compared");
    }
}
