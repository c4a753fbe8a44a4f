//! Sources as numbers: what a host is, where it lies on the line of all sources, and its bit in the
//! filter before `HOSTS`.

use crate::{Address, HOSTS_MAX};

/// Bits of an IPv6 address that name a host: it changes the rest at will.
pub const HOST_BITS: u32 = 64;

/// The key of `HOSTS` for an IPv6 address: its /64, as a number.
#[must_use]
#[inline(always)]
pub const fn host(ipv6: Address) -> u64 {
    (u32::from_be(ipv6[0]) as u64) << 32 | u32::from_be(ipv6[1]) as u64
}

/// The key of `HOSTS` for the last word of a mapped IPv4 address. They lie where IPv6 has multicast,
/// which is nobody's source.
#[must_use]
#[inline(always)]
pub const fn host_of_ipv4(word: u32) -> u64 {
    IPV4_HOSTS + u32::from_be(word) as u64
}

/// The first host of IPv4.
pub const IPV4_HOSTS: u64 = 0xff00 << 48;

/// A host on the line that prefixes are told apart on: without its last bit. A prefix of 64 is a host,
/// so that bit tells no prefixes apart, and a difference has room for its sign.
#[must_use]
#[inline(always)]
pub const fn point(host: u64) -> u64 {
    host >> 1
}

/// The first point of IPv4. What IPv6 has ends before it.
pub const IPV4_POINTS: u64 = point(IPV4_HOSTS);
/// Bits of a point, IPv6.
pub const POINT_BITS: u32 = 63;
/// Bits of a point that IPv4 has.
pub const IPV4_POINT_BITS: u32 = 31;

/// Bits of `HOST_FILTER`: of hosts that are in no full `HOSTS`, one in sixteen shares its bit with one
/// that is.
pub const HOST_FILTER_BITS: u32 = 1 << FILTER_LOG2;
/// Its elements: 64 bits each, the lowest first.
pub const HOST_FILTER_WORDS: u32 = HOST_FILTER_BITS / 64;

const FILTER_LOG2: u32 = 18;

/// The bit of a host in `HOST_FILTER`. Set: the host may be in `HOSTS`; not set: it is not there. A
/// Bloom filter of one hash, which is no secret: who finds a host that shares a bit gets no more than
/// the look-up in `HOSTS`, whose hash is one.
#[must_use]
#[inline(always)]
pub const fn filter_bit(host: u64) -> u32 {
    // Knuth's multiplicative hash, by the golden ratio.
    (host.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - FILTER_LOG2)) as u32
}

const _: () = assert!(HOST_FILTER_BITS == 16 * HOSTS_MAX && HOST_FILTER_WORDS.is_power_of_two());
