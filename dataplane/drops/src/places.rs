//! What an operator says is one tenant's: an address and port of ours, a VLAN, a prefix.
//!
//! Configuration can be wrong. Where somebody of another tenant is authenticated through such a
//! place, it counts as shared for as long as an address would, and is not dropped as a whole. A VLAN
//! cannot be seen from here: there the operator's word is all there is.

use dataplane_telemetry::Nanos;
use serde::{Deserialize, Serialize};

use crate::limits::PLACES_MAX;
use crate::names::{Keys, Names, Owner, Per, Tag};
use crate::place::{Flow, Target, service};

/// One place, and whose it is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// A prefix, a service or a VLAN.
    pub target: Target,
    pub tenant: String,
}

/// What is wrong with the places of a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PlaceFault {
    TooMany {
        found: usize,
    },
    /// Flows and sources are seen, not configured; a VLAN is 1 to 4094 (IEEE 802.1Q).
    NoPlace(Box<Target>),
    /// Two tenants have it, or have parts of it.
    Overlap(Box<(Target, Target)>),
}

impl std::fmt::Display for PlaceFault {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooMany { found } => {
                write!(out, "{found} places of tenants; {PLACES_MAX} at most")
            }
            Self::NoPlace(target) => write!(
                out,
                "{target}: a tenant's place is a prefix, an address and port, or a VLAN from 1 to 4094"
            ),
            Self::Overlap(both) => {
                let (one, other) = both.as_ref();
                write!(out, "{one} and {other} overlap and are two tenants'; keep them apart")
            }
        }
    }
}

impl std::error::Error for PlaceFault {}

/// Whether [`crate::Drops::on_places`] would take them: for who writes a configuration.
///
/// # Errors
/// Two tenants' places with packets in common, too many, or no places at all.
pub fn check_places(places: &[Place]) -> Result<(), PlaceFault> {
    if places.len() > PLACES_MAX {
        return Err(PlaceFault::TooMany { found: places.len() });
    }
    let mut seen: Vec<(Target, &str)> = Vec::with_capacity(places.len());
    for place in places {
        let target =
            one_form(place.target).ok_or_else(|| PlaceFault::NoPlace(Box::new(place.target)))?;
        let clash =
            seen.iter().find(|(other, tenant)| *tenant != place.tenant && overlap(other, &target));
        if let Some((other, _)) = clash {
            return Err(PlaceFault::Overlap(Box::new((*other, target))));
        }
        seen.push((target, &place.tenant));
    }
    Ok(())
}

#[derive(Debug, Default)]
pub(crate) struct Places(Vec<Kept>);

#[derive(Debug)]
struct Kept {
    target: Target,
    tag: Tag,
    shared_until: Nanos,
}

impl Places {
    /// What was seen of a place before stays known.
    pub(crate) fn new(places: &[Place], before: &Self, keys: &Keys) -> Result<Self, PlaceFault> {
        check_places(places)?;
        let mut kept: Vec<Kept> = Vec::with_capacity(places.len());
        for place in places {
            let target = one_form(place.target)
                .ok_or_else(|| PlaceFault::NoPlace(Box::new(place.target)))?;
            let names = Names { tenant: &place.tenant, user: None, agent: None };
            let tag = keys.owner(names).tag(Per::Tenant);
            let known = before.0.iter().find(|old| old.target == target && old.tag == tag);
            let shared_until = known.map_or(Nanos(0), |old| old.shared_until);
            kept.push(Kept { target, tag, shared_until });
        }
        Ok(Self(kept))
    }

    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    /// The place with this number, if it is this tenant's alone as far as is known.
    pub(crate) fn of(&self, number: usize, tenant: Tag, now: Nanos) -> Option<Target> {
        let place = self.0.get(number)?;
        (place.tag == tenant && now >= place.shared_until).then_some(place.target)
    }

    pub(crate) fn has(&self, target: &Target, tenant: Tag) -> bool {
        self.0.iter().any(|place| place.target == *target && place.tag == tenant)
    }

    /// `owner` came through this flow. The place with this number, if it is another's: shared from
    /// now on.
    pub(crate) fn contradict(
        &mut self,
        number: usize,
        flow: &Flow,
        owner: &Owner,
        until: Nanos,
    ) -> Option<Target> {
        let place = self.0.get_mut(number)?;
        let is_through = match &place.target {
            Target::Prefix(prefix) => prefix.overlaps(&flow.source()),
            Target::Service(service) => *service == flow.local,
            Target::Flow(_) | Target::Source(_) | Target::Vlan { .. } => false,
        };
        if !is_through || owner.tag(Per::Tenant) == place.tag {
            return None;
        }
        place.shared_until = place.shared_until.max(until);
        Some(place.target)
    }
}

fn one_form(target: Target) -> Option<Target> {
    match target {
        Target::Prefix(_) => Some(target),
        Target::Service(at) => Some(Target::Service(service(at))),
        Target::Vlan { outer: 1..=4_094, inner: 0..=4_094 } => Some(target),
        Target::Flow(_) | Target::Source(_) | Target::Vlan { .. } => None,
    }
}

/// Kinds beside each other may overlap: a packet of two tenants' places is dropped for either, and
/// the first authenticated call that says so ends that.
fn overlap(one: &Target, other: &Target) -> bool {
    match (one, other) {
        (Target::Prefix(one), Target::Prefix(other)) => one.overlaps(other),
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Prefix;

    fn place(target: Target, tenant: &str) -> Place {
        Place { target, tenant: tenant.to_owned() }
    }

    const fn vlan(outer: u16) -> Target {
        Target::Vlan { outer, inner: 0 }
    }

    fn prefix(text: &str, bits: u8) -> Target {
        Target::Prefix(Prefix::new(text.parse().unwrap(), bits).unwrap())
    }

    fn check(places: &[Place]) -> Result<usize, PlaceFault> {
        let keys = Keys::new([3; 16]);
        Places::new(places, &Places::default(), &keys).map(|places| places.len())
    }

    #[test]
    fn one_place_too_many() {
        let vlans = |count: u16| -> Vec<Place> {
            (1..=count).map(|tag| place(vlan(tag), "acme")).collect()
        };
        assert_eq!(check(&vlans(1_024)), Ok(1_024));
        assert_eq!(check(&vlans(1_025)), Err(PlaceFault::TooMany { found: 1_025 }));
    }

    #[test]
    fn a_place_of_two_tenants_is_refused() {
        let (ten, part) = (prefix("10.0.0.0", 8), prefix("10.1.0.0", 16));
        let both = |one: &str, other: &str| check(&[place(ten, one), place(part, other)]);
        assert_eq!(both("acme", "acme"), Ok(2));
        assert_eq!(both("acme", "zeta"), Err(PlaceFault::Overlap(Box::new((ten, part)))));
        let service = |text: &str| Target::Service(text.parse().unwrap());
        let (one, other) = (service("[::ffff:192.0.2.1]:443"), service("192.0.2.1:443"));
        let both = check(&[place(one, "acme"), place(other, "zeta")]);
        assert_eq!(both, Err(PlaceFault::Overlap(Box::new((other, other)))));
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for target in [vlan(0), vlan(4_095), Target::Source(Prefix::source("::1".parse().unwrap()))]
        {
            assert_eq!(check(&[place(target, "acme")]), Err(PlaceFault::NoPlace(Box::new(target))));
        }
    }
}
