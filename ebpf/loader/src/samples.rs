//! Dropped packets, as the operator sees them.

use ebpf_abi::{Reason, SAMPLE_HEADER_BYTES, Table};

use crate::Tenant;

/// The beginning of a packet that was dropped.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sample {
    /// When, by the kernel's coarse clock: the last tick.
    pub at_ns: u64,
    pub tenant: Tenant,
    pub reason: Reason,
    /// By what it was known.
    pub table: Table,
    /// Index of the interface that it came in by.
    pub interface: u32,
    /// Of the whole packet.
    pub packet_bytes: u32,
    /// From the Ethernet header on.
    pub header: Vec<u8>,
}

impl Sample {
    /// Reads a record of the ring; `None` for one that this ABI does not have.
    pub(crate) fn read(record: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u32::from_ne_bytes(record.get(at..at + 4)?.try_into().ok()?));
        let header = record.get(24..24 + SAMPLE_HEADER_BYTES)?;
        let length = u16::from_ne_bytes(record.get(20..22)?.try_into().ok()?);
        Some(Self {
            at_ns: u64::from_ne_bytes(record.get(..8)?.try_into().ok()?),
            tenant: Tenant(number(8)?),
            packet_bytes: number(12)?,
            interface: number(16)?,
            reason: *Reason::ALL.get(usize::from(*record.get(22)?))?,
            table: *Table::ALL.get(usize::from(*record.get(23)?))?,
            header: header.get(..usize::from(length))?.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Field by field, as `ebpf_abi::Sample` asserts its offsets.
    fn record(header_bytes: u16, reason: u8) -> Vec<u8> {
        let mut record = 5_u64.to_ne_bytes().to_vec();
        for number in [3_u32, 1_500, 2] {
            record.extend(number.to_ne_bytes());
        }
        record.extend(header_bytes.to_ne_bytes());
        record.extend([reason, Table::Vlan as u8]);
        record.extend((0..SAMPLE_HEADER_BYTES).map(|at| at as u8));
        record
    }

    #[test]
    fn a_record_is_read_and_what_is_behind_its_header_is_not() {
        let sample = Sample::read(&record(3, Reason::Kill as u8)).unwrap();
        assert_eq!((sample.at_ns, sample.tenant, sample.packet_bytes), (5, Tenant(3), 1_500));
        assert_eq!((sample.interface, sample.reason), (2, Reason::Kill));
        assert_eq!((sample.table, sample.header.as_slice()), (Table::Vlan, &[0, 1, 2][..]));
    }

    #[test]
    fn a_record_of_another_kind_is_none() {
        let whole = record(96, 0);
        assert!(Sample::read(&whole).is_some());
        assert_eq!(Sample::read(&whole[..whole.len() - 1]), None);
        assert_eq!(Sample::read(&record(97, 0)), None);
        assert_eq!(Sample::read(&record(1, 200)), None);
    }
}
