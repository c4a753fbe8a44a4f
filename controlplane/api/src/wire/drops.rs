//! Drops: what network cards refuse for the gateway, and what an operator may do about it.
//!
//! A drop can be ended or held, never made: nobody is dropped by hand.

use std::net::IpAddr;

use dataplane_drops::PIN_MS_MAX;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::bounds::REASON_BYTES_MAX;
use crate::names::{check_label, check_tenant};
use crate::{Problem, Time};

/// One entry of a network card.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Dropped {
    pub appliance: String,
    /// The drop that it belongs to, of this appliance: what release and pin are told.
    pub drop: u64,
    pub target: DropTarget,
    pub tenant: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    pub cause: DropCause,
    pub since: Time,
    pub until: Time,
    pub ends_in_ms: u64,
    /// How many drops of this caller are remembered, this one included: each makes the next longer.
    pub level: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned_by: Option<String>,
    /// All of it, as a sentence.
    pub sentence: String,
}

/// What is dropped. On the wire: `{"source": "192.0.2.7"}`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DropTarget {
    /// Every packet of one connection.
    Flow { peer: String, local: String },
    /// Packets that open a connection from here.
    Source(String),
    /// Every packet from here, which is configured to be one tenant's.
    Prefix(String),
    /// Every packet to this address and port of ours, which is configured to be one tenant's.
    Service(String),
    /// Every packet of this VLAN, which is configured to be one tenant's.
    Vlan(String),
}

/// By whose refusals, or by which kill.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DropCause {
    Quota(String),
    Kill(String),
}

/// `GET /v1/drops`, newest first.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct DropsPage {
    pub items: Vec<Dropped>,
    /// All entries of the appliances asked for, also those that are too many to be told one by one.
    pub entries: u64,
    /// Appliances that are not connected: what they drop is as they said last.
    pub away: Vec<String>,
    /// Tenants whose new connections are bounded, on the first page.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thinned: Vec<Thinned>,
    /// `after` of the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// `GET /v1/drops/explain`: what is known of an address.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct DropsExplained {
    pub address: String,
    pub appliances: Vec<AddressKnown>,
}

/// What one appliance knows of an address.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct AddressKnown {
    pub appliance: String,
    /// Absent where the appliance could not be asked, or never drops anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<AddressSeen>,
    pub sentence: String,
    /// All entries that touch the address, also those that are too many to be told.
    pub entries: u64,
    pub drops: Vec<Dropped>,
    /// Why it could not be asked; what is told of its drops is as it said last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// `GET /v1/drops/packets`: dropped packets that cards have sampled, the newest first.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct PacketsPage {
    pub items: Vec<DroppedPacket>,
    /// The cards that were asked.
    pub cards: Vec<SampledCard>,
    /// Appliances that could not be asked, and why.
    pub not_asked: Vec<NotAsked>,
}

/// A packet that a network card has dropped.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct DroppedPacket {
    pub appliance: String,
    pub interface: String,
    pub at: Time,
    pub age_ms: u64,
    pub tenant: String,
    pub reason: PacketReason,
    pub table: PacketTable,
    /// The VLAN that it came in by, as `120`, or `100.7` for one in another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<String>,
    /// `TCP` or `UDP`. What its headers do not tell, here and below, is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Address and port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// TCP's flags, as `SYN` or `ACK PSH`; or what QUIC says, as `QUIC Initial`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub says: Option<String>,
    /// Bytes of the whole packet, from the Ethernet header on.
    pub length: u32,
    /// Its headers from the Ethernet header on, in hexadecimal digits, without any payload; at most 96
    /// bytes.
    pub header: String,
}

/// Why a packet was dropped.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PacketReason {
    /// Refusals of a quota were ignored.
    Refusals,
    /// By a kill.
    Kill,
    /// By an operator.
    Operator,
    /// More new connections than the tenant's bound.
    Connections,
}

