//! Drops what is penalised and goes to the gateway, at the network card; passes everything else.
//!
//! It fails open: no heartbeat, no entry, another ABI, or a packet that it cannot read to its ports,
//! and the packet passes. On a day without penalties it ends after one load. The clock is read only
//! for whom there is an entry.
#![no_std]
#![no_main]
// The BPF targets declare no compare-and-swap, so `AtomicU64::compare_exchange` is not there; the
// instruction is (cpu v3, Linux 5.12), and the intrinsic reaches it.
#![feature(core_intrinsics)]
#![allow(internal_features)]

mod maps;
mod packet;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{BPF_RB_NO_WAKEUP, xdp_action};
use aya_ebpf::helpers::{bpf_ktime_get_coarse_ns, bpf_ktime_get_ns, bpf_xdp_load_bytes};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use core::intrinsics::{AtomicOrdering, atomic_cxchg};
use ebpf_abi::{
    ABI_VERSION, Address, BUCKETS, Config, FANOUT, FLOWS, FlowKey, HOSTS, LEVELS, NEW_ONLY,
    NO_TENANT, PREFIXES, Penalty, REASONS, Reason, SAMPLE_HEADER_BYTES, SEGMENTS, SERVICES,
    Segments, ServiceKey, ServiceSlot, SynBucket, TENANTS_MAX, Table, VLANS,
};
use packet::Packet;

/// Times that a contended bucket is tried: then the connection passes.
const BUCKET_TRIES: usize = 4;

/// Who is dropped, why, and by what we know them.
struct Drop {
    tenant: u32,
    reason: u8,
    table: Table,
}

/// What costs are compared with.
#[xdp]
pub fn floor(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

#[xdp]
pub fn portcullis(ctx: XdpContext) -> u32 {
    let Some(config) = maps::CONFIG.get(0) else { return xdp_action::XDP_PASS };
    if config.active == 0 || config.abi != ABI_VERSION {
        return xdp_action::XDP_PASS;
    }
    match decide(&ctx, config) {
        Some(drop) => {
            count(&ctx, config, &drop);
            xdp_action::XDP_DROP
        }
        None => xdp_action::XDP_PASS,
    }
}

/// Source, flow, service, VLAN, bucket: what floods most first. What does not go to the gateway is not
/// looked at.
#[inline(always)]
fn decide(ctx: &XdpContext, config: &Config) -> Option<Drop> {
    let packet = packet::parse(ctx)?;
    let slot = service(&packet)?;
    let service = &slot.penalty;
    let mut tenant = service.tenant;
    // A host is longer than any other prefix, so it alone decides about a source that is one.
    if let Some(entry) = host(&packet, config).or_else(|| prefix(&packet, config)) {
        if drops(entry, &packet, config) {
            return Some(dropped(entry, Table::Source));
        }
        if tenant == NO_TENANT {
            tenant = entry.tenant;
        }
    }
    if config.active & FLOWS != 0
        && let Some(entry) = flow(&packet, slot.number)
        && drops(entry, &packet, config)
    {
        return Some(dropped(entry, Table::Flow));
    }
    if config.active & SERVICES != 0 && drops(service, &packet, config) {
        return Some(dropped(service, Table::Service));
    }
    if config.active & VLANS != 0
        && packet.vlan.outer != 0
        // SAFETY: entries are replaced, and freed after a grace period only.
        && let Some(entry) = unsafe { maps::VLANS.get(&packet.vlan) }
    {
        if drops(entry, &packet, config) {
            return Some(dropped(entry, Table::Vlan));
        }
        if tenant == NO_TENANT {
            tenant = entry.tenant;
        }
    }
    if config.active & BUCKETS != 0 && packet.opens && tenant != NO_TENANT && !take(tenant, config)
    {
        return Some(Drop { tenant, reason: Reason::Connections as u8, table: Table::Bucket });
    }
    None
}

#[inline(always)]
fn service(packet: &Packet) -> Option<&'static ServiceSlot> {
    let key = ServiceKey {
        address: packet.destination,
        port_be: packet.destination_port_be,
        protocol: packet.protocol,
        pad: 0,
    };
    key.slots().into_iter().find_map(|at| {
        let slot = maps::SERVICES.get(at)?;
        (same(&slot.key.address, &key.address)
            && slot.key.port_be == key.port_be
            && slot.key.protocol == key.protocol)
            .then_some(slot)
    })
}

