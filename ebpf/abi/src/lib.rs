//! What the program at the network card and the loader agree on, byte for byte.
//!
//! Each struct is `repr(C)`, has its padding spelt out (the bytes of a key are compared, padding
//! too), and is asserted to its size and offsets. A change of any of them is a new [`ABI_VERSION`]:
//! the loader refuses an object of another one, keeps its maps in another folder, and the program
//! passes everything while [`Config::abi`] is not its own.
//!
//! Times are the kernel's monotonic clock in nanoseconds, as `bpf_ktime_get_coarse_ns` reads it.
#![no_std]

#[cfg(all(feature = "user", not(target_arch = "bpf")))]
mod user;

mod hosts;
mod steering;

pub use hosts::{
    HOST_BITS, HOST_FILTER_BITS, HOST_FILTER_WORDS, IPV4_HOSTS, IPV4_POINT_BITS, IPV4_POINTS,
    POINT_BITS, filter_bit, host, host_of_ipv4, point,
};
pub use steering::{CORES_MAX, STEERING_SLACK, Steering};

/// The version of everything in this file.
pub const ABI_VERSION: u32 = 3;

/// Tenants that have a number here: one TCP port or VLAN each is far below it, and the counters of
/// one processor are 768 KiB. Number 0 is nobody.
pub const TENANTS_MAX: u32 = 4_096;
/// Flows that are penalised at once: the connections of a whole core (10,000), six times over.
pub const FLOWS_MAX: u32 = 65_536;
/// Hosts: IPv4 addresses and IPv6 /64s, configured or penalised.
pub const HOSTS_MAX: u32 = 16_384;
/// Shorter prefixes, configured or penalised: nested or not, they cut the line of all sources into no
/// more than [`SEGMENTS`].
pub const PREFIXES_MAX: u32 = 2_047;
/// Elements of `PREFIXES`: number 0 is nobody's.
pub const PREFIX_SLOTS: u32 = PREFIXES_MAX + 1;
/// Addresses and ports of the gateway.
pub const SERVICES_MAX: u32 = 1_024;
/// Places for them: four times as many, so that one of a service's two places can always be had.
pub const SERVICE_SLOTS: u32 = 4_096;
/// VLANs: all that an 802.1Q tag can name.
pub const VLANS_MAX: u32 = 4_096;
/// Bytes of the ring of samples: a power of two and whole pages, about 2,000 samples.
pub const SAMPLE_RING_BYTES: u32 = 262_144;
/// Bytes of a dropped packet that a sample keeps: two tags, IPv6 and TCP, and 14 to spare.
pub const SAMPLE_HEADER_BYTES: usize = 96;
/// Extension headers of IPv6 that are walked; a packet with more of them passes.
pub const EXTENSIONS_MAX: usize = 8;
/// VLAN tags that are read; a packet with more of them passes.
pub const TAGS_MAX: usize = 2;

/// Nobody: what a service that all tenants share is attributed to.
pub const NO_TENANT: u32 = 0;

/// An address as on the wire, in words. IPv4 is v4-mapped (`::ffff:a.b.c.d`), so that one map holds
/// both: a second map would be a second look-up for whoever is not in the first.
pub type Address = [u32; 4];

/// The address of 16 octets, as [`core::net::Ipv6Addr::octets`] gives them.
#[must_use]
pub const fn address(octets: [u8; 16]) -> Address {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = octets;
    [
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
        u32::from_ne_bytes([i, j, k, l]),
        u32::from_ne_bytes([m, n, o, p]),
    ]
}

/// The octets of an address, on the wire's order.
#[must_use]
pub const fn octets(address: Address) -> [u8; 16] {
    let [one, two, three, four] = address;
    let ([a, b, c, d], [e, f, g, h]) = (one.to_ne_bytes(), two.to_ne_bytes());
    let ([i, j, k, l], [m, n, o, p]) = (three.to_ne_bytes(), four.to_ne_bytes());
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

/// An IPv4 address in its v4-mapped form.
#[must_use]
pub const fn mapped(ipv4: [u8; 4]) -> Address {
    [0, 0, 0xffff_u32.to_be(), u32::from_ne_bytes(ipv4)]
}

/// TCP, as IP numbers it.
pub const TCP: u8 = 6;
/// UDP, which carries QUIC.
pub const UDP: u8 = 17;

/// One connection: the key of `FLOWS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FlowKey {
    pub source: Address,
    /// As on the wire.
    pub source_port_be: u16,
    /// Where it goes to: [`ServiceSlot::number`]. Half of the bytes of an address and port are half of
    /// the time for their hash.
    pub service: u16,
}

/// An address and port of the gateway.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ServiceKey {
    pub address: Address,
    /// As on the wire.
    pub port_be: u16,
    /// [`TCP`] or [`UDP`].
    pub protocol: u8,
    pub pad: u8,
}

