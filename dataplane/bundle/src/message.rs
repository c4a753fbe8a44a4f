//! The channel's language: each message has a stream of its own, so that a kill never waits behind a
//! bundle. A message is its kind (u8), its body's length (u32, little-endian), its body.
//!
//! The kind bounds the length before a byte of the body is read. Bundles and kill lists are opaque
//! here: they carry their own signature.

mod enrolling;

use std::net::IpAddr;

use zeroize::Zeroizing;

use crate::drops::{
    self, AddressReport, CardPackets, DROPS_BYTES_MAX, DropOrder, DropsReport, PACKETS_BYTES_MAX,
};
use crate::lease::{self, Lease};
use crate::limits::{BUNDLE_BYTES_MAX, KILL_LIST_BYTES_MAX, LEASES_MAX, SECRET_BYTES_MAX};
use crate::names::{at_most, wrong};
use crate::wire::{Reader, put_short};
use crate::{Refused, Revision};

pub use enrolling::{Certified, Enrol, Enrolled};

/// Kind and length.
pub const HEAD_BYTES: usize = 5;
/// Application protocol (ALPN) of an enrolled appliance's connection.
pub const ALPN_SYNC: &[u8] = b"portcullis-sync/1";
/// Application protocol of a box that is not enrolled yet: one request, one answer.
pub const ALPN_ENROL: &[u8] = b"portcullis-enrol/1";
/// The name in the control plane's certificate, whatever its address.
pub const CONTROL_NAME: &str = "portcullis-control";
/// The longest packet that is tried: a jumbo frame of 9,000 bytes without the heads of IPv6 and UDP.
/// Records cost processor time by the packet.
pub const PACKET_BYTES_MAX: u16 = 8_952;
/// Why something was refused, as it crosses the channel; what is longer is cut.
pub const REASON_BYTES_MAX: usize = 1_024;
/// A public key in DER, or a certificate.
const DER_BYTES_MAX: usize = 8 << 10;
/// One batch of audit records. A record is at most 65,535 bytes.
pub const RECORDS_BYTES_MAX: usize = 1 << 20;
const SHORT_BYTES_MAX: usize = 4 << 10;
const LEASES_BYTES_MAX: usize = LEASES_MAX * (SECRET_BYTES_MAX + 128);
/// What a message is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Kind {
    Welcome = 1,
    Bundle = 2,
    Kills = 3,
    Leases = 4,
    RecordsStored = 5,
    Certificate = 6,
    DropOrder = 7,
    ExplainAddress = 8,
    ListPackets = 9,
    Hello = 65,
    BundleResult = 66,
    KillsResult = 67,
    LeasesResult = 68,
    Status = 69,
    Records = 70,
    Renew = 71,
    Drops = 72,
    DropOrderResult = 73,
    AddressExplained = 74,
    Packets = 75,
    Enrol = 129,
    Enrolled = 130,
    EnrolRefused = 131,
}

impl Kind {
    const ALL: [Self; 23] = [
        Self::Welcome,
        Self::Bundle,
        Self::Kills,
        Self::Leases,
        Self::RecordsStored,
        Self::Certificate,
        Self::DropOrder,
        Self::ExplainAddress,
        Self::ListPackets,
        Self::Hello,
        Self::BundleResult,
        Self::KillsResult,
        Self::LeasesResult,
        Self::Status,
        Self::Records,
        Self::Renew,
        Self::Drops,
        Self::DropOrderResult,
        Self::AddressExplained,
        Self::Packets,
        Self::Enrol,
        Self::Enrolled,
        Self::EnrolRefused,
    ];

    /// The longest body of this kind.
    #[must_use]
    pub fn bytes_max(self) -> usize {
        match self {
            Self::Bundle => BUNDLE_BYTES_MAX,
            Self::Kills => KILL_LIST_BYTES_MAX,
            Self::Leases => LEASES_BYTES_MAX,
            Self::Records => RECORDS_BYTES_MAX,
            Self::Drops | Self::AddressExplained => DROPS_BYTES_MAX,
            Self::Packets => PACKETS_BYTES_MAX,
            Self::Renew | Self::Certificate | Self::Enrol | Self::Enrolled => 4 * DER_BYTES_MAX,
            _ => SHORT_BYTES_MAX,
        }
    }
}

/// A message's first five bytes, checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Head {
    pub kind: Kind,
    pub length: usize,
}

