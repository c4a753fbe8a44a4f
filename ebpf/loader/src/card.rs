//! The card: the loaded program and everything that it is told.
//!
//! A change goes to the kernel's table first and to the word that makes the program look there
//! second, so that nothing is looked up in vain on a day without penalties.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use aya::programs::Xdp;
use aya::programs::xdp::XdpLinkId;
use aya::{Ebpf, EbpfLoader, TestRun as _, TestRunOptions};
use ebpf_abi as abi;
use ebpf_abi::{ABI_VERSION, Config, Drops, NO_TENANT, SynBucket, TENANTS_MAX};

use crate::maps::{Maps, NAMES};
use crate::object::{Stamp, same_abi};
use crate::pins::Pins;
use crate::{Attached, Fault, Owner, Penalty, Sample, Service, Target, Tenant, Wanted, attach};

/// The program that drops, and the empty one that costs are compared with.
const PROGRAM: &str = "portcullis";
const FLOOR: &str = "floor";

/// One drop in 1,024 is sampled, and the first of each tenant, reason and processor: at ten million
/// a second that is 10,000 samples.
const SAMPLE_MASK: u32 = 1_023;

/// The loaded program.
pub struct Card {
    ebpf: Ebpf,
    maps: Maps,
    config: Config,
    /// Tenants whose new connections are bounded.
    limited: BTreeSet<Tenant>,
    stamp: Stamp,
    pins: Option<Pins>,
    attached: Option<(Attached, XdpLinkId)>,
    verifying_ns: u64,
    loading_ns: u64,
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
    /// One of them.
    pub each: Duration,
    /// At once, after a pause.
    pub burst: NonZeroU32,
}

impl Rate {
    /// `units` each `period`: never more, by what a nanosecond cannot be parted into.
    #[must_use]
    pub fn new(units: NonZeroU32, period: Duration, burst: NonZeroU32) -> Self {
        let each = period.as_nanos().div_ceil(u128::from(units.get()));
        Self { each: Duration::from_nanos(u64::try_from(each).unwrap_or(u64::MAX)), burst }
    }

