//! A program that is asked about one packet over and over, while another on the same maps is fed.

use std::sync::atomic::{AtomicBool, Ordering};

use ebpf_loader::{Card, Program};

use crate::net::Net;
use crate::one_in;
use crate::scene::{net, open};

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
    /// As [`open`] gives them; `None` where this process may have none.
    ///
    /// # Panics
    /// As [`open`].
    #[must_use]
    pub fn open(test: &str) -> Option<Self> {
        let net = net(test)?;
        let (asked, _) = open(test, &net)?;
        let (fed, _) = open(test, &net)?;
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
