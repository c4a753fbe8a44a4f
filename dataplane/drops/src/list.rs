//! What an operator is shown: plain values, each with a sentence.

use std::net::IpAddr;

use dataplane_telemetry::{Now, WallNanos};
use serde::Serialize;

use crate::drops::Drops;
use crate::entries::{Entry, wall};
use crate::limits::MS;
use crate::names::{Cause, Per, Whose};
use crate::operator::Select;
use crate::place::{Prefix, Target};
use crate::sightings::Known;

/// One entry of the card.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Listed {
    /// The drop that it belongs to: what `release` and `pin` are told.
    pub drop: u64,
    pub target: Target,
    pub tenant: String,
    pub user: Option<String>,
    pub agent: Option<String>,
    pub per: Per,
    /// The quota whose refusals were ignored, or the kill.
    pub cause: Cause,
    /// Wall-clock nanoseconds since 1970.
    pub since: u64,
    pub until: u64,
    pub ends_in_ms: u64,
    /// How many drops of this subject are remembered, this one included: each makes the next longer.
    pub level: u8,
    pub pinned_by: Option<String>,
    pub sentence: String,
}

/// What is known of an address: for whoever calls and says "we are being dropped".
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Explained {
    pub address: IpAddr,
    pub seen: Seen,
    pub sentence: String,
    /// Its own connections, the address itself, and configured prefixes around it.
    pub entries: Vec<Listed>,
}

/// Why an address may be dropped as an address, or not.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    OneTenant,
    SeveralTenants,
    Unauthenticated,
    Unsure,
}

impl Drops {
    /// The entries that there are, the newest drop first.
    #[must_use]
    pub fn list(&self, select: &Select<'_>, now: Now) -> Vec<Listed> {
        let live = self.entries.iter().filter(|entry| now.mono < entry.until);
        let chosen = live.filter(|entry| select.has(entry));
        let mut listed: Vec<Listed> = chosen.map(|entry| self.listed(entry, now)).collect();
        listed.sort_by(|one, other| {
            let order = |listed: &Listed| (std::cmp::Reverse(listed.drop), listed.since);
            order(one).cmp(&order(other)).then_with(|| one.sentence.cmp(&other.sentence))
        });
        listed
    }

    /// What is known of an address, and every entry that touches it.
    #[must_use]
    pub fn explain(&self, address: IpAddr, now: Now) -> Explained {
        let source = Prefix::source(address);
        let key = Target::Source(source).key(&self.keys);
        let (seen, why) = match self.sightings.known(key, Per::Tenant, now.mono) {
            Known::One(_) => (Seen::OneTenant, "one tenant alone has used it for long enough"),
            Known::Several => (
                Seen::SeveralTenants,
                "it is shared by several tenants, so it is never dropped whole",
            ),
            Known::Stranger => (
                Seen::Unauthenticated,
                "somebody without a good credential was there, so it is not dropped whole",
            ),
            Known::Unsure => {
                (Seen::Unsure, "it is not known for long enough, so it is not dropped whole")
            }
        };
        let entries = self.list(&Select::Address(address), now);
        let sentence = match entries.len() {
            0 => format!("Nothing of {source} is dropped: {why}."),
            1 => format!("One entry drops packets of {source}; as for the address, {why}."),
            count => {
                format!("{count} entries drop packets of {source}; as for the address, {why}.")
            }
        };
        Explained { address, seen, sentence, entries }
    }

    fn listed(&self, entry: &Entry, now: Now) -> Listed {
        let climb = self.ladder.climbs.get(entry.subject.key);
        let pinned_by = climb.and_then(|climb| climb.pinned_by.as_deref());
        let subject = &entry.subject;
        let listed = Listed {
            drop: entry.drop,
            target: entry.target,
            tenant: subject.tenant.to_string(),
            user: subject.user.as_deref().map(str::to_owned),
            agent: subject.agent.as_deref().map(str::to_owned),
            per: subject.per,
            cause: subject.cause.clone(),
            since: entry.since.wall.0,
            until: wall(entry.until, now).0,
            ends_in_ms: 0,
            level: climb.map_or(0, |climb| climb.level),
            pinned_by: pinned_by.map(str::to_owned),
            sentence: String::new(),
        };
        listed.said_at(now.wall)
    }
}

impl Listed {
    /// The same, as it is said at another time: how long it lasts from then, and the sentence.
    #[must_use]
    pub fn said_at(mut self, now: WallNanos) -> Self {
        self.ends_in_ms = self.until.saturating_sub(now.0).div_ceil(MS);
        self.sentence = self.sentence();
        self
    }

    fn sentence(&self) -> String {
        let (user, agent) = (self.user.as_deref(), self.agent.as_deref());
        let whose = Whose { per: self.per, tenant: &self.tenant, user, agent };
        let why = match &self.cause {
            Cause::Quota(quota) => {
                format!("{whose} went on calling before the time that quota {quota} had told")
            }
            Cause::Kill(kill) => format!("{whose} is off by kill {kill}"),
        };
        let again = match self.level {
            0 | 1 => String::new(),
            level => format!(" This is drop {level} in a row; calm makes the next one shorter."),
        };
        let held = self.pinned_by.as_ref().map(|who| format!(" {who} holds it."));
        let held = held.unwrap_or_default();
        let (target, drop, seconds) = (self.target, self.drop, self.ends_in_ms.div_ceil(1_000));
        format!(
            "The card drops {target}: {why}.{again}{held} It ends by itself in {seconds} s; \
             `portcullis drops release --drop {drop}` ends it now."
        )
    }
}
