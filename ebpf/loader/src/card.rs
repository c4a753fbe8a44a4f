//! The card: the loaded program and everything that it is told.
//!
//! A change goes to the kernel's table first and to the word that makes the program look there
//! second, so that nothing is looked up in vain on a day without penalties.

use std::path::Path;

use aya::programs::Xdp;
use aya::programs::xdp::XdpLinkId;
use aya::{Ebpf, EbpfLoader, TestRun as _, TestRunOptions};
use ebpf_abi as abi;
use ebpf_abi::{ABI_VERSION, Config, Drops, NO_TENANT, SynBucket, TENANTS_MAX};

use crate::maps::{Maps, NAMES};
use crate::object::Stamp;
use crate::pins::Pins;
use crate::{
    Attached, Fault, Flow, Owner, Penalty, Prefix, Sample, Service, Target, Tenant, Vlan, Wanted,
    attach,
};

/// The program that drops, and the empty one that costs are compared with.
const PROGRAM: &str = "portcullis";
const FLOOR: &str = "floor";

/// One drop in 1,024 is sampled, and the first of each tenant and reason: at ten million a second
/// that is a hundredth of what the ring's reader can take.
const SAMPLE_MASK: u32 = 1_023;

/// The loaded program.
pub struct Card {
    ebpf: Ebpf,
    maps: Maps,
    config: Config,
    /// Tenants whose new connections are bounded.
    limited: std::collections::BTreeSet<Tenant>,
    stamp: Stamp,
    pins: Option<Pins>,
    attached: Option<(Attached, XdpLinkId)>,
}

/// What was there from before.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Adopted {
    /// Penalties that go on.
    pub penalties: usize,
    /// Penalties that had ended meanwhile, and entries that no version of ours writes.
    pub ended: usize,
    /// Folders of other ABI versions, and maps of another shape: removed.
    pub flushed: usize,
}

/// To whom a service, source or VLAN belongs, as configured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Attribution {
    /// No flow.
    pub target: Target,
    /// [`Owner::All`] only for a service.
    pub owner: Owner,
}

/// New connections of one tenant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    pub per_second: std::num::NonZeroU32,
    /// At once, after a pause.
    pub burst: std::num::NonZeroU32,
}

/// How full a table is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fill {
    pub table: &'static str,
    pub entries: usize,
    /// Of them, those that drop.
    pub penalised: usize,
    pub max: u32,
}

/// What `portcullis status` shows of the card.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Status {
    pub attached: Option<Attached>,
    /// The kernel's hash of the program's instructions.
    pub tag: u64,
    pub stamp: Stamp,
    /// Instructions that the kernel's verifier went through.
    pub verified: Option<u32>,
    /// Bytes of machine code.
    pub machine_bytes: u32,
    pub fill: Vec<Fill>,
    /// Past it everything passes.
    pub alive_until_ns: u64,
}

/// A program of the object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Program {
    Drop,
    /// Passes, and nothing else.
    Floor,
}

/// What the kernel's test run of a program came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Run {
    /// The packet would go on to the stack.
    pub passes: bool,
    /// Mean of the repetitions.
    pub ns: u64,
}

impl Card {
    /// Loads an object for this process alone: what it holds ends with it.
    ///
    /// # Errors
    /// When the object is of another ABI or incomplete, or the kernel does not take it.
    pub fn load(object: &[u8]) -> Result<Self, Fault> {
        Self::new(object, None)
    }