/// By what the card knew it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PacketTable {
    /// Its host, or a prefix that holds it.
    Source,
    Flow,
    Service,
    Vlan,
    /// The tenant's bound of new connections.
    Bucket,
}

/// A card, and what its samples leave out.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct SampledCard {
    pub appliance: String,
    pub interface: String,
    /// One in so many dropped packets is sampled, and the first of each tenant, reason and processor.
    pub one_in: u64,
    /// Samples that found no room since the program was attached.
    pub lost: u64,
}

/// An appliance that could not be asked.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct NotAsked {
    pub appliance: String,
    pub trouble: String,
}

/// Why an address may be dropped as an address, or not.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AddressSeen {
    OneTenant,
    SeveralTenants,
    Unauthenticated,
    Unsure,
}

/// `POST /v1/drops/release`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRequest {
    pub what: Release,
    /// Where; everywhere unless told. Of a drop's number: the appliance that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub appliance: Option<String>,
    /// For the record.
    pub reason: String,
}

/// What is released: `{"tenant": "acme"}`, or `"all"`. With it goes all else of the same callers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Release {
    All,
    Drop(u64),
    Tenant(String),
    Address(String),
}

/// `POST /v1/drops/{drop}/pin`: holds a drop.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PinRequest {
    /// From now on; 1 to 43,200,000 (12 h). Nothing is made shorter.
    #[schema(minimum = 1, maximum = 43_200_000)]
    pub for_ms: u64,
    /// The appliance that has the drop, where several have one of this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub appliance: Option<String>,
    /// For the record.
    pub reason: String,
}

/// What came of an order.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct DropsOrdered {
    /// Callers that were released, or entries that are held, on all appliances.
    pub done: u64,
    pub appliances: Vec<DropsOrderedOn>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct DropsOrderedOn {
    pub appliance: String,
    pub done: u64,
    /// Why nothing was done there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// A network interface whose card refuses for an appliance.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Card {
    pub appliance: String,
    pub interface: String,
    pub mode: CardMode,
    /// Of the program that is loaded, in hexadecimal digits.
    pub program_sha256: String,
    /// Packets dropped since the program was attached, and in each of the last seconds.
    pub drops: u64,
    pub drops_per_s: u64,
    /// Entries in the program's maps, and how many these take.
    pub entries: u32,
    pub entries_max: u32,
    /// Tenants whose new connections are bounded: 64 at most, of whom most was dropped first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thinned: Vec<Thinned>,
}

/// A tenant's bound of new connections at one card, and what it came to.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Thinned {
    pub appliance: String,
    pub interface: String,
    pub tenant: String,
    /// As `200/s`.
    pub connections: String,
    pub burst: u32,
    /// Connections' first packets that were dropped since the program was attached.
    pub drops: u64,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CardMode {
    /// In the driver.
    Native,
    /// In the kernel behind it: works with every driver, and saves less.
    Generic,
}

impl std::fmt::Display for Release {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => out.write_str("all drops"),
            Self::Drop(drop) => write!(out, "drop {drop}"),
            Self::Tenant(tenant) => write!(out, "drops of tenant {tenant}"),
            Self::Address(address) => write!(out, "drops of {address}"),
        }
    }
}

impl ReleaseRequest {
    /// # Errors
    /// Names the field that cannot be used.
    pub fn check(&self) -> Result<(), Problem> {
        check_reason(&self.reason)?;
        check_appliance(self.appliance.as_deref())?;
        match &self.what {
            Release::All | Release::Drop(_) => Ok(()),
            Release::Tenant(tenant) => {
                check_tenant(tenant).map_err(|problem| problem.field("what.tenant"))
            }
            Release::Address(address) => {
                check_address(address).map(drop).map_err(|problem| problem.field("what.address"))
            }
        }
    }
}