impl ServiceKey {
    /// The two places in `SERVICES` where this key may be. No secret: who chooses the keys that are
    /// stored is the operator, and a search ends after two whatever it asks for.
    #[must_use]
    #[inline(always)]
    pub const fn slots(&self) -> [u32; 2] {
        let [a, b, c, d] = self.address;
        let ports = self.port_be as u64 | (self.protocol as u64) << 16;
        let mut mixed = (a as u64 | (b as u64) << 32) ^ ports << 20;
        mixed = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ mixed >> 32) ^ (d as u64 | (c as u64) << 32);
        mixed = mixed.wrapping_mul(0xd6e8_feb8_6659_fd93);
        mixed = (mixed ^ mixed >> 32).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed ^= mixed >> 29;
        // One in each half: they differ.
        let half = SERVICE_SLOTS / 2;
        [(mixed >> 48) as u32 % half, half + (mixed >> 24) as u32 % half]
    }
}

/// An element of `SERVICES`; one that nobody has is all zero. An array that the program searches
/// itself needs no call, and every packet comes by here.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ServiceSlot {
    pub key: ServiceKey,
    /// Below [`SERVICES_MAX`]; no other service has it.
    pub number: u16,
    pub pad: u16,
    pub penalty: Penalty,
}

/// A prefix that is known: an element of `PREFIXES`. One that nobody has is all zero.
///
/// It repeats what it is for, so that a search which comes by while the segments are written finds
/// the right prefix or none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PrefixSlot {
    /// The first [`point`] of it.
    pub start: u64,
    /// The bits of a point that it names.
    pub mask: u64,
    pub penalty: Penalty,
}

/// Children of a node of the search, and keys between them: those are one line of a cache.
pub const FANOUT: usize = 8;
/// Nodes from the root to a segment.
pub const LEVELS: usize = 4;
/// All nodes: 1, 8, 64 and 512.
pub const NODES: usize = 585;
/// What four nodes tell apart.
pub const SEGMENTS: usize = FANOUT.pow(LEVELS as u32);

/// The line of all sources, cut where another prefix is the longest: an element of `SEGMENTS`, which
/// has two. [`Config::half`] says which is valid; the other is written, then that word.
///
/// A tree of eight children rather than two: a node is one line of memory, and its keys are compared
/// beside each other, without a branch that somebody could make go wrong.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Segments {
    /// Level by level; the child of node `n` by way `w` is `8 n + 1 + w`. A key is the last point
    /// that does not go past it.
    pub nodes: [[u64; FANOUT]; NODES],
    /// By segment: the element of `PREFIXES` that is its longest prefix, or zero.
    pub longest: [u16; SEGMENTS],
}

/// A VLAN, or a VLAN in a VLAN: the key of `VLANS`. Tags that name VLAN 0 (priority only) do not
/// count.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct VlanKey {
    /// The first tag on the wire.
    pub outer: u16,
    /// The second, or zero.
    pub inner: u16,
}

/// The value of every table. It says who is meant; and until when packets are dropped.
///
/// In `SERVICES`, `HOSTS`, `PREFIXES` and `VLANS` an entry whose time has passed (zero: it was never
/// penalised) still says whose new connections these are.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Penalty {
    /// The first nanosecond that passes again.
    pub until_ns: u64,
    /// Below [`TENANTS_MAX`].
    pub tenant: u32,
    /// A [`Reason`].
    pub reason: u8,
    /// [`NEW_ONLY`], [`CONFIGURED`].
    pub flags: u8,
    pub pad: u16,
}

/// Only packets that open a connection are dropped.
pub const NEW_ONLY: u8 = 1;
/// Configured, not penalised: the loader keeps the entry when its time has passed. The program does
/// not look at it.
pub const CONFIGURED: u8 = 2;

/// Why packets are dropped; the dataplane's choice but for the last.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Reason {
    /// Refusals of a quota were ignored.
    Refusals = 0,
    /// The tenant was killed.
    Kill = 1,
    /// A person said so.
    Operator = 2,
    /// More new connections than the tenant's bucket holds; the program's own.
    Connections = 3,
}

impl Reason {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Refusals, Self::Kill, Self::Operator, Self::Connections];
}

/// Reasons that [`Drops`] has room for: a power of two.
pub const REASONS: usize = 8;

/// By what a dropped packet was known.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Table {
    Source = 0,
    Flow = 1,
    Service = 2,
    Vlan = 3,
    Bucket = 4,
}

impl Table {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Source, Self::Flow, Self::Service, Self::Vlan, Self::Bucket];
}

/// Tables that [`Drops`] has room for.
pub const TABLES: usize = 6;

/// New connections of a tenant, by the generic cell rate algorithm: an element of `BUCKETS`, by the
/// tenant's number. One for all processors: a refusal writes nothing, so a flood does not contend.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SynBucket {
    /// What one connection costs. Zero is no limit.
    pub cost_ns: u64,
    /// How far [`Self::arrival_ns`] may be ahead: one less than the burst, times the cost.
    pub tolerance_ns: u64,
    /// When the bucket will be full again. The program's.
    pub arrival_ns: u64,
    pub pad: u64,
}