    /// Loads an object whose maps outlive the process below `pins`, and adopts what is there.
    ///
    /// # Errors
    /// As [`Self::load`]; and when `pins` is not on a bpf file system.
    pub fn open(object: &[u8], pins: &Path) -> Result<(Self, Adopted), Fault> {
        let stamp = Stamp::of(object)?;
        same_abi(&stamp)?;
        let (pins, stale) = Pins::prepare(pins)?;
        let mut adopted = Adopted { flushed: stale, ..Adopted::default() };
        let mut card = match Self::new(object, Some(&pins)) {
            Ok(card) => card,
            Err(fault @ Fault::NotPermitted { .. }) => return Err(fault),
            // Pinned maps of another shape under our version: nobody can read them.
            Err(_) => {
                pins.forget_maps();
                adopted.flushed += 1;
                Self::new(object, Some(&pins))?
            }
        };
        adopted.ended = card.forget_unreadable()? + card.expire(crate::now_ns())?.len();
        adopted.penalties = card.penalties().len();
        card.pins = Some(pins);
        Ok((card, adopted))
    }

    fn new(object: &[u8], pins: Option<&Pins>) -> Result<Self, Fault> {
        let stamp = Stamp::of(object)?;
        same_abi(&stamp)?;
        let mut loader = EbpfLoader::new();
        for name in NAMES {
            if let Some(pins) = pins {
                loader.map_pin_path(name, pins.map(name));
            }
        }
        let mut ebpf = loader.load(object).map_err(|why| Fault::kernel("load the maps", &why))?;
        for (name, missing) in [(PROGRAM, "program"), (FLOOR, "floor")] {
            let program = xdp(&mut ebpf, name).ok_or(Fault::Incomplete(missing))?;
            program.load().map_err(|why| Fault::kernel("load the program", &why))?;
        }
        let maps = Maps::take(&mut ebpf)?;
        let mut card = Self {
            ebpf,
            maps,
            config: Config::default(),
            limited: std::collections::BTreeSet::new(),
            stamp,
            pins: None,
            attached: None,
        };
        card.adopt_config()?;
        Ok(card)
    }

    /// Attaches to an interface. A pinned link of another process is taken over, without a gap.
    ///
    /// # Errors
    /// When there is no such interface, or it takes neither kind.
    pub fn attach(&mut self, interface: &str, wanted: Wanted) -> Result<Attached, Fault> {
        let program = xdp(&mut self.ebpf, PROGRAM).ok_or(Fault::Incomplete("program"))?;
        let (attached, link) = attach::attach(program, interface, wanted, self.pins.as_ref())?;
        self.attached = Some((attached.clone(), link));
        Ok(attached)
    }

    /// Detaches, and removes every pin. Without it, what is pinned stays at work.
    ///
    /// # Errors
    /// When a pin cannot be removed.
    pub fn detach(mut self) -> Result<(), Fault> {
        if let Some(pins) = self.pins.take() {
            pins.remove()?;
        }
        if let Some((_, link)) = self.attached.take()
            && let Some(program) = xdp(&mut self.ebpf, PROGRAM)
        {
            program.detach(link).map_err(|why| Fault::kernel("detach", &why))?;
        }
        Ok(())
    }

    /// Makes these the configured services, sources and VLANs: what was configured before and is not
    /// among them is removed, penalties with it.
    ///
    /// # Errors
    /// When one of them cannot be attributed so, or a table is full; those before it are in.
    pub fn configure(&mut self, wanted: &[Attribution]) -> Result<(), Fault> {
        for Attribution { target, owner } in wanted {
            let tenant = match (target, owner) {
                (Target::Service(_), Owner::All) => NO_TENANT,
                (Target::Flow(_), _) | (_, Owner::All) => {
                    return Err(Fault::NotConfigurable(*target));
                }
                (_, Owner::One(tenant)) => known(*tenant)?,
            };
            match target {
                Target::Service(service) => self.maps.services.configure(service.key(), tenant)?,
                Target::Source(prefix) => self.maps.sources.configure(prefix.key(), tenant)?,
                Target::Vlan(vlan) => self.maps.vlans.configure(vlan.key(), tenant)?,
                Target::Flow(_) => {}
            }
        }
        for target in self.configured() {
            if wanted.iter().all(|kept| kept.target != target) {
                self.remove(&target)?;
            }
        }
        self.activate()
    }

