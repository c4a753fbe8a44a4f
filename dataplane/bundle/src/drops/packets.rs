//! Packets that network cards have dropped, as samples: headers, and no payload.
//!
//! They are asked for and not reported: who is not asked tells nobody, and a release that does not know
//! the question is never sent the answer. Headers are cut here, before they leave the box.

use dataplane_drops::packet::{Headers, PACKET_BYTES_MAX};
use dataplane_telemetry::WallNanos;

use super::codec::{name, put_name, unknown};
use super::{CARDS_MAX, INTERFACE_BYTES_MAX};
use crate::Refused;
use crate::limits::IDENTITY_BYTES_MAX;
use crate::names::at_most;
use crate::wire::{Reader, put_short};

/// Packets that are kept of one card, and told.
pub const PACKETS_MAX: usize = 64;
/// All of them with every name as long as may be.
pub const PACKETS_BYTES_MAX: usize =
    16 + CARDS_MAX * (INTERFACE_BYTES_MAX + 24 + PACKETS_MAX * PACKET_ROW_BYTES_MAX);
const PACKET_ROW_BYTES_MAX: usize = 2 + IDENTITY_BYTES_MAX + 16 + 2 + PACKET_BYTES_MAX;

/// What one card has sampled.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CardPackets {
    pub interface: String,
    /// One in so many dropped packets is sampled, and the first of each tenant, reason and processor.
    pub one_in: u64,
    /// Samples that found no room, since the program was attached.
    pub lost: u64,
    /// The newest first; at most [`PACKETS_MAX`].
    pub packets: Vec<DroppedPacket>,
}

/// A packet that was dropped.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DroppedPacket {
    pub at: WallNanos,
    pub tenant: String,
    pub reason: DropReason,
    pub table: DropTable,
    /// Of the whole packet, from the Ethernet header on.
    pub length: u32,
    /// Its headers, from the Ethernet header on.
    pub header: Vec<u8>,
}

/// Why the card dropped it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum DropReason {
    /// Refusals of a quota were ignored.
    Refusals = 0,
    Kill = 1,
    Operator = 2,
    /// More new connections than the tenant's bound.
    Connections = 3,
}

/// By what the card knew it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum DropTable {
    /// A host, or a prefix.
    Source = 0,
    Flow = 1,
    Service = 2,
    Vlan = 3,
    /// The tenant's bound of new connections.
    Bucket = 4,
}

impl DropReason {
    const ALL: [Self; 4] = [Self::Refusals, Self::Kill, Self::Operator, Self::Connections];
}

impl DropTable {
    const ALL: [Self; 5] = [Self::Source, Self::Flow, Self::Service, Self::Vlan, Self::Bucket];
}

impl DroppedPacket {
    /// Nothing but headers, of whatever was kept.
    #[must_use]
    pub fn cut(mut self) -> Self {
        self.header.truncate(PACKET_BYTES_MAX);
        self.header.truncate(Headers::read(&self.header).bytes);
        self
    }

    fn put(&self, out: &mut Vec<u8>) -> Result<(), Refused> {
        out.extend_from_slice(&self.at.0.to_le_bytes());
        put_name(out, &self.tenant);
        out.push(self.reason as u8);
        out.push(self.table as u8);
        out.extend_from_slice(&self.length.to_le_bytes());
        at_most("packet.header", self.header.len(), PACKET_BYTES_MAX)?;
        put_short(out, &self.header);
        Ok(())
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, Refused> {
        let at = WallNanos(reader.u64()?);
        let tenant = name(reader, "packet.tenant")?;
        let (reason, table) = (reader.u8()?, reader.u8()?);
        let known_reason = DropReason::ALL.get(usize::from(reason)).copied();
        let known_table = DropTable::ALL.get(usize::from(table)).copied();
        Ok(Self {
            at,
            tenant,
            reason: known_reason.ok_or_else(|| unknown("packet.reason", reason))?,
            table: known_table.ok_or_else(|| unknown("packet.table", table))?,
            length: reader.u32()?,
            header: reader.short("packet.header", PACKET_BYTES_MAX)?.to_vec(),
        })
    }
}

impl CardPackets {
    fn put(&self, out: &mut Vec<u8>) -> Result<(), Refused> {
        at_most("card.interface", self.interface.len(), INTERFACE_BYTES_MAX)?;
        put_short(out, self.interface.as_bytes());
        out.extend_from_slice(&self.one_in.to_le_bytes());
        out.extend_from_slice(&self.lost.to_le_bytes());
        at_most("packets", self.packets.len(), PACKETS_MAX)?;
        out.push(u8::try_from(self.packets.len()).unwrap_or(u8::MAX));
        self.packets.iter().try_for_each(|packet| packet.put(out))
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, Refused> {
        let interface = reader.text("card.interface", INTERFACE_BYTES_MAX)?.to_owned();
        let (one_in, lost) = (reader.u64()?, reader.u64()?);
        let count = usize::from(reader.u8()?);
        at_most("packets", count, PACKETS_MAX)?;
        let packets = (0..count).map(|_| DroppedPacket::take(reader)).collect::<Result<_, _>>()?;
        Ok(Self { interface, one_in, lost, packets })
    }
}

pub(crate) fn put_packets(out: &mut Vec<u8>, cards: &[CardPackets]) -> Result<(), Refused> {
    at_most("cards", cards.len(), CARDS_MAX)?;
    out.push(u8::try_from(cards.len()).unwrap_or(u8::MAX));
    cards.iter().try_for_each(|card| card.put(out))
}

pub(crate) fn packets(reader: &mut Reader<'_>) -> Result<Vec<CardPackets>, Refused> {
    let count = usize::from(reader.u8()?);
    at_most("cards", count, CARDS_MAX)?;
    (0..count).map(|_| CardPackets::take(reader)).collect()
}
