//! A program that is asked about one packet over and over, while another on the same maps is fed.

use std::sync::atomic::{AtomicBool, Ordering};

use ebpf_loader::{Card, Fault, Program, now_ns};

use crate::net::Net;
use crate::{HOUR_NS, object, one_in, skip};

/// Packets while tables change: what is wrong between two steps of a change is seen a few times.
const TRIED: u64 = 1_000_000;
const RUNS: u32 = 10_000;

/// Two programs on the same maps.
pub struct Asked {
    /// Holds the maps.
    _net: Net,
    asked: Card,
    pub fed: Card,
}

impl Asked {
    /// Both alive for an hour; `None` where this process may have none.
    ///
    /// # Panics
    /// As [`crate::card`].
    #[must_use]
    pub fn open(test: &str) -> Option<Self> {
        let net = Net::new().map_err(|why| skip(test, &why)).ok()?;
        let open = || Card::open(&object(), &net.pins()).map(|(card, _)| card);
        let (asked, mut fed) = match open().and_then(|asked| Ok((asked, open()?))) {
            Ok(both) => both,
            Err(fault @ Fault::NotPermitted { .. }) => {
                skip(test, &fault.to_string());
                return None;
            }
            Err(fault) => panic!("{fault}"),
        };
        fed.beat(now_ns() + HOUR_NS).expect("the heartbeat is taken");
        Some(Self { _net: net, asked, fed })
    }

    /// Asks, and changes meanwhile: how often each.
    ///
    /// # Panics
    /// When the packet cannot be tried, or one of the two does.
    pub fn while_changing(
        &mut self,
        packet: &[u8],
        mut change: impl FnMut(&mut Card),
    ) -> (u64, u64) {
        let Self { asked, fed, .. } = self;
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let mut tried = 0;
                while tried < TRIED / one_in() {
                    asked.try_packet(Program::Drop, packet, RUNS).expect("the packet is tried");
                    tried += u64::from(RUNS);
                }
                over.store(true, Ordering::Release);
                tried
            });
            let mut changes = 0;
            while !over.load(Ordering::Acquire) && !asking.is_finished() {
                change(fed);
                changes += 1;
            }
            (asking.join().expect("the packet is tried"), changes)
        })
    }
}