    /// Drops a target until the penalty's end, or changes how. The target that had to make room in a
    /// full table, if one had to.
    ///
    /// # Errors
    /// When the target is not the tenant's alone by configuration, or not the gateway's.
    pub fn penalise(&mut self, target: Target, penalty: Penalty) -> Result<Option<Target>, Fault> {
        known(penalty.tenant)?;
        self.check_theirs(&target, penalty.tenant)?;
        let entry = penalty.entry();
        let evicted = match &target {
            Target::Flow(flow) => self
                .maps
                .flows
                .penalise(flow.key(), entry)?
                .and_then(Flow::of_key)
                .map(Target::Flow),
            Target::Source(prefix) => {
                let evicted = self.maps.sources.penalise(prefix.key(), entry)?;
                evicted.and_then(|key| Prefix::of_key(key.0, key.1)).map(Target::Source)
            }
            Target::Service(service) => {
                let evicted = self.maps.services.penalise(service.key(), entry)?;
                evicted.and_then(Service::of_key).map(Target::Service)
            }
            Target::Vlan(vlan) => self
                .maps
                .vlans
                .penalise(vlan.key(), entry)?
                .and_then(Vlan::of_key)
                .map(Target::Vlan),
        };
        self.activate()?;
        Ok(evicted)
    }

    /// Ends a penalty before its time. Whether there was one.
    ///
    /// # Errors
    /// When the kernel's table does not take it.
    pub fn release(&mut self, target: &Target) -> Result<bool, Fault> {
        let released = match target {
            Target::Flow(flow) => self.maps.flows.release(&flow.key())?,
            Target::Source(prefix) => self.maps.sources.release(&prefix.key())?,
            Target::Service(service) => self.maps.services.release(&service.key())?,
            Target::Vlan(vlan) => self.maps.vlans.release(&vlan.key())?,
        };
        self.activate()?;
        Ok(released)
    }

    /// Takes out what has ended: it drops nothing since then, but takes room and time. What it was.
    ///
    /// # Errors
    /// When the kernel's table does not take it.
    pub fn expire(&mut self, now_ns: u64) -> Result<Vec<(Target, Penalty)>, Fault> {
        let flows = self.maps.flows.expire(now_ns)?;
        let sources = self.maps.sources.expire(now_ns)?;
        let services = self.maps.services.expire(now_ns)?;
        let vlans = self.maps.vlans.expire(now_ns)?;
        self.activate()?;
        let targets = flows.into_iter().map(|(key, entry)| (flow(key), entry));
        let targets = targets.chain(sources.into_iter().map(|(key, entry)| (source(key), entry)));
        let targets = targets.chain(services.into_iter().map(|(key, entry)| (service(key), entry)));
        let targets = targets.chain(vlans.into_iter().map(|(key, entry)| (vlan(key), entry)));
        Ok(targets.filter_map(listed).collect())
    }

    /// All penalties, ended ones that [`Self::expire`] has not yet seen among them.
    #[must_use]
    pub fn penalties(&self) -> Vec<(Target, Penalty)> {
        let all = self.maps.flows.iter().map(|(key, entry)| (flow(*key), *entry));
        let all = all.chain(self.maps.sources.iter().map(|(key, entry)| (source(*key), *entry)));
        let all = all.chain(self.maps.services.iter().map(|(key, entry)| (service(*key), *entry)));
        let all = all.chain(self.maps.vlans.iter().map(|(key, entry)| (vlan(*key), *entry)));
        all.filter(|(_, entry)| entry.until_ns != 0).filter_map(listed).collect()
    }