impl PinRequest {
    /// # Errors
    /// Names the field that cannot be used.
    pub fn check(&self) -> Result<(), Problem> {
        check_reason(&self.reason)?;
        check_appliance(self.appliance.as_deref())?;
        if (1..=PIN_MS_MAX).contains(&self.for_ms) {
            return Ok(());
        }
        Err(Problem::invalid(format!("`for_ms` is {}", self.for_ms)).field("for_ms").help(format!(
            "write 1 to {PIN_MS_MAX} (12 h); hold it again later, or kill the tenant"
        )))
    }
}

/// An address, as somebody who calls tells it.
///
/// # Errors
/// When it is none.
pub fn check_address(text: &str) -> Result<IpAddr, Problem> {
    text.parse().map_err(|_| {
        Problem::invalid(format!("`{}` is no address", crate::names::shown(text)))
            .field("address")
            .help("write an address without a port, for example `192.0.2.7` or `2001:db8::7`")
    })
}

fn check_appliance(appliance: Option<&str>) -> Result<(), Problem> {
    appliance.map_or(Ok(()), |appliance| {
        check_label("appliance", appliance).map_err(|problem| problem.field("appliance"))
    })
}

/// One line: it stands in the appliance's record, too.
fn check_reason(reason: &str) -> Result<(), Problem> {
    let refused = |detail: &str| {
        Err(Problem::invalid(detail).field("reason").help(format!(
            "say in one line of at most {REASON_BYTES_MAX} bytes why, for those who read it later"
        )))
    };
    match reason {
        reason if reason.trim().is_empty() => refused("`reason` is empty"),
        reason if reason.len() > REASON_BYTES_MAX => refused("`reason` is too long"),
        reason if reason.contains(char::is_control) => {
            refused("`reason` has a line end or another control character")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(what: Release, reason: &str) -> Result<(), Problem> {
        ReleaseRequest { what, appliance: None, reason: reason.to_owned() }.check()
    }

    fn field(checked: Result<(), Problem>) -> String {
        checked.unwrap_err().field.unwrap()
    }

    #[test]
    fn a_release_needs_a_reason_and_something_to_release() {
        assert_eq!(release(Release::All, &"r".repeat(REASON_BYTES_MAX)), Ok(()));
        for bad in ["", " ", "two\nlines", &"r".repeat(REASON_BYTES_MAX + 1)] {
            assert_eq!(field(release(Release::All, bad)), "reason");
        }
        assert_eq!(release(Release::Address("2001:db8::7".to_owned()), "r"), Ok(()));
        for bad in ["", "192.0.2.7:443", "192.0.2.0/24", "host"] {
            assert_eq!(field(release(Release::Address(bad.to_owned()), "r")), "what.address");
        }
        assert_eq!(field(release(Release::Tenant("a/b".to_owned()), "r")), "what.tenant");
        let what = Release::All;
        let (appliance, reason) = (Some("Edge 1".to_owned()), "r".to_owned());
        assert_eq!(field(ReleaseRequest { what, appliance, reason }.check()), "appliance");
    }

    #[test]
    fn what_is_released_is_read_as_it_is_written() {
        let read = |text: &str| serde_json::from_str::<Release>(text).unwrap();
        assert_eq!(read(r#""all""#), Release::All);
        assert_eq!(read(r#"{"drop": 7}"#), Release::Drop(7));
        assert_eq!(read(r#"{"tenant": "acme"}"#).to_string(), "drops of tenant acme");
        assert!(serde_json::from_str::<Release>(r#"{"everything": 1}"#).is_err());
    }

    #[test]
    fn one_millisecond_past_the_longest_pin_is_refused() {
        let pin = |for_ms| PinRequest { for_ms, appliance: None, reason: "r".to_owned() }.check();
        assert_eq!(pin(PIN_MS_MAX), Ok(()));
        assert_eq!(field(pin(PIN_MS_MAX + 1)), "for_ms");
        assert_eq!(field(pin(0)), "for_ms");
    }
}