/// By words: a comparison of slices would be a call.
#[inline(always)]
fn same(one: &Address, other: &Address) -> bool {
    one[0] == other[0] && one[1] == other[1] && one[2] == other[2] && one[3] == other[3]
}

/// Most sources have no entry: their bit says so, without a call.
#[inline(always)]
fn host(packet: &Packet, config: &Config) -> Option<&'static Penalty> {
    if config.active & HOSTS == 0 {
        return None;
    }
    let bit = ebpf_abi::filter_bit(packet.host);
    let word = maps::HOST_FILTER.get(bit / u64::BITS)?;
    if word >> (bit % u64::BITS) & 1 == 0 {
        return None;
    }
    // SAFETY: entries are replaced, and freed after a grace period only.
    unsafe { maps::HOSTS.get(&packet.host) }
}

/// The longest that is known.
#[inline(always)]
fn prefix(packet: &Packet, config: &Config) -> Option<&'static Penalty> {
    if config.active & PREFIXES == 0 {
        return None;
    }
    let segments = maps::SEGMENTS.get(config.half)?;
    let point = ebpf_abi::point(packet.host);
    let segment = segment(segments, point);
    // SAFETY: as many ways as there are segments.
    let longest = unsafe { *(&raw const segments.longest).cast::<u16>().add(segment) };
    if longest == 0 {
        return None;
    }
    let slot = maps::PREFIXES.get(u32::from(longest))?;
    (point & slot.mask == slot.start).then_some(&slot.penalty)
}

/// Down the tree without a branch or a call. What is compared has 63 bits: the sign of a difference
/// says which is larger.
#[inline(always)]
fn segment(segments: &Segments, point: u64) -> usize {
    let nodes = (&raw const segments.nodes).cast::<[u64; FANOUT]>();
    let (mut node, mut segment) = (0, 0);
    for _ in 0..LEVELS {
        // SAFETY: a level has eight times the nodes of the one above, and a node eight ways.
        let keys = unsafe { *nodes.add(node) };
        let mut way = 0;
        for key in &keys[..FANOUT - 1] {
            way += key.wrapping_sub(point) >> 63;
        }
        let way = way as usize & (FANOUT - 1);
        segment = segment * FANOUT + way;
        node = node * FANOUT + 1 + way;
    }
    // The compiler knows that it is below; the verifier of Linux 6.1 has lost it by here.
    core::hint::black_box(segment) & (SEGMENTS - 1)
}

#[inline(always)]
fn flow(packet: &Packet, service: u16) -> Option<&'static Penalty> {
    let key = FlowKey { source: packet.source, source_port_be: packet.source_port_be, service };
    // SAFETY: entries are replaced, and freed after a grace period only.
    unsafe { maps::FLOWS.get(&key) }
}

/// Whether an entry drops this packet now. The coarse clock (the last tick, of 1 to 10 ms) costs a
/// fifth of the fine one, which would be half of a drop.
#[inline(always)]
fn drops(entry: &Penalty, packet: &Packet, config: &Config) -> bool {
    if entry.until_ns == 0 || (entry.flags & NEW_ONLY != 0 && !packet.opens) {
        return false;
    }
    // SAFETY: reads a clock.
    let now_ns = unsafe { bpf_ktime_get_coarse_ns() };
    now_ns < entry.until_ns && now_ns < config.alive_until_ns
}

#[inline(always)]
fn dropped(entry: &Penalty, table: Table) -> Drop {
    Drop { tenant: entry.tenant, reason: entry.reason, table }
}