    /// Bounds a tenant's new connections, or no longer.
    ///
    /// # Errors
    /// For a tenant without a number.
    pub fn limit_connections(&mut self, tenant: Tenant, rate: Option<Rate>) -> Result<(), Fault> {
        let index = known(tenant)?;
        let bucket = rate.map_or_else(SynBucket::default, |rate| {
            let cost_ns = 1_000_000_000 / u64::from(rate.per_second.get());
            let tolerance_ns = cost_ns.saturating_mul(u64::from(rate.burst.get()) - 1);
            SynBucket { cost_ns, tolerance_ns, arrival_ns: 0, pad: 0 }
        });
        let set = self.maps.buckets.set(index, bucket, 0);
        set.map_err(|why| Fault::map("buckets", &why))?;
        match rate {
            Some(_) => self.limited.insert(tenant),
            None => self.limited.remove(&tenant),
        };
        self.activate()
    }

    /// The heartbeat: the program drops until then, and passes everything after.
    ///
    /// # Errors
    /// When the kernel's map does not take it.
    pub fn beat(&mut self, alive_until_ns: u64) -> Result<(), Fault> {
        self.config.alive_until_ns = alive_until_ns;
        self.write_config()
    }

    /// Samples one drop in `1 << bits`, and the first of each tenant and reason.
    ///
    /// # Errors
    /// When the kernel's map does not take it.
    pub fn sample_one_in(&mut self, bits: u32) -> Result<(), Fault> {
        self.config.sample_mask = u32::MAX.checked_shr(32 - bits.min(32)).unwrap_or(0);
        self.write_config()
    }

    /// What was dropped of a tenant since the maps were made, over all processors.
    ///
    /// # Errors
    /// For a tenant without a number.
    pub fn drops(&self, tenant: Tenant) -> Result<Drops, Fault> {
        let index = known(tenant)?;
        let each = self.maps.drops.get(&index, 0).map_err(|why| Fault::map("drops", &why))?;
        Ok(each.iter().fold(Drops::default(), sum))
    }

    /// Hands over what the ring of samples holds, `max` at most. How many.
    pub fn samples(&mut self, max: usize, mut take: impl FnMut(Sample)) -> usize {
        let mut taken = 0;
        while taken < max {
            let Some(record) = self.maps.samples.next() else { break };
            if let Some(sample) = Sample::read(&record) {
                take(sample);
            }
            taken += 1;
        }
        taken
    }

    /// How full the tables are.
    #[must_use]
    pub fn fill(&self) -> Vec<Fill> {
        let maps = &self.maps;
        let of = |table, entries, penalised, max| Fill { table, entries, penalised, max };
        vec![
            of("flows", maps.flows.len(), maps.flows.penalised(), abi::FLOWS_MAX),
            of("sources", maps.sources.len(), maps.sources.penalised(), abi::SOURCES_MAX),
            of("services", maps.services.len(), maps.services.penalised(), abi::SERVICES_MAX),
            of("vlans", maps.vlans.len(), maps.vlans.penalised(), abi::VLANS_MAX),
            of("buckets", self.limited.len(), self.limited.len(), TENANTS_MAX - 1),
        ]
    }

