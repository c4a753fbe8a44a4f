//! The bytes of what is said of drops: little-endian, in the order of the fields.
//!
//! What decodes, encodes to the same bytes, so every value has one form: a prefix without stray bits,
//! options and kinds without spare values.

use std::net::{IpAddr, SocketAddr};

use dataplane_drops::{Cause, Counters, Fill, Flow, Per, Prefix, Seen, Target};
use dataplane_telemetry::WallNanos;

use super::{
    AddressReport, CARDS_MAX, CardMode, CardState, Chosen, DropOrder, DropRow, DropsReport,
    INTERFACE_BYTES_MAX, Order, ROWS_MAX, THINNED_MAX, Thinned,
};
use crate::Refused;
use crate::catalog::Rate;
use crate::limits::{IDENTITY_BYTES_MAX, REASON_BYTES_MAX};
use crate::names::{at_most, wrong};
use crate::wire::{Reader, put_short};

impl DropRow {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.drop.to_le_bytes());
        put_target(out, &self.target);
        put_name(out, &self.tenant);
        put_option(out, self.user.as_deref());
        put_option(out, self.agent.as_deref());
        out.push(match self.per {
            Per::Tenant => 0,
            Per::User => 1,
            Per::Agent => 2,
            Per::Caller => 3,
        });
        let (kind, name) = match &self.cause {
            Cause::Quota(name) => (0, name),
            Cause::Kill(name) => (1, name),
        };
        out.push(kind);
        put_name(out, name);
        out.extend_from_slice(&self.since.0.to_le_bytes());
        out.extend_from_slice(&self.until.0.to_le_bytes());
        out.push(self.level);
        put_option(out, self.pinned_by.as_deref());
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, Refused> {
        let drop = reader.u64()?;
        let target = target(reader)?;
        let tenant = name(reader, "drop.tenant")?;
        let user = option(reader, "drop.user")?;
        let agent = option(reader, "drop.agent")?;
        let per = match reader.u8()? {
            0 => Per::Tenant,
            1 => Per::User,
            2 => Per::Agent,
            3 => Per::Caller,
            other => return Err(unknown("drop.per", other)),
        };
        let cause = match reader.u8()? {
            0 => Cause::Quota(name(reader, "drop.cause")?.into()),
            1 => Cause::Kill(name(reader, "drop.cause")?.into()),
            other => return Err(unknown("drop.cause", other)),
        };
        let (since, until) = (WallNanos(reader.u64()?), WallNanos(reader.u64()?));
        let level = reader.u8()?;
        let pinned_by = option(reader, "drop.pinned_by")?;
        Ok(Self { drop, target, tenant, user, agent, per, cause, since, until, level, pinned_by })
    }
}

