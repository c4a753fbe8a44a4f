//! What a refused connection costs: accepted and answered with 429, or dropped at the card.
//!
//! Both are processor time of the gateway's side, for each connection: of the gateway with all its
//! threads, and of the kernel's thread that receives packets and runs the card's program. What the
//! offender spends is not in it. Accepted is a TCP connection, a TLS handshake, one call, its refusal and
//! its record; dropped is the SYN.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;
use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, bind, ipproto, sendto, socket_with,
};
use serde::Serialize;
use tests_fixtures::stack::Net;

use super::rig::{self, Manner, Rig, STEADY};
use crate::portcullis::Gateway;

/// Nobody but the offender calls here.
const LIMIT: &str = "60/min";
/// Enough to keep the gateway busy though handshakes of who is slowed are delayed.
const ACCEPTED: Manner =
    Manner { connections: 256, calls_each: 1, at_once: 1, patience_ms: 10_000 };
/// Who comes back often enough to have its address dropped.
const COMES_BACK: Manner = Manner { connections: 16, calls_each: 8, at_once: 1, patience_ms: 200 };
/// Between the drop's beginning and the measurement.
const SETTLE: Duration = Duration::from_millis(1_500);
/// So few dropped SYNs in a shot mean that something else was measured.
const DROPPED_MIN: u64 = 10_000;

/// Nanoseconds for each refused connection.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    pub accepted: u64,
    pub accepted_ns: f64,
    pub dropped: u64,
    pub dropped_ns: f64,
    pub times_cheaper: f64,
}

/// Measures both.
///
/// # Errors
/// When nobody is refused, or nothing is dropped.
pub(super) fn measure(
    rig: &Rig<'_>,
    shot: Duration,
    progress: &mut impl FnMut(&str),
) -> anyhow::Result<Outcome> {
    rig.apply(LIMIT, STEADY)?;
    let (accepted, accepted_ns) = accept(rig, shot)?;
    progress(&format!("{accepted} connections accepted and refused: {accepted_ns:.0} ns each"));
    let (dropped, dropped_ns) = drop_syns(rig, shot)?;
    progress(&format!("{dropped} connections dropped at the card: {dropped_ns:.0} ns each"));
    let times_cheaper = accepted_ns / dropped_ns;
    Ok(Outcome { accepted, accepted_ns, dropped, dropped_ns, times_cheaper })
}

fn accept(rig: &Rig<'_>, shot: Duration) -> anyhow::Result<(u64, f64)> {
    let gateway = &rig.without;
    rig.afresh()?;
    let before = rig::drops(gateway)?;
    let mut offender = rig.net.at_clients(|| rig.offend(gateway, Net::CLIENTS[1], ACCEPTED))?;
    rig.until_dropping(gateway, before)?;
    std::thread::sleep(SETTLE);
    let (before, spent) = (offender.came()?, rig.spent_ns(gateway)?);
    std::thread::sleep(shot);
    let (came, spent) = (offender.came()?.since(before), rig.spent_ns(gateway)? - spent);
    drop(offender);
    ensure!(came.refused > 0 && came.answered == 0, "not refused: {came:?}");
    Ok((came.refused, spent as f64 / came.refused as f64))
}

fn drop_syns(rig: &Rig<'_>, shot: Duration) -> anyhow::Result<(u64, f64)> {
    let gateway = &rig.with_card;
    rig.afresh()?;
    address_is_dropped(rig, gateway)?;
    let (before, spent) = (rig::dropped_packets(gateway)?, rig.spent_ns(gateway)?);
    rig.net.at_clients(|| send_syns(gateway.address, shot))?;
    let spent = rig.spent_ns(gateway)?.saturating_sub(spent);
    let dropped = rig::dropped_packets(gateway)? - before;
    ensure!(dropped >= DROPPED_MIN, "only {dropped} packets were dropped at the card");
    Ok((dropped, spent as f64 / dropped as f64))
}

/// Has the offender ignore refusals until new connections from its address are dropped.
fn address_is_dropped(rig: &Rig<'_>, gateway: &Gateway) -> anyhow::Result<()> {
    let before = rig::drops(gateway)?;
    let mut offender = rig.net.at_clients(|| rig.offend(gateway, Net::CLIENTS[1], COMES_BACK))?;
    rig.until_dropping(gateway, before)?;
    let begun = Instant::now();
    loop {
        let came = offender.came()?;
        std::thread::sleep(SETTLE);
        let since = offender.came()?.since(came);
        if since.attempts > 0 && since.handshakes == 0 {
            return Ok(());
        }
        ensure!(begun.elapsed() < rig::PATIENCE, "its address is not dropped: {since:?}");
    }
}

/// SYNs from the offender's address, one port after the other.
fn send_syns(to: SocketAddr, shot: Duration) -> anyhow::Result<()> {
    let tcp = Some(ipproto::TCP);
    let socket = socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, tcp)?;
    bind(&socket, &SocketAddr::new(Net::CLIENTS[1], 0))?;
    let begun = Instant::now();
    while begun.elapsed() < shot {
        for port in 10_000..12_000_u16 {
            let mut syn = [0_u8; 20];
            syn[..2].copy_from_slice(&port.to_be_bytes());
            syn[2..4].copy_from_slice(&to.port().to_be_bytes());
            // A header of five words, and SYN. The card asks for no checksum, and nobody else sees it.
            (syn[12], syn[13]) = (5 << 4, 0x02);
            match sendto(&socket, &syn, SendFlags::empty(), &to) {
                Ok(_) | Err(rustix::io::Errno::NOBUFS | rustix::io::Errno::AGAIN) => {}
                Err(fault) => return Err(fault.into()),
            }
        }
    }
    Ok(())
}