    /// What a person wants to know of it.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn status(&mut self) -> Result<Status, Fault> {
        let program = xdp(&mut self.ebpf, PROGRAM).ok_or(Fault::Incomplete("program"))?;
        let info = program.info().map_err(|why| Fault::kernel("ask for the program", &why))?;
        Ok(Status {
            attached: self.attached.as_ref().map(|(attached, _)| attached.clone()),
            tag: info.tag(),
            stamp: self.stamp.clone(),
            verified: info.verified_instruction_count(),
            machine_bytes: info.size_jitted(),
            fill: self.fill(),
            alive_until_ns: self.config.alive_until_ns,
        })
    }

    /// Asks the kernel what a program would do with a packet (`BPF_PROG_TEST_RUN`): nothing is sent,
    /// but what is dropped is counted.
    ///
    /// # Errors
    /// When the kernel does not run it: a packet has at least the 14 bytes of an Ethernet header.
    pub fn try_packet(
        &mut self,
        program: Program,
        packet: &[u8],
        repeat: u32,
    ) -> Result<Run, Fault> {
        let name = match program {
            Program::Drop => PROGRAM,
            Program::Floor => FLOOR,
        };
        let program = xdp(&mut self.ebpf, name).ok_or(Fault::Incomplete("program"))?;
        let mut options = TestRunOptions::new();
        options.data_in = Some(packet);
        options.repeat = repeat;
        let run = program.test_run(options).map_err(|why| Fault::kernel("try a packet", &why))?;
        let ns = u64::try_from(run.duration.as_nanos()).unwrap_or(u64::MAX);
        Ok(Run { passes: run.return_value == XDP_PASS, ns })
    }

    /// Only what is the tenant's alone may be dropped, and only at the gateway.
    fn check_theirs(&self, target: &Target, tenant: Tenant) -> Result<(), Fault> {
        let owner = match target {
            Target::Flow(flow) => {
                let service = Target::Service(flow.service());
                return match self.maps.services.get(&flow.service().key()) {
                    Some(_) => Ok(()),
                    None => Err(Fault::NotOurs(service)),
                };
            }
            Target::Source(prefix) => match self.source_owner(*prefix) {
                None => return Ok(()),
                found => found,
            },
            Target::Service(service) => {
                self.maps.services.get(&service.key()).map(|entry| entry.tenant)
            }
            Target::Vlan(vlan) => self.maps.vlans.get(&vlan.key()).map(|entry| entry.tenant),
        };
        match owner {
            None => Err(Fault::NotOurs(*target)),
            Some(owner) if owner == tenant.0 => Ok(()),
            Some(NO_TENANT) => Err(Fault::NotTheirs { target: *target, tenant, owner: Owner::All }),
            Some(owner) => {
                let owner = Owner::One(Tenant(owner));
                Err(Fault::NotTheirs { target: *target, tenant, owner })
            }
        }
    }

    /// To whom the longest configured prefix around a source belongs.
    fn source_owner(&self, prefix: Prefix) -> Option<u32> {
        (0..=prefix.bits()).rev().find_map(|bits| {
            let around = Prefix::new(prefix.address(), bits)?;
            let entry = self.maps.sources.get(&around.key())?;
            (entry.flags & abi::CONFIGURED != 0).then_some(entry.tenant)
        })
    }

    fn configured(&self) -> Vec<Target> {
        let kept = |entry: &abi::Penalty| entry.flags & abi::CONFIGURED != 0;
        let maps = &self.maps;
        let sources = maps.sources.iter().filter(|(_, entry)| kept(entry));
        let services = maps.services.iter().filter(|(_, entry)| kept(entry));
        let vlans = maps.vlans.iter().filter(|(_, entry)| kept(entry));
        let all = sources.map(|(key, _)| source(*key));
        let all = all.chain(services.map(|(key, _)| service(*key)));
        all.chain(vlans.map(|(key, _)| vlan(*key))).flatten().collect()
    }

    fn remove(&mut self, target: &Target) -> Result<(), Fault> {
        match target {
            Target::Flow(flow) => self.maps.flows.remove(&flow.key()),
            Target::Source(prefix) => self.maps.sources.remove(&prefix.key()),
            Target::Service(service) => self.maps.services.remove(&service.key()),
            Target::Vlan(vlan) => self.maps.vlans.remove(&vlan.key()),
        }
    }

    /// Entries with a key or reason that nothing of ours writes. How many.
    fn forget_unreadable(&mut self) -> Result<usize, Fault> {
        fn unreadable<'e, K: Copy + 'e>(
            entries: impl Iterator<Item = (&'e K, &'e abi::Penalty)>,
            target: fn(K) -> Option<Target>,
        ) -> Vec<K> {
            let bad =
                |(key, entry): &(&K, &abi::Penalty)| listed((target(**key), **entry)).is_none();
            entries.filter(bad).map(|(key, _)| *key).collect()
        }
        let flows = unreadable(self.maps.flows.iter(), flow);
        let sources = unreadable(self.maps.sources.iter(), source);
        let services = unreadable(self.maps.services.iter(), service);
        let vlans = unreadable(self.maps.vlans.iter(), vlan);
        let count = flows.len() + sources.len() + services.len() + vlans.len();
        flows.iter().try_for_each(|key| self.maps.flows.remove(key))?;
        sources.iter().try_for_each(|key| self.maps.sources.remove(key))?;
        services.iter().try_for_each(|key| self.maps.services.remove(key))?;
        vlans.iter().try_for_each(|key| self.maps.vlans.remove(key))?;
        Ok(count)
    }

    /// The heartbeat goes on where it was; buckets that were set are known again.
    fn adopt_config(&mut self) -> Result<(), Fault> {
        let found = self.maps.config.get(&0, 0).map_err(|why| Fault::map("config", &why))?;
        if found.abi == ABI_VERSION {
            self.config = found;
            for index in 1..TENANTS_MAX {
                let bucket = self.maps.buckets.get(&index, 0);
                let bucket = bucket.map_err(|why| Fault::map("buckets", &why))?;
                if bucket.cost_ns != 0 {
                    self.limited.insert(Tenant(index));
                }
            }
        } else {
            self.config =
                Config { abi: ABI_VERSION, sample_mask: SAMPLE_MASK, ..Config::default() };
        }
        self.write_config()
    }

    /// Tells the program in which tables to look.
    fn activate(&mut self) -> Result<(), Fault> {
        let maps = &self.maps;
        let bit = |active: bool, bit: u32| if active { bit } else { 0 };
        let active = bit(maps.flows.len() > 0, abi::FLOWS)
            | bit(maps.sources.len() > 0, abi::SOURCES)
            | bit(maps.services.penalised() > 0, abi::SERVICES)
            | bit(maps.vlans.len() > 0, abi::VLANS)
            | bit(!self.limited.is_empty(), abi::BUCKETS);
        if active == self.config.active {
            return Ok(());
        }
        self.config.active = active;
        self.write_config()
    }

    fn write_config(&mut self) -> Result<(), Fault> {
        let set = self.maps.config.set(0, self.config, 0);
        set.map_err(|why| Fault::map("config", &why))
    }
}