impl DropsReport {
    pub(crate) fn put(&self, out: &mut Vec<u8>) -> Result<(), Refused> {
        put_rows(out, self.entries, &self.rows)?;
        for number in numbers(&self.counters) {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let Fill { subjects, told, flows, sources, entries } = self.fill;
        for size in [subjects, told, flows, sources, entries] {
            out.extend_from_slice(&u32::try_from(size).unwrap_or(u32::MAX).to_le_bytes());
        }
        at_most("cards", self.cards.len(), CARDS_MAX)?;
        out.push(u8::try_from(self.cards.len()).unwrap_or(u8::MAX));
        self.cards.iter().try_for_each(|card| card.put(out))
    }

    pub(crate) fn take(reader: &mut Reader<'_>) -> Result<Self, Refused> {
        let (entries, rows) = take_rows(reader)?;
        let counters = counters(reader)?;
        let mut size = || reader.u32().map(|size| size as usize);
        let fill = Fill {
            subjects: size()?,
            told: size()?,
            flows: size()?,
            sources: size()?,
            entries: size()?,
        };
        let count = usize::from(reader.u8()?);
        at_most("cards", count, CARDS_MAX)?;
        let cards = (0..count).map(|_| CardState::take(reader)).collect::<Result<_, _>>()?;
        Ok(Self { entries, rows, counters, fill, cards })
    }
}

impl CardState {
    fn put(&self, out: &mut Vec<u8>) -> Result<(), Refused> {
        at_most("card.interface", self.interface.len(), INTERFACE_BYTES_MAX)?;
        put_short(out, self.interface.as_bytes());
        out.push(self.mode as u8);
        out.extend_from_slice(&self.program_sha256);
        out.extend_from_slice(&self.drops.to_le_bytes());
        out.extend_from_slice(&self.entries.to_le_bytes());
        out.extend_from_slice(&self.entries_max.to_le_bytes());
        at_most("card.thinned", self.thinned.len(), THINNED_MAX)?;
        out.push(u8::try_from(self.thinned.len()).unwrap_or(u8::MAX));
        self.thinned.iter().for_each(|one| one.put(out));
        Ok(())
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, Refused> {
        Ok(Self {
            interface: reader.text("card.interface", INTERFACE_BYTES_MAX)?.to_owned(),
            mode: match reader.u8()? {
                0 => CardMode::Native,
                1 => CardMode::Generic,
                other => return Err(unknown("card.mode", other)),
            },
            program_sha256: reader.array()?,
            drops: reader.u64()?,
            entries: reader.u32()?,
            entries_max: reader.u32()?,
            thinned: {
                let count = usize::from(reader.u8()?);
                at_most("card.thinned", count, THINNED_MAX)?;
                (0..count).map(|_| Thinned::take(reader)).collect::<Result<_, _>>()?
            },
        })
    }
}

impl Thinned {
    fn put(&self, out: &mut Vec<u8>) {
        put_name(out, &self.tenant);
        out.extend_from_slice(&self.rate.units.to_le_bytes());
        out.extend_from_slice(&self.rate.period_ms.to_le_bytes());
        out.extend_from_slice(&self.burst.to_le_bytes());
        out.extend_from_slice(&self.drops.to_le_bytes());
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, Refused> {
        Ok(Self {
            tenant: name(reader, "card.thinned.tenant")?,
            rate: Rate { units: reader.u32()?, period_ms: reader.u64()? },
            burst: reader.u32()?,
            drops: reader.u64()?,
        })
    }
}

impl DropOrder {
    pub(crate) fn put(&self, out: &mut Vec<u8>) -> Result<(), Refused> {
        self.check()?;
        out.extend_from_slice(&self.id.to_le_bytes());
        put_short(out, self.by.as_bytes());
        put_short(out, self.reason.as_bytes());
        match &self.order {
            Order::Release(Chosen::All) => out.push(0),
            Order::Release(Chosen::Drop(drop)) => {
                out.push(1);
                out.extend_from_slice(&drop.to_le_bytes());
            }
            Order::Release(Chosen::Tenant(tenant)) => {
                out.push(2);
                put_short(out, tenant.as_bytes());
            }
            Order::Release(Chosen::Address(address)) => {
                out.push(3);
                put_address(out, *address);
            }
            Order::Pin { drop, for_ms } => {
                out.push(4);
                out.extend_from_slice(&drop.to_le_bytes());
                out.extend_from_slice(&for_ms.to_le_bytes());
            }
        }
        Ok(())
    }

    pub(crate) fn take(reader: &mut Reader<'_>) -> Result<Self, Refused> {
        let id = reader.u64()?;
        let by = name(reader, "order.by")?;
        let reason = reader.text("order.reason", REASON_BYTES_MAX)?.to_owned();
        let order = match reader.u8()? {
            0 => Order::Release(Chosen::All),
            1 => Order::Release(Chosen::Drop(reader.u64()?)),
            2 => Order::Release(Chosen::Tenant(name(reader, "order.tenant")?)),
            3 => Order::Release(Chosen::Address(address(reader)?)),
            4 => Order::Pin { drop: reader.u64()?, for_ms: reader.u64()? },
            other => return Err(unknown("order", other)),
        };
        let order = Self { id, by, reason, order };
        order.check()?;
        Ok(order)
    }
}

impl AddressReport {
    pub(crate) fn put(&self, out: &mut Vec<u8>) -> Result<(), Refused> {
        out.push(match self.seen {
            Seen::OneTenant => 0,
            Seen::SeveralTenants => 1,
            Seen::Unauthenticated => 2,
            Seen::Unsure => 3,
        });
        put_cut(out, &self.sentence, REASON_BYTES_MAX);
        put_rows(out, self.entries, &self.rows)
    }

