//! The newest dropped packets of a card, as it samples them.
//!
//! Who floods has the most samples, and makes room for others: what was dropped of a quiet tenant is
//! still there when somebody asks for it. They are cut to their headers where they are handed out.

use std::collections::{BTreeMap, VecDeque};

use dataplane_bundle::drops::{DropReason, DropTable, DroppedPacket, PACKETS_MAX};
use dataplane_telemetry::{Now, WallNanos};
use ebpf_loader::{Reason, Sample, Table};

/// Samples that are read in a look, of which there are a hundred a second: more than come of ten million
/// drops a second.
pub(crate) const SAMPLES_PER_LOOK: usize = 256;

/// By the tenant's number, the oldest first; [`PACKETS_MAX`] in all.
#[derive(Default)]
pub(crate) struct Samples {
    of: BTreeMap<u32, VecDeque<Sample>>,
    count: usize,
}

impl Samples {
    /// The oldest of the tenant that has the most makes room.
    pub(crate) fn push(&mut self, sample: Sample) {
        self.of.entry(sample.tenant.0).or_default().push_back(sample);
        self.count += 1;
        if self.count <= PACKETS_MAX {
            return;
        }
        let most = self.of.iter().max_by_key(|(_, samples)| samples.len());
        let Some(tenant) = most.map(|(tenant, _)| *tenant) else { return };
        let samples = self.of.entry(tenant).or_default();
        samples.pop_front();
        if samples.is_empty() {
            self.of.remove(&tenant);
        }
        self.count -= 1;
    }

    /// The newest first; `name` says who has a number.
    pub(crate) fn told(&self, now: Now, name: impl Fn(u32) -> String) -> Vec<DroppedPacket> {
        let mut newest: Vec<&Sample> = self.of.values().flatten().collect();
        newest.sort_by_key(|sample| std::cmp::Reverse(sample.at_ns));
        newest.into_iter().map(|sample| packet(sample, now, &name)).collect()
    }
}

fn packet(sample: &Sample, now: Now, name: impl Fn(u32) -> String) -> DroppedPacket {
    let age_ns = now.mono.0.saturating_sub(sample.at_ns);
    let packet = DroppedPacket {
        at: WallNanos(now.wall.0.saturating_sub(age_ns)),
        tenant: name(sample.tenant.0),
        reason: match sample.reason {
            Reason::Refusals => DropReason::Refusals,
            Reason::Kill => DropReason::Kill,
            Reason::Operator => DropReason::Operator,
            Reason::Connections => DropReason::Connections,
        },
        table: match sample.table {
            Table::Source => DropTable::Source,
            Table::Flow => DropTable::Flow,
            Table::Service => DropTable::Service,
            Table::Vlan => DropTable::Vlan,
            Table::Bucket => DropTable::Bucket,
        },
        length: sample.packet_bytes,
        header: sample.header.clone(),
    };
    packet.cut()
}

#[cfg(test)]
mod tests {
    use dataplane_telemetry::Nanos;
    use ebpf_loader::Tenant;

    use super::*;

    fn sample(tenant: u32, at_ns: u64) -> Sample {
        Sample {
            at_ns,
            tenant: Tenant(tenant),
            reason: Reason::Kill,
            table: Table::Flow,
            interface: 1,
            packet_bytes: 1_514,
            header: vec![0; 96],
        }
    }

    fn told(samples: &Samples) -> Vec<(String, u64)> {
        let now = Now { mono: Nanos(10_000), wall: WallNanos(50_000) };
        let told = samples.told(now, |number| format!("t{number}"));
        told.into_iter().map(|packet| (packet.tenant, packet.at.0)).collect()
    }

    #[test]
    fn a_flood_takes_its_own_room_and_leaves_the_others_theirs() {
        let mut samples = Samples::default();
        samples.push(sample(2, 0));
        (1..=1_000).for_each(|at| samples.push(sample(1, at)));
        samples.push(sample(3, 1_001));
        let told = told(&samples);
        assert_eq!((told.len(), samples.count), (PACKETS_MAX, PACKETS_MAX));
        assert_eq!(told[0], ("t3".to_owned(), 41_001), "the newest first, by the wall's clock");
        assert_eq!(told[1], ("t1".to_owned(), 41_000));
        assert_eq!(told[PACKETS_MAX - 1], ("t2".to_owned(), 40_000));
    }

    #[test]
    fn many_tenants_have_one_each_and_the_memory_is_bounded() {
        let mut samples = Samples::default();
        (0..4_000).for_each(|at| samples.push(sample(at, u64::from(at))));
        assert_eq!((told(&samples).len(), samples.of.len()), (PACKETS_MAX, PACKETS_MAX));
    }

    #[test]
    fn what_is_handed_out_is_cut_to_headers() {
        let mut samples = Samples::default();
        samples.push(sample(1, 0));
        let now = Now { mono: Nanos(0), wall: WallNanos(0) };
        let told = samples.told(now, |_| String::new());
        assert_eq!((told[0].header.len(), told[0].length), (14, 1_514), "of Ethernet alone");
    }
}
