//! What a tenant has to itself, as people write it: addresses and ports of ours, prefixes, VLANs.
//!
//! The network card may drop such a place whole, for the tenant's own refusals. So two tenants' places
//! never overlap, and one that others are seen in is left alone.

use std::net::{IpAddr, SocketAddr};

use dataplane_drops::{IPV6_BITS_MAX, PLACES_MAX, Place, PlaceFault, Prefix, Target, check_places};
use serde::de::{Error, SeqAccess, Visitor};

use super::{Tenant, check_list};
use crate::Problem;
use crate::bounds::LIST_MAX;
use crate::names::shown;

impl Tenant {
    /// What is the tenant's own, in the order in which it is written.
    ///
    /// # Errors
    /// Names the list, and what of it cannot be read.
    pub fn places(&self) -> Result<Vec<Target>, Problem> {
        check_list("services", &self.services, LIST_MAX)?;
        check_list("prefixes", &self.prefixes, LIST_MAX)?;
        check_list("vlans", &self.vlans, LIST_MAX)?;
        let services = self.services.iter().map(|text| service(text));
        let prefixes = self.prefixes.iter().map(|text| prefix(text));
        let vlans = self.vlans.iter().map(|text| vlan(text));
        services.chain(prefixes).chain(vlans).collect()
    }
}

/// Whether the places of all tenants go together: the tenant at fault, and why.
pub(crate) fn check_together<'a>(
    tenants: impl Iterator<Item = (&'a String, &'a Tenant)>,
) -> Option<(String, Problem)> {
    let mut places = Vec::new();
    for (name, tenant) in tenants {
        // What cannot be read is told where it stands.
        let targets = tenant.places().unwrap_or_default();
        places.extend(targets.into_iter().map(|target| Place { target, tenant: name.clone() }));
    }
    match check_places(&places).err()? {
        PlaceFault::TooMany { found } => Some((
            String::new(),
            Problem::invalid(format!("tenants would have {found} places of their own"))
                .help(format!("at most {PLACES_MAX} are taken: write shorter prefixes")),
        )),
        fault @ PlaceFault::NoPlace(_) => {
            Some((String::new(), Problem::invalid(fault.to_string())))
        }
        PlaceFault::Overlap(both) => {
            let owner = |target: &Target| {
                let found = places.iter().rev().find(|place| place.target == *target);
                found.map_or_else(String::new, |place| place.tenant.clone())
            };
            let (one, other) = (owner(&both.0), owner(&both.1));
            let detail = format!("{} (of tenant {one}) and {} overlap", both.0, both.1);
            let problem = Problem::invalid(detail)
                .field(field(&both.1))
                .help("what two tenants use is no one's own: leave it out of both, or part it");
            Some((other, problem))
        }
    }
}

const fn field(target: &Target) -> &'static str {
    match target {
        Target::Service(_) | Target::Flow(_) => "services",
        Target::Prefix(_) | Target::Source(_) => "prefixes",
        Target::Vlan { .. } => "vlans",
    }
}

fn service(text: &str) -> Result<Target, Problem> {
    let found: Option<SocketAddr> = text.parse().ok();
    let found = found.map(|at| SocketAddr::new(at.ip().to_canonical(), at.port()));
    found.filter(|at| at.port() != 0).map(Target::Service).ok_or_else(|| {
        unreadable("services", text, "no address and port").help(
            "write an address of the gateway and its port, for example `10.0.0.5:443` or \
             `[2001:db8::5]:443`",
        )
    })
}

fn prefix(text: &str) -> Result<Target, Problem> {
    let unreadable = || {
        unreadable("prefixes", text, "no prefix")
            .help("write for example `192.0.2.0/24`, `2001:db8::/32` or a single IPv4 address")
    };
    let (network, bits) = match text.split_once('/') {
        Some((network, bits)) => (network, Some(bits.parse().map_err(|_| unreadable())?)),
        None => (text, None),
    };
    let network: IpAddr = network.parse().map_err(|_| unreadable())?;
    let (all, most) = match network.to_canonical().is_ipv4() {
        true => (32, 32),
        false => (128, IPV6_BITS_MAX),
    };
    let bits: u8 = bits.unwrap_or(all);
    Prefix::new(network, bits).map(Target::Prefix).ok_or_else(|| {
        unreadable().help(if bits > all {
            "IPv4 has 32 bits, IPv6 128"
        } else if bits > most {
            "a host of IPv6 changes the last 64 bits at will: write its /64, if that is all theirs"
        } else if network.is_ipv6() && network.is_multicast() {
            "nobody sends from a multicast address: write the tenant's own"
        } else {
            "bits beyond the length are set: write the network's own address"
        })
    })
}

fn vlan(text: &str) -> Result<Target, Problem> {
    let tag = |text: &str| text.parse().ok().filter(|tag| (1..=4_094).contains(tag));
    let found = match text.split_once('.') {
        Some((outer, inner)) => tag(outer).zip(tag(inner)),
        None => tag(text).map(|outer| (outer, 0)),
    };
    found.map(|(outer, inner)| Target::Vlan { outer, inner }).ok_or_else(|| {
        unreadable("vlans", text, "no VLAN")
            .help("write a tag from 1 to 4094, or `\"outer.inner\"` of a VLAN in a VLAN")
    })
}

fn unreadable(field: &str, text: &str, what: &str) -> Problem {
    Problem::invalid(format!("`{}` is {what}", shown(text))).field(field)
}