    pub(crate) fn take(reader: &mut Reader<'_>) -> Result<Self, Refused> {
        let seen = match reader.u8()? {
            0 => Seen::OneTenant,
            1 => Seen::SeveralTenants,
            2 => Seen::Unauthenticated,
            3 => Seen::Unsure,
            other => return Err(unknown("address.seen", other)),
        };
        let sentence = reader.text("address.sentence", REASON_BYTES_MAX)?.to_owned();
        let (entries, rows) = take_rows(reader)?;
        Ok(Self { seen, sentence, entries, rows })
    }
}

fn put_rows(out: &mut Vec<u8>, entries: u32, rows: &[DropRow]) -> Result<(), Refused> {
    at_most("drops", rows.len(), ROWS_MAX)?;
    out.extend_from_slice(&entries.to_le_bytes());
    out.extend_from_slice(&u16::try_from(rows.len()).unwrap_or(u16::MAX).to_le_bytes());
    rows.iter().for_each(|row| row.put(out));
    Ok(())
}

fn take_rows(reader: &mut Reader<'_>) -> Result<(u32, Vec<DropRow>), Refused> {
    let entries = reader.u32()?;
    let count = usize::from(reader.u16()?);
    at_most("drops", count, ROWS_MAX)?;
    let rows = (0..count).map(|_| DropRow::take(reader)).collect::<Result<_, _>>()?;
    Ok((entries, rows))
}

fn numbers(counters: &Counters) -> [u64; 13] {
    let Counters { refusals, ignored, slowed, drops, made, extended, expired, released, .. } =
        *counters;
    let Counters { entries_refused, sources_spared, subjects_crowded, .. } = *counters;
    let Counters { sources_crowded, events_lost, .. } = *counters;
    [
        refusals,
        ignored,
        slowed,
        drops,
        made,
        extended,
        expired,
        released,
        entries_refused,
        sources_spared,
        subjects_crowded,
        sources_crowded,
        events_lost,
    ]
}

fn counters(reader: &mut Reader<'_>) -> Result<Counters, Refused> {
    Ok(Counters {
        refusals: reader.u64()?,
        ignored: reader.u64()?,
        slowed: reader.u64()?,
        drops: reader.u64()?,
        made: reader.u64()?,
        extended: reader.u64()?,
        expired: reader.u64()?,
        released: reader.u64()?,
        entries_refused: reader.u64()?,
        sources_spared: reader.u64()?,
        subjects_crowded: reader.u64()?,
        sources_crowded: reader.u64()?,
        events_lost: reader.u64()?,
    })
}

fn put_target(out: &mut Vec<u8>, target: &Target) {
    match target {
        Target::Flow(flow) => {
            out.push(0);
            put_end(out, flow.peer);
            put_end(out, flow.local);
        }
        Target::Source(prefix) => {
            out.push(1);
            put_prefix(out, prefix);
        }
        Target::Prefix(prefix) => {
            out.push(2);
            put_prefix(out, prefix);
        }
        Target::Service(service) => {
            out.push(3);
            put_end(out, *service);
        }
        Target::Vlan { outer, inner } => {
            out.push(4);
            out.extend_from_slice(&outer.to_le_bytes());
            out.extend_from_slice(&inner.to_le_bytes());
        }
    }
}

fn target(reader: &mut Reader<'_>) -> Result<Target, Refused> {
    Ok(match reader.u8()? {
        0 => Target::Flow(Flow { peer: end(reader)?, local: end(reader)? }),
        1 => Target::Source(prefix(reader)?),
        2 => Target::Prefix(prefix(reader)?),
        3 => Target::Service(end(reader)?),
        4 => Target::Vlan { outer: reader.u16()?, inner: reader.u16()? },
        other => return Err(unknown("drop.target", other)),
    })
}

fn put_prefix(out: &mut Vec<u8>, prefix: &Prefix) {
    put_address(out, prefix.network());
    out.push(prefix.bits());
}

fn prefix(reader: &mut Reader<'_>) -> Result<Prefix, Refused> {
    let (network, bits) = (address(reader)?, reader.u8()?);
    let prefix = Prefix::new(network, bits).filter(|prefix| prefix.network() == network);
    prefix.ok_or_else(|| wrong("drop.target", &format!("{network}/{bits}"), "is no prefix"))
}

fn put_end(out: &mut Vec<u8>, end: SocketAddr) {
    put_address(out, end.ip());
    out.extend_from_slice(&end.port().to_le_bytes());
}

fn end(reader: &mut Reader<'_>) -> Result<SocketAddr, Refused> {
    Ok(SocketAddr::new(address(reader)?, reader.u16()?))
}

pub(crate) fn put_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            out.push(4);
            out.extend_from_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            out.push(6);
            out.extend_from_slice(&address.octets());
        }
    }
}

pub(crate) fn address(reader: &mut Reader<'_>) -> Result<IpAddr, Refused> {
    match reader.u8()? {
        4 => Ok(IpAddr::from(reader.array::<4>()?)),
        6 => Ok(IpAddr::from(reader.array::<16>()?)),
        other => Err(unknown("address", other)),
    }
}

/// What a token says somebody is called may be longer than is shown here.
pub(super) fn put_name(out: &mut Vec<u8>, text: &str) {
    put_cut(out, text, IDENTITY_BYTES_MAX);
}

pub(super) fn name(reader: &mut Reader<'_>, field: &str) -> Result<String, Refused> {
    reader.text(field, IDENTITY_BYTES_MAX).map(str::to_owned)
}

fn put_option(out: &mut Vec<u8>, text: Option<&str>) {
    out.push(u8::from(text.is_some()));
    if let Some(text) = text {
        put_name(out, text);
    }
}

fn option(reader: &mut Reader<'_>, field: &str) -> Result<Option<String>, Refused> {
    match reader.u8()? {
        0 => Ok(None),
        1 => name(reader, field).map(Some),
        other => Err(unknown(field, other)),
    }
}

/// Cut at `max`, on a character's boundary.
fn put_cut(out: &mut Vec<u8>, text: &str, max: usize) {
    let cut = (0..=max.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    put_short(out, text.get(..cut.unwrap_or(0)).unwrap_or_default().as_bytes());
}

pub(super) fn unknown(field: &str, found: u8) -> Refused {
    wrong(field, &found.to_string(), "is not what this release knows")
}