/// `XDP_PASS` of the kernel's `bpf.h`.
const XDP_PASS: u32 = 2;

fn xdp<'e>(ebpf: &'e mut Ebpf, name: &str) -> Option<&'e mut Xdp> {
    ebpf.program_mut(name)?.try_into().ok()
}

fn same_abi(stamp: &Stamp) -> Result<(), Fault> {
    match stamp.abi {
        ABI_VERSION => Ok(()),
        found => Err(Fault::OtherAbi { found, wanted: ABI_VERSION }),
    }
}

fn known(tenant: Tenant) -> Result<u32, Fault> {
    match tenant.0 {
        NO_TENANT | TENANTS_MAX.. => Err(Fault::NoSuchTenant(tenant)),
        index => Ok(index),
    }
}

fn flow(key: abi::FlowKey) -> Option<Target> {
    Flow::of_key(key).map(Target::Flow)
}

fn source(key: crate::maps::SourceKey) -> Option<Target> {
    Prefix::of_key(key.0, key.1).map(Target::Source)
}

fn service(key: abi::ServiceKey) -> Option<Target> {
    Service::of_key(key).map(Target::Service)
}

fn vlan(key: abi::VlanKey) -> Option<Target> {
    Vlan::of_key(key).map(Target::Vlan)
}

fn listed((target, entry): (Option<Target>, abi::Penalty)) -> Option<(Target, Penalty)> {
    Some((target?, Penalty::of_entry(&entry)?))
}

fn sum(mut total: Drops, one: &Drops) -> Drops {
    for (total, one) in total.reasons.iter_mut().zip(&one.reasons) {
        total.packets += one.packets;
        total.bytes += one.bytes;
    }
    for (total, one) in total.tables.iter_mut().zip(&one.tables) {
        *total += one;
    }
    total.sampled += one.sampled;
    total.samples_lost += one.samples_lost;
    total
}