impl Head {
    /// Refuses an unknown kind and a length past the kind's bound.
    pub fn read(bytes: [u8; HEAD_BYTES]) -> Result<Self, Refused> {
        let [kind, length @ ..] = bytes;
        let Some(kind) = Kind::ALL.into_iter().find(|known| *known as u8 == kind) else {
            return Err(wrong(
                "message",
                &kind.to_string(),
                "is not a kind that this release knows",
            ));
        };
        let length = u32::from_le_bytes(length) as usize;
        at_most("message", length, kind.bytes_max())?;
        Ok(Self { kind, length })
    }
}

/// Control plane to appliance.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ToAppliance {
    /// Answers `Hello`: records are wanted from this index on.
    Welcome {
        records_next: u64,
    },
    /// A sealed bundle.
    Bundle(Vec<u8>),
    /// A sealed kill list.
    Kills(Vec<u8>),
    /// All leases of the appliance.
    Leases(Vec<Lease>),
    /// Records below this index are kept.
    RecordsStored {
        next: u64,
    },
    /// Answers `Renew`.
    Certificate(Certified),
    DropOrder(DropOrder),
    /// What is known of an address, and what of it is dropped?
    ExplainAddress {
        id: u64,
        address: IpAddr,
    },
    /// What packets were dropped?
    ListPackets {
        id: u64,
    },
}

/// Appliance to control plane.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ToControl {
    Hello(Hello),
    /// Active, or why not.
    BundleResult {
        revision: Revision,
        result: Result<(), String>,
    },
    /// In force and on disk, or why not.
    KillsResult {
        serial: u64,
        result: Result<(), String>,
    },
    LeasesResult {
        result: Result<(), String>,
    },
    Status(Status),
    Records(Records),
    /// A new public key (SubjectPublicKeyInfo, DER) to be certified.
    Renew {
        public_key: Vec<u8>,
    },
    /// What is dropped now.
    Drops(DropsReport),
    /// What the order was carried out on (subjects that were released, entries that are held), or
    /// why not.
    DropOrderResult {
        id: u64,
        result: Result<u32, String>,
    },
    /// Answers `ExplainAddress`; nothing where nobody is ever dropped.
    AddressExplained {
        id: u64,
        explained: Option<AddressReport>,
    },
    /// Answers `ListPackets`: of each card, the newest samples of what it dropped.
    Packets {
        id: u64,
        cards: Vec<CardPackets>,
    },
}

/// The first message of a connection.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Hello {
    /// The active bundle's revision; zero: none.
    pub revision: Revision,
    /// What [`crate::Bundle::content`] says of it.
    pub content: [u8; 32],
    pub kill_serial: u64,
    /// The gateway's release.
    pub version: String,
    pub cores: u16,
    /// The public key that the appliance's log is signed with, as a note's verifier key; empty: none.
    pub log_key: String,
}

/// How the appliance is; sent every few seconds.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Status {
    pub uptime_s: u64,
    pub calls: u64,
    pub allowed: u64,
    pub denied: u64,
    pub over_quota: u64,
    pub killed: u64,
    pub faults: u64,
    pub connections: u64,
    pub in_flight: u64,
    pub records_durable: u64,
    pub resident_bytes: u64,
    /// What is wrong now, for people; empty: nothing.
    pub trouble: String,
}

impl Status {
    fn numbers(&self) -> [u64; 11] {
        [
            self.uptime_s,
            self.calls,
            self.allowed,
            self.denied,
            self.over_quota,
            self.killed,
            self.faults,
            self.connections,
            self.in_flight,
            self.records_durable,
            self.resident_bytes,
        ]
    }
}

/// Durable audit records as they stand in the log, in its order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Records {
    /// The log index of the first.
    pub first_index: u64,
    pub records: Vec<Vec<u8>>,
}

/// A whole message; wiped when dropped, because leases are one.
pub type Encoded = Zeroizing<Vec<u8>>;

impl ToAppliance {
    /// Head and body. Refuses what the other side would.
    pub fn encode(&self) -> Result<Encoded, Refused> {
        match self {
            Self::Welcome { records_next: next } => framed(Kind::Welcome, &next.to_le_bytes()),
            Self::RecordsStored { next } => framed(Kind::RecordsStored, &next.to_le_bytes()),
            Self::Bundle(sealed) => framed(Kind::Bundle, sealed),
            Self::Kills(sealed) => framed(Kind::Kills, sealed),
            Self::Leases(leases) => framed(Kind::Leases, &lease::encode(leases)?),
            Self::Certificate(certified) => {
                let mut body = Vec::new();
                certified.put(&mut body);
                framed(Kind::Certificate, &body)
            }
            Self::DropOrder(order) => {
                let mut body = Vec::new();
                order.put(&mut body)?;
                framed(Kind::DropOrder, &body)
            }
            Self::ExplainAddress { id, address } => {
                let mut body = id.to_le_bytes().to_vec();
                drops::put_address(&mut body, *address);
                framed(Kind::ExplainAddress, &body)
            }
            Self::ListPackets { id } => framed(Kind::ListPackets, &id.to_le_bytes()),
        }
    }