    fn bucket(self) -> SynBucket {
        /// A hundred years ahead: the sum of two is a time that the clock can tell.
        const AHEAD_NS_MAX: u64 = 1 << 61;
        let cost_ns = u64::try_from(self.each.as_nanos()).unwrap_or(u64::MAX);
        let cost_ns = cost_ns.clamp(1, AHEAD_NS_MAX);
        let tolerance_ns = cost_ns.saturating_mul(u64::from(self.burst.get()) - 1);
        SynBucket { cost_ns, tolerance_ns: tolerance_ns.min(AHEAD_NS_MAX), arrival_ns: 0, pad: 0 }
    }
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
    /// What the kernel took to verify the programs and to translate them.
    pub verifying_ns: u64,
    /// What all took, the maps included.
    pub loading_ns: u64,
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
        adopted.ended = card.maps.tables.forget_unreadable()? + card.expire(crate::now_ns())?.len();
        adopted.penalties = card.penalties().len();
        card.pins = Some(pins);
        Ok((card, adopted))
    }

    fn new(object: &[u8], pins: Option<&Pins>) -> Result<Self, Fault> {
        let stamp = Stamp::of(object)?;
        same_abi(&stamp)?;
        let begun_ns = crate::now_ns();
        let mut loader = EbpfLoader::new();
        for name in NAMES {
            if let Some(pins) = pins {
                loader.map_pin_path(name, pins.map(name));
            }
        }
        let mut ebpf = loader.load(object).map_err(|why| Fault::kernel("load the maps", &why))?;
        let mut verifying_ns = 0;
        for (name, missing) in [(PROGRAM, "program"), (FLOOR, "floor")] {
            let program = xdp(&mut ebpf, name).ok_or(Fault::Incomplete(missing))?;
            let handed_over_ns = crate::now_ns();
            program.load().map_err(|why| Fault::kernel("load the program", &why))?;
            verifying_ns += crate::now_ns().saturating_sub(handed_over_ns);
        }
        let maps = Maps::take(&mut ebpf)?;
        let mut card = Self {
            ebpf,
            maps,
            config: Config::default(),
            limited: BTreeSet::new(),
            stamp,
            pins: None,
            attached: None,
            verifying_ns,
            loading_ns: 0,
        };
        card.adopt_config()?;
        card.loading_ns = crate::now_ns().saturating_sub(begun_ns);
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
    /// among them is removed, penalties with it. What stays is not touched.
    ///
    /// # Errors
    /// When one of them cannot be attributed so: nothing is changed. When a table is full: those
    /// before are in.
    pub fn configure(&mut self, wanted: &[Attribution]) -> Result<(), Fault> {
        let mut tenants = BTreeMap::new();
        for Attribution { target, owner } in wanted {
            let tenant = match (target, owner) {
                (Target::Service(_), Owner::All) => NO_TENANT,
                (Target::Flow(_), _) | (_, Owner::All) => {
                    return Err(Fault::NotConfigurable(*target));
                }
                (_, Owner::One(tenant)) => known(*tenant)?,
            };
            tenants.insert(*target, tenant);
        }
        for target in self.maps.tables.configured() {
            if !tenants.contains_key(&target) {
                self.maps.tables.remove(&target)?;
            }
        }
        for (target, tenant) in &tenants {
            self.maps.tables.configure(target, *tenant)?;
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
        self.maps.tables.check_theirs(&target, penalty.tenant)?;
        let evicted = self.maps.tables.penalise(&target, &penalty)?;
        self.activate()?;
        Ok(evicted)
    }

    /// Ends a penalty before its time. Whether there was one.
    ///
    /// # Errors
    /// When the kernel's table does not take it.
    pub fn release(&mut self, target: &Target) -> Result<bool, Fault> {
        let released = self.maps.tables.release(target)?;
        self.activate()?;
        Ok(released)
    }

    /// Takes out what has ended: it drops nothing since then, but takes room and time. What it was.
    ///
    /// # Errors
    /// When the kernel's table does not take it.
    pub fn expire(&mut self, now_ns: u64) -> Result<Vec<(Target, Penalty)>, Fault> {
        let ended = self.maps.tables.expire(now_ns)?;
        self.activate()?;
        Ok(ended)
    }

    /// All penalties, ended ones that [`Self::expire`] has not yet seen among them.
    #[must_use]
    pub fn penalties(&self) -> Vec<(Target, Penalty)> {
        self.maps.tables.penalties()
    }

    /// Bounds a tenant's new connections, or no longer. What is bounded so already goes on as it is; a
    /// change begins with a full bucket.
    ///
    /// # Errors
    /// For a tenant without a number.
    pub fn limit_connections(&mut self, tenant: Tenant, rate: Option<Rate>) -> Result<(), Fault> {
        let index = known(tenant)?;
        let bucket = rate.map_or_else(SynBucket::default, Rate::bucket);
        let there = self.maps.buckets.get(&index, 0).map_err(|why| Fault::map("buckets", &why))?;
        if (there.cost_ns, there.tolerance_ns) != (bucket.cost_ns, bucket.tolerance_ns) {
            let set = self.maps.buckets.set(index, bucket, 0);
            set.map_err(|why| Fault::map("buckets", &why))?;
        }
        match rate {
            Some(_) => self.limited.insert(tenant),
            None => self.limited.remove(&tenant),
        };
        self.activate()
    }

    /// Tenants whose new connections are bounded; those of a process before this one among them.
    pub fn limited(&self) -> impl Iterator<Item = Tenant> {
        self.limited.iter().copied()
    }

    /// Services that are every tenant's, by configuration.
    #[must_use]
    pub fn shared_services(&self) -> Vec<Service> {
        let configured = self.maps.tables.configured().into_iter();
        let shared = configured.filter_map(|target| match target {
            Target::Service(service) => self.maps.tables.is_shared(&service).then_some(service),
            _ => None,
        });
        shared.collect()
    }

    /// The heartbeat: the program drops until then, and passes everything after.
    ///
    /// # Errors
    /// When the kernel's map does not take it.
    pub fn beat(&mut self, alive_until_ns: u64) -> Result<(), Fault> {
        self.config.alive_until_ns = alive_until_ns;
        self.write_config()
    }

    /// Samples one drop in `1 << bits`, and the first of each tenant, reason and processor.
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

    /// One drop in so many is sampled.
    #[must_use]
    pub fn sampled_one_in(&self) -> u64 {
        u64::from(self.config.sample_mask) + 1
    }

    /// How full the tables are.
    #[must_use]
    pub fn fill(&self) -> Vec<Fill> {
        let limited = self.limited.len();
        let max = TENANTS_MAX - 1;
        let mut fill = self.maps.tables.fill();
        // A bound drops nobody who keeps to it.
        fill.push(Fill { table: "buckets", entries: limited, penalised: 0, max });
        fill
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
            verifying_ns: self.verifying_ns,
            loading_ns: self.loading_ns,
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

    /// Makes the prefixes' segments valid, and tells the program in which tables to look.
    fn activate(&mut self) -> Result<(), Fault> {
        let (config, told) = (&mut self.maps.config, &mut self.config);
        self.maps.tables.settle(told.half, |half| {
            let turned = Config { half, ..*told };
            config.set(0, turned, 0).map_err(|why| Fault::map("config", &why))?;
            *told = turned;
            Ok(())
        })?;
        let buckets = if self.limited.is_empty() { 0 } else { abi::BUCKETS };
        let active = self.maps.tables.active() | buckets;
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

fn known(tenant: Tenant) -> Result<u32, Fault> {
    match tenant.0 {
        NO_TENANT | TENANTS_MAX.. => Err(Fault::NoSuchTenant(tenant)),
        index => Ok(index),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_grants_no_more_than_it_says_and_no_time_overflows() {
        let rate = |units, seconds, burst| {
            let [units, burst] = [units, burst].map(|value| NonZeroU32::new(value).unwrap());
            Rate::new(units, Duration::from_secs(seconds), burst).bucket()
        };
        let bucket = rate(200, 1, 400);
        assert_eq!((bucket.cost_ns, bucket.tolerance_ns), (5_000_000, 399 * 5_000_000));
        assert_eq!(rate(3, 1, 1).cost_ns, 333_333_334);
        assert_eq!((rate(u32::MAX, 1, 1).cost_ns, rate(1, 60, 1).cost_ns), (1, 60_000_000_000));
        // A clock of a hundred years, a bucket that is as far ahead as it may be, and one more.
        let bucket = rate(1, u64::MAX, u32::MAX);
        let arrival = (100 * 366 * 86_400 * 1_000_000_000_u64).checked_add(bucket.tolerance_ns);
        assert!(arrival.unwrap().checked_add(bucket.cost_ns).is_some());
    }
}