/// The only element of `CONFIG`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Config {
    /// [`ABI_VERSION`]. The program passes everything while it is another.
    pub abi: u32,
    /// Which tables may drop: [`FLOWS`] and its neighbours. Zero, on most days, passes after one load.
    pub active: u32,
    /// The heartbeat: past it the dataplane is taken for dead and everything passes.
    pub alive_until_ns: u64,
    /// A drop is sampled when its number within tenant, reason and processor has no bit of this.
    pub sample_mask: u32,
    /// Which element of `SEGMENTS` is valid: 0 or 1.
    pub half: u32,
}

/// Of [`Config::active`]: a flow is penalised.
pub const FLOWS: u32 = 1;
/// A host is penalised or attributed.
pub const HOSTS: u32 = 2;
/// A service is penalised.
pub const SERVICES: u32 = 4;
/// A VLAN is penalised or attributed.
pub const VLANS: u32 = 8;
/// A tenant's new connections are bounded.
pub const BUCKETS: u32 = 16;
/// A prefix is penalised or attributed.
pub const PREFIXES: u32 = 32;

/// Packets and their bytes, Ethernet header included.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Count {
    pub packets: u64,
    pub bytes: u64,
}

/// What was dropped of a tenant on one processor: an element of `DROPS`, by the tenant's number.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Drops {
    /// By [`Reason`].
    pub reasons: [Count; REASONS],
    /// Packets by [`Table`].
    pub tables: [u64; TABLES],
    /// Samples that were written.
    pub sampled: u64,
    /// Samples that found the ring full.
    pub samples_lost: u64,
}

/// A dropped packet, in the ring `SAMPLES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sample {
    pub at_ns: u64,
    pub tenant: u32,
    /// Of the whole packet.
    pub packet_bytes: u32,
    /// The interface it came in by.
    pub interface: u32,
    /// Of [`Self::header`]; what is behind them is not cleared.
    pub header_bytes: u16,
    /// A [`Reason`].
    pub reason: u8,
    /// A [`Table`].
    pub table: u8,
    pub header: [u8; SAMPLE_HEADER_BYTES],
}

const _: () = {
    assert!(size_of::<FlowKey>() == 20);
    assert!(core::mem::offset_of!(FlowKey, source_port_be) == 16);
    assert!(core::mem::offset_of!(FlowKey, service) == 18);
    assert!(size_of::<ServiceKey>() == 20);
    assert!(core::mem::offset_of!(ServiceKey, port_be) == 16);
    assert!(core::mem::offset_of!(ServiceKey, protocol) == 18);
    assert!(size_of::<ServiceSlot>() == 40);
    assert!(core::mem::offset_of!(ServiceSlot, number) == 20);
    assert!(core::mem::offset_of!(ServiceSlot, penalty) == 24);
    assert!(SERVICE_SLOTS.is_power_of_two() && SERVICE_SLOTS >= 4 * SERVICES_MAX);
    assert!(size_of::<PrefixSlot>() == 32);
    assert!(core::mem::offset_of!(PrefixSlot, penalty) == 16);
    assert!(size_of::<Segments>() == 45_632);
    assert!(core::mem::offset_of!(Segments, longest) == 37_440);
    assert!(2 * (PREFIXES_MAX as usize) < SEGMENTS && PREFIX_SLOTS <= u16::MAX as u32);
    assert!(size_of::<VlanKey>() == 4);
    assert!(core::mem::offset_of!(VlanKey, inner) == 2);
    assert!(size_of::<Penalty>() == 16);
    assert!(core::mem::offset_of!(Penalty, tenant) == 8);
    assert!(core::mem::offset_of!(Penalty, reason) == 12);
    assert!(core::mem::offset_of!(Penalty, flags) == 13);
    assert!(size_of::<SynBucket>() == 32);
    assert!(core::mem::offset_of!(SynBucket, arrival_ns) == 16);
    assert!(size_of::<Config>() == 24);
    assert!(core::mem::offset_of!(Config, active) == 4);
    assert!(core::mem::offset_of!(Config, alive_until_ns) == 8);
    assert!(core::mem::offset_of!(Config, sample_mask) == 16);
    assert!(core::mem::offset_of!(Config, half) == 20);
    assert!(size_of::<Count>() == 16);
    assert!(size_of::<Drops>() == 192);
    assert!(core::mem::offset_of!(Drops, tables) == 128);
    assert!(core::mem::offset_of!(Drops, sampled) == 176);
    assert!(size_of::<Sample>() == 24 + SAMPLE_HEADER_BYTES);
    assert!(core::mem::offset_of!(Sample, header_bytes) == 20);
    assert!(core::mem::offset_of!(Sample, header) == 24);
    assert!(TENANTS_MAX.is_power_of_two() && REASONS.is_power_of_two());
    assert!(SAMPLE_RING_BYTES.is_power_of_two() && SAMPLE_RING_BYTES.is_multiple_of(4_096));
};