    pub fn decode(kind: Kind, body: Encoded) -> Result<Self, Refused> {
        let mut reader = Reader::new("message", &body);
        let message = match kind {
            Kind::Welcome => Self::Welcome { records_next: reader.u64()? },
            Kind::RecordsStored => Self::RecordsStored { next: reader.u64()? },
            Kind::Bundle => return Ok(Self::Bundle(taken(body))),
            Kind::Kills => return Ok(Self::Kills(taken(body))),
            Kind::Leases => return Ok(Self::Leases(lease::decode(&body)?)),
            Kind::Certificate => Self::Certificate(Certified::take(&mut reader)?),
            Kind::DropOrder => Self::DropOrder(DropOrder::take(&mut reader)?),
            Kind::ExplainAddress => {
                Self::ExplainAddress { id: reader.u64()?, address: drops::address(&mut reader)? }
            }
            Kind::ListPackets => Self::ListPackets { id: reader.u64()? },
            kind => return Err(unexpected(kind)),
        };
        reader.end()?;
        Ok(message)
    }
}

impl ToControl {
    /// Head and body. Refuses what the other side would.
    pub fn encode(&self) -> Result<Encoded, Refused> {
        let mut body = Vec::new();
        let kind = match self {
            Self::Hello(hello) => {
                body.extend_from_slice(&hello.revision.0.to_le_bytes());
                body.extend_from_slice(&hello.content);
                body.extend_from_slice(&hello.kill_serial.to_le_bytes());
                body.extend_from_slice(&hello.cores.to_le_bytes());
                put_text(&mut body, &hello.version);
                put_text(&mut body, &hello.log_key);
                Kind::Hello
            }
            Self::BundleResult { revision, result } => {
                body.extend_from_slice(&revision.0.to_le_bytes());
                put_result(&mut body, result);
                Kind::BundleResult
            }
            Self::KillsResult { serial, result } => {
                body.extend_from_slice(&serial.to_le_bytes());
                put_result(&mut body, result);
                Kind::KillsResult
            }
            Self::LeasesResult { result } => {
                put_result(&mut body, result);
                Kind::LeasesResult
            }
            Self::Status(status) => {
                for number in status.numbers() {
                    body.extend_from_slice(&number.to_le_bytes());
                }
                put_text(&mut body, &status.trouble);
                Kind::Status
            }
            Self::Records(records) => {
                records.put(&mut body)?;
                Kind::Records
            }
            Self::Renew { public_key } => {
                body.extend_from_slice(public_key);
                Kind::Renew
            }
            Self::Drops(report) => {
                report.put(&mut body)?;
                Kind::Drops
            }
            Self::DropOrderResult { id, result } => {
                body.extend_from_slice(&id.to_le_bytes());
                body.extend_from_slice(&result.as_ref().map_or(0, |done| *done).to_le_bytes());
                put_result(&mut body, &result.as_ref().map(drop).map_err(Clone::clone));
                Kind::DropOrderResult
            }
            Self::AddressExplained { id, explained } => {
                body.extend_from_slice(&id.to_le_bytes());
                body.push(u8::from(explained.is_some()));
                explained.as_ref().map_or(Ok(()), |explained| explained.put(&mut body))?;
                Kind::AddressExplained
            }
            Self::Packets { id, cards } => {
                body.extend_from_slice(&id.to_le_bytes());
                drops::put_packets(&mut body, cards)?;
                Kind::Packets
            }
        };
        framed(kind, &body)
    }