/// `[120, "100.7"]`: tags as numbers or as texts.
pub(super) fn tags<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    struct Tag(String);
    struct OfTag;
    impl Visitor<'_> for OfTag {
        type Value = Tag;
        fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            out.write_str("a VLAN's tag, as 120 or \"100.7\"")
        }
        fn visit_str<E: Error>(self, text: &str) -> Result<Tag, E> {
            Ok(Tag(text.to_owned()))
        }
        fn visit_i64<E: Error>(self, tag: i64) -> Result<Tag, E> {
            Ok(Tag(tag.to_string()))
        }
        fn visit_u64<E: Error>(self, tag: u64) -> Result<Tag, E> {
            Ok(Tag(tag.to_string()))
        }
    }
    impl<'de> serde::Deserialize<'de> for Tag {
        fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            from.deserialize_any(OfTag)
        }
    }
    struct OfList;
    impl<'de> Visitor<'de> for OfList {
        type Value = Vec<String>;
        fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            out.write_str("a list of VLANs' tags")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<String>, A::Error> {
            let mut tags = Vec::new();
            while let Some(Tag(tag)) = seq.next_element()? {
                // One more than may be is enough to refuse it by its name.
                if tags.len() <= LIST_MAX {
                    tags.push(tag);
                }
            }
            Ok(tags)
        }
    }
    from.deserialize_seq(OfList)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn tenant(text: &str) -> Tenant {
        toml::from_str(text).unwrap()
    }

    fn refused(text: &str) -> (String, String) {
        let problem = tenant(text).places().unwrap_err();
        (problem.field.unwrap_or_default(), problem.detail)
    }

    #[test]
    fn each_kind_is_read_in_its_one_form() {
        let written = tenant(
            "services = [\"10.0.0.5:443\", \"[::ffff:10.0.0.6]:443\", \"[2001:db8::5]:443\"]\n\
             prefixes = [\"192.0.2.0/24\", \"2001:db8::/32\", \"192.0.2.7\", \"0.0.0.0/0\"]\n\
             vlans = [120, \"100.7\", \"4094\"]\n",
        );
        let said: Vec<String> = written.places().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "everything to 10.0.0.5:443",
                "everything to 10.0.0.6:443",
                "everything to [2001:db8::5]:443",
                "everything from 192.0.2.0/24",
                "everything from 2001:db8::/32",
                "everything from 192.0.2.7",
                "everything from 0.0.0.0/0",
                "everything of VLAN 120",
                "everything of VLAN 100.7",
                "everything of VLAN 4094",
            ]
        );
        let json = serde_json::to_value(&written).unwrap();
        assert_eq!(json["vlans"], serde_json::json!(["120", "100.7", "4094"]));
        assert_eq!(serde_json::from_value::<Tenant>(json).unwrap(), written);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for bad in ["10.0.0.5", "10.0.0.5:0", "gateway:443", "10.0.0.5:65536", ""] {
            let (field, detail) = refused(&format!("services = [\"{bad}\"]"));
            assert_eq!((&*field, detail), ("services", format!("`{bad}` is no address and port")));
        }
        for bad in [
            "192.0.2.1/24",
            "192.0.2.0/33",
            "::/129",
            "x/8",
            "192.0.2.0/",
            "192.0.2.0/-1",
            "2001:db8::7",
            "2001:db8::/65",
            "ff02::/16",
        ] {
            assert_eq!(refused(&format!("prefixes = [\"{bad}\"]")).0, "prefixes", "{bad}");
        }
        for bad in ["0", "4095", "-1", "\"100.\"", "\"100.0\"", "\"100.7.1\"", "\"\"", "\"x\""] {
            assert_eq!(refused(&format!("vlans = [{bad}]")).0, "vlans", "{bad}");
        }
        assert!(toml::from_str::<Tenant>("vlans = [1.5]").is_err());
        assert!(toml::from_str::<Tenant>("vlans = 120").is_err());
    }

    #[test]
    fn one_too_many_of_a_tenant_and_of_all() {
        let vlans = |from: usize, count: usize| Tenant {
            vlans: (from..from + count).map(|tag| tag.to_string()).collect(),
            ..Tenant::default()
        };
        assert!(vlans(1, LIST_MAX).places().is_ok() && vlans(1, LIST_MAX + 1).places().is_err());
        let mut all: BTreeMap<String, Tenant> =
            (0..4).map(|n| (format!("t{n}"), vlans(1 + n * LIST_MAX, LIST_MAX))).collect();
        assert_eq!(check_together(all.iter()), None);
        all.insert("t4".to_owned(), vlans(4_000, 1));
        let (_, problem) = check_together(all.iter()).unwrap();
        assert!(problem.detail.contains("1025 places"), "{problem:?}");
        let text = format!("vlans = [{}]", vec!["7"; LIST_MAX + 9].join(","));
        assert!(tenant(&text).places().is_err());
    }

    #[test]
    fn two_tenants_cannot_have_the_same() {
        let pair = |one: &str, other: &str| {
            let all = [("acme", one), ("zeta", other)];
            let all: BTreeMap<String, Tenant> =
                all.map(|(name, text)| (name.to_owned(), tenant(text))).into();
            check_together(all.iter())
        };
        assert_eq!(pair("vlans = [120]", "vlans = [\"120.7\"]"), None);
        let (name, problem) =
            pair("prefixes = [\"10.0.0.0/8\"]", "vlans = [1]\nprefixes = [\"10.1.0.0/16\"]")
                .unwrap();
        assert_eq!((&*name, problem.field.as_deref()), ("zeta", Some("prefixes")));
        assert_eq!(
            problem.detail,
            "everything from 10.0.0.0/8 (of tenant acme) and everything from 10.1.0.0/16 overlap"
        );
        let (name, _) =
            pair("services = [\"10.0.0.5:443\"]", "services = [\"[::ffff:10.0.0.5]:443\"]")
                .unwrap();
        assert_eq!(name, "zeta");
    }
}