/// Takes a connection from the tenant's bucket. A refusal writes nothing, so that the processors of
/// a flood only read; who loses a race four times passes.
#[inline(always)]
fn take(tenant: u32, config: &Config) -> bool {
    let Some(bucket) = maps::BUCKETS.get_ptr_mut(tenant) else { return true };
    // SAFETY: an element of an array is there for as long as the program.
    let SynBucket { cost_ns, tolerance_ns, .. } = unsafe { *bucket };
    if cost_ns == 0 {
        return true;
    }
    // SAFETY: reads a clock. The fine one: a tick would be many connections.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    if now_ns >= config.alive_until_ns {
        return true;
    }
    // SAFETY: a field of the element above.
    let arrival = unsafe { &raw mut (*bucket).arrival_ns };
    // SAFETY: aligned; others write it whole.
    let mut seen = unsafe { arrival.read_volatile() };
    for _ in 0..BUCKET_TRIES {
        let from = if seen > now_ns { seen } else { now_ns };
        if from - now_ns > tolerance_ns {
            return false;
        }
        const ORDER: AtomicOrdering = AtomicOrdering::SeqCst;
        // SAFETY: as above.
        match unsafe { atomic_cxchg::<u64, ORDER, ORDER>(arrival, seen, from + cost_ns) } {
            (_, true) => return true,
            (other, false) => seen = other,
        }
    }
    true
}

#[inline(always)]
fn count(ctx: &XdpContext, config: &Config, drop: &Drop) {
    let Some(drops) = maps::DROPS.get_ptr_mut(drop.tenant % TENANTS_MAX) else { return };
    // SAFETY: this processor's own element, and an index below the array's length.
    let nth = unsafe {
        let reason = (&raw mut (*drops).reasons).cast::<ebpf_abi::Count>();
        let count = reason.add(drop.reason as usize % REASONS);
        let nth = (*count).packets;
        (*count).packets = nth + 1;
        (*count).bytes += (ctx.data_end() - ctx.data()) as u64;
        *(&raw mut (*drops).tables).cast::<u64>().add(drop.table as usize) += 1;
        nth
    };
    if nth & u64::from(config.sample_mask) == 0 {
        let written = sample(ctx, drop);
        // SAFETY: as above.
        unsafe {
            (*drops).sampled += u64::from(written);
            (*drops).samples_lost += u64::from(!written);
        }
    }
}

/// Writes the packet's beginning to the ring, without waking anybody. Whether there was room.
#[inline(always)]
fn sample(ctx: &XdpContext, drop: &Drop) -> bool {
    let Some(mut entry) = maps::SAMPLES.reserve(0) else { return false };
    let sample = entry.as_mut_ptr();
    // SAFETY: reads a clock.
    let at_ns = unsafe { bpf_ktime_get_coarse_ns() };
    // After the last call but one: a length that waits on the stack has lost its bounds for the
    // verifier of Linux 6.1, and what is not zero has none there either.
    let packet_bytes = ctx.data_end() - ctx.data();
    if packet_bytes < packet::ETHERNET_BYTES {
        entry.discard(u64::from(BPF_RB_NO_WAKEUP));
        return false;
    }
    let header_bytes = packet_bytes.min(SAMPLE_HEADER_BYTES);
    // SAFETY: the ring's room for one sample; the helper writes `header_bytes` of its header.
    unsafe {
        (*sample).at_ns = at_ns;
        (*sample).tenant = drop.tenant;
        (*sample).packet_bytes = packet_bytes as u32;
        (*sample).interface = ctx.ingress_ifindex() as u32;
        (*sample).header_bytes = header_bytes as u16;
        (*sample).reason = drop.reason;
        (*sample).table = drop.table as u8;
        let header = (&raw mut (*sample).header).cast();
        bpf_xdp_load_bytes(ctx.as_ptr().cast(), 0, header, header_bytes as u32);
    }
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    true
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel gives its helpers to such programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