    pub fn decode(kind: Kind, body: &[u8]) -> Result<Self, Refused> {
        let mut reader = Reader::new("message", body);
        let message = match kind {
            Kind::Hello => Self::Hello(Hello {
                revision: Revision(reader.u64()?),
                content: reader.array()?,
                kill_serial: reader.u64()?,
                cores: reader.u16()?,
                version: text(&mut reader, "hello.version")?,
                log_key: text(&mut reader, "hello.log_key")?,
            }),
            Kind::BundleResult => Self::BundleResult {
                revision: Revision(reader.u64()?),
                result: result(&mut reader)?,
            },
            Kind::KillsResult => {
                Self::KillsResult { serial: reader.u64()?, result: result(&mut reader)? }
            }
            Kind::LeasesResult => Self::LeasesResult { result: result(&mut reader)? },
            Kind::Status => Self::Status(status(&mut reader)?),
            Kind::Records => Self::Records(Records::take(&mut reader)?),
            Kind::Renew => return Ok(Self::Renew { public_key: reader.rest().to_vec() }),
            Kind::Drops => Self::Drops(DropsReport::take(&mut reader)?),
            Kind::DropOrderResult => order_result(&mut reader)?,
            Kind::AddressExplained => Self::AddressExplained {
                id: reader.u64()?,
                explained: match reader.u8()? {
                    0 => None,
                    1 => Some(AddressReport::take(&mut reader)?),
                    other => {
                        return Err(wrong("explained", &other.to_string(), "is neither 0 nor 1"));
                    }
                },
            },
            Kind::Packets => {
                Self::Packets { id: reader.u64()?, cards: drops::packets(&mut reader)? }
            }
            kind => return Err(unexpected(kind)),
        };
        reader.end()?;
        Ok(message)
    }
}

impl Records {
    /// Bytes that `record` adds to a message.
    #[must_use]
    pub fn cost(record: &[u8]) -> usize {
        2 + record.len()
    }

    /// Room for records in one message, as [`Records::cost`] counts.
    pub const ROOM: usize = RECORDS_BYTES_MAX - 12;

    fn put(&self, out: &mut Vec<u8>) -> Result<(), Refused> {
        out.extend_from_slice(&self.first_index.to_le_bytes());
        let count = u32::try_from(self.records.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&count.to_le_bytes());
        for record in &self.records {
            at_most("record", record.len(), usize::from(u16::MAX))?;
            put_short(out, record);
        }
        Ok(())
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, Refused> {
        let first_index = reader.u64()?;
        let count = reader.u32()?;
        let mut records = Vec::new();
        for _ in 0..count {
            records.push(reader.short("record", usize::from(u16::MAX))?.to_vec());
        }
        Ok(Self { first_index, records })
    }
}

fn framed(kind: Kind, body: &[u8]) -> Result<Encoded, Refused> {
    at_most("message", body.len(), kind.bytes_max())?;
    let mut out = Zeroizing::new(Vec::with_capacity(HEAD_BYTES + body.len()));
    out.push(kind as u8);
    out.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(body);
    Ok(out)
}

/// Out of its wiping wrapper, where nothing in it is secret.
fn taken(mut body: Encoded) -> Vec<u8> {
    std::mem::take(&mut *body)
}

fn unexpected(kind: Kind) -> Refused {
    wrong("message", &format!("{kind:?}"), "is not expected from this side, or not here")
}

fn status(reader: &mut Reader<'_>) -> Result<Status, Refused> {
    Ok(Status {
        uptime_s: reader.u64()?,
        calls: reader.u64()?,
        allowed: reader.u64()?,
        denied: reader.u64()?,
        over_quota: reader.u64()?,
        killed: reader.u64()?,
        faults: reader.u64()?,
        connections: reader.u64()?,
        in_flight: reader.u64()?,
        records_durable: reader.u64()?,
        resident_bytes: reader.u64()?,
        trouble: text(reader, "status.trouble")?,
    })
}

fn order_result(reader: &mut Reader<'_>) -> Result<ToControl, Refused> {
    let (id, done) = (reader.u64()?, reader.u32()?);
    let result = match result(reader)? {
        Err(_) if done > 0 => {
            return Err(wrong("result", &done.to_string(), "is done of what was refused"));
        }
        result => result.map(|()| done),
    };
    Ok(ToControl::DropOrderResult { id, result })
}

fn put_result(out: &mut Vec<u8>, result: &Result<(), String>) {
    out.push(u8::from(result.is_ok()));
    put_text(out, result.as_ref().err().map_or("", String::as_str));
}

fn result(reader: &mut Reader<'_>) -> Result<Result<(), String>, Refused> {
    let ok = reader.u8()?;
    let reason = text(reader, "reason")?;
    match ok {
        1 if reason.is_empty() => Ok(Ok(())),
        0 => Ok(Err(reason)),
        _ => Err(wrong("result", &ok.to_string(), "is neither 0 with a reason nor 1 without")),
    }
}

/// A text for people: cut at `REASON_BYTES_MAX`, on a character's boundary.
fn put_text(out: &mut Vec<u8>, text: &str) {
    let cut = (0..=REASON_BYTES_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    put_short(out, text.get(..cut.unwrap_or(0)).unwrap_or_default().as_bytes());
}

fn text(reader: &mut Reader<'_>, field: &str) -> Result<String, Refused> {
    reader.text(field, REASON_BYTES_MAX).map(str::to_owned)
}
