//! A revision's content: every object by kind and name.
//!
//! As typed maps for those who compile it, and as (kind, name, JSON) for those who store and compare
//! it; the two say the same.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::Problem;
use crate::bounds::{OBJECTS_OF_A_KIND_MAX, PROVIDERS_MAX, QUOTAS_MAX, SERVERS_MAX};
use crate::names::{check_label, check_principal, check_server, check_tenant};
use crate::objects::{
    ApiKey, Gateway, Group, Identity, Jwks, Pins, Policy, PolicyTest, Quota, Role, Server, Tenant,
    check_together,
};

/// What sort of object.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Gateway,
    Tenant,
    Identity,
    Server,
    Role,
    Group,
    Policy,
    Quota,
    PolicyTest,
    /// Kept beside what people write: approved tools.
    Pins,
    /// Kept beside what people write: a provider's keys.
    Jwks,
    /// Kept beside what people write: hashes of issued keys.
    ApiKey,
}

impl Kind {
    pub const ALL: [Self; 12] = [
        Self::Gateway,
        Self::Tenant,
        Self::Identity,
        Self::Server,
        Self::Role,
        Self::Group,
        Self::Policy,
        Self::Quota,
        Self::PolicyTest,
        Self::Pins,
        Self::Jwks,
        Self::ApiKey,
    ];

    /// As stored and as on the wire.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Tenant => "tenant",
            Self::Identity => "identity",
            Self::Server => "server",
            Self::Role => "role",
            Self::Group => "group",
            Self::Policy => "policy",
            Self::Quota => "quota",
            Self::PolicyTest => "policy_test",
            Self::Pins => "pins",
            Self::Jwks => "jwks",
            Self::ApiKey => "api_key",
        }
    }

    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// Whether a folder and a rollback decide over it. What they do not decide over stays as it is:
    /// a rollback never revives a deleted key nor un-approves a tool.
    #[must_use]
    pub const fn written_by_people(self) -> bool {
        !matches!(self, Self::Pins | Self::Jwks | Self::ApiKey)
    }
}

/// All objects of a revision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObjectSet {
    pub gateway: Gateway,
    pub tenants: BTreeMap<String, Tenant>,
    pub identity: BTreeMap<String, Identity>,
    pub servers: BTreeMap<String, Server>,
    pub roles: BTreeMap<String, Role>,
    pub groups: BTreeMap<String, Group>,
    /// By path in the folder.
    pub policies: BTreeMap<String, Policy>,
    pub quotas: BTreeMap<String, Quota>,
    /// By path in the folder.
    pub tests: BTreeMap<String, PolicyTest>,
    /// By server.
    pub pins: BTreeMap<String, Pins>,
    /// By identity provider.
    pub jwks: BTreeMap<String, Jwks>,
    /// By key id.
    pub api_keys: BTreeMap<String, ApiKey>,
}

/// The gateway's settings are one object; this is its name.
pub const GATEWAY_NAME: &str = "gateway";

impl ObjectSet {
    /// Every object as JSON, ordered by kind and name.
    #[must_use]
    pub fn entries(&self) -> Vec<(Kind, String, Value)> {
        let mut all = vec![(Kind::Gateway, GATEWAY_NAME.to_owned(), json(&self.gateway))];
        gather(&mut all, Kind::Tenant, &self.tenants);
        gather(&mut all, Kind::Identity, &self.identity);
        gather(&mut all, Kind::Server, &self.servers);
        gather(&mut all, Kind::Role, &self.roles);
        gather(&mut all, Kind::Group, &self.groups);
        gather(&mut all, Kind::Policy, &self.policies);
        gather(&mut all, Kind::Quota, &self.quotas);
        gather(&mut all, Kind::PolicyTest, &self.tests);
        gather(&mut all, Kind::Pins, &self.pins);
        gather(&mut all, Kind::Jwks, &self.jwks);
        gather(&mut all, Kind::ApiKey, &self.api_keys);
        all
    }

    /// Names of all objects of a kind, sorted.
    #[must_use]
    pub fn names(&self, kind: Kind) -> Vec<&str> {
        fn of<T>(objects: &BTreeMap<String, T>) -> Vec<&str> {
            objects.keys().map(String::as_str).collect()
        }
        match kind {
            Kind::Gateway => vec![GATEWAY_NAME],
            Kind::Tenant => of(&self.tenants),
            Kind::Identity => of(&self.identity),
            Kind::Server => of(&self.servers),
            Kind::Role => of(&self.roles),
            Kind::Group => of(&self.groups),
            Kind::Policy => of(&self.policies),
            Kind::Quota => of(&self.quotas),
            Kind::PolicyTest => of(&self.tests),
            Kind::Pins => of(&self.pins),
            Kind::Jwks => of(&self.jwks),
            Kind::ApiKey => of(&self.api_keys),
        }
    }

    /// Adds or replaces one object.
    ///
    /// # Errors
    /// When the JSON is no object of this kind; the problem says which field.
    pub fn put(&mut self, kind: Kind, name: &str, body: Value) -> Result<(), Problem> {
        match kind {
            Kind::Gateway => self.gateway = read(body)?,
            Kind::Tenant => insert(&mut self.tenants, name, body)?,
            Kind::Identity => insert(&mut self.identity, name, body)?,
            Kind::Server => insert(&mut self.servers, name, body)?,
            Kind::Role => insert(&mut self.roles, name, body)?,
            Kind::Group => insert(&mut self.groups, name, body)?,
            Kind::Policy => insert(&mut self.policies, name, body)?,
            Kind::Quota => insert(&mut self.quotas, name, body)?,
            Kind::PolicyTest => insert(&mut self.tests, name, body)?,
            Kind::Pins => insert(&mut self.pins, name, body)?,
            Kind::Jwks => insert(&mut self.jwks, name, body)?,
            Kind::ApiKey => insert(&mut self.api_keys, name, body)?,
        }
        Ok(())
    }

    /// One object as JSON.
    #[must_use]
    pub fn get(&self, kind: Kind, name: &str) -> Option<Value> {
        match kind {
            Kind::Gateway => (name == GATEWAY_NAME).then(|| json(&self.gateway)),
            Kind::Tenant => self.tenants.get(name).map(json),
            Kind::Identity => self.identity.get(name).map(json),
            Kind::Server => self.servers.get(name).map(json),
            Kind::Role => self.roles.get(name).map(json),
            Kind::Group => self.groups.get(name).map(json),
            Kind::Policy => self.policies.get(name).map(json),
            Kind::Quota => self.quotas.get(name).map(json),
            Kind::PolicyTest => self.tests.get(name).map(json),
            Kind::Pins => self.pins.get(name).map(json),
            Kind::Jwks => self.jwks.get(name).map(json),
            Kind::ApiKey => self.api_keys.get(name).map(json),
        }
    }

    /// Takes one object away, and what hangs on it; says whether it was there. The gateway's
    /// settings go back to their defaults.
    pub fn remove(&mut self, kind: Kind, name: &str) -> bool {
        match kind {
            Kind::Gateway => std::mem::take(&mut self.gateway) != Gateway::default(),
            Kind::Tenant => self.tenants.remove(name).is_some(),
            Kind::Identity => {
                self.jwks.remove(name);
                self.identity.remove(name).is_some()
            }
            Kind::Server => {
                self.pins.remove(name);
                self.servers.remove(name).is_some()
            }
            Kind::Role => self.roles.remove(name).is_some(),
            Kind::Group => self.groups.remove(name).is_some(),
            Kind::Policy => self.policies.remove(name).is_some(),
            Kind::Quota => self.quotas.remove(name).is_some(),
            Kind::PolicyTest => self.tests.remove(name).is_some(),
            Kind::Pins => self.pins.remove(name).is_some(),
            Kind::Jwks => self.jwks.remove(name).is_some(),
            Kind::ApiKey => self.api_keys.remove(name).is_some(),
        }
    }

    /// What people wrote comes from `written`, the rest stays; what hung on an object that is gone
    /// goes with it, and pins of a server whose address changed go too: another server may be there.
    #[must_use]
    pub fn replaced_by(&self, written: &Self) -> Self {
        let same_url = |name: &String, pins: &Pins| {
            written.servers.get(name).is_some_and(|server| server.url == pins.url)
        };
        let mut next = written.clone();
        next.api_keys = self.api_keys.clone();
        next.pins = self.pins.clone();
        next.pins.retain(|name, pins| same_url(name, pins));
        next.jwks = self.jwks.clone();
        next.jwks.retain(|name, _| {
            let (was, is) = (self.identity.get(name), written.identity.get(name));
            let source = |identity: &Identity| (identity.issuer.clone(), identity.jwks_url.clone());
            is.is_some_and(|is| is.jwks.is_none()) && was.map(source) == is.map(source)
        });
        next
    }

    /// Checks every object and every count; finds all problems, in order of kind and name.
    #[must_use]
    pub fn check(&self) -> Vec<(Kind, String, Problem)> {
        let mut found = Vec::new();
        if let Err(problem) = self.gateway.check() {
            found.push((Kind::Gateway, GATEWAY_NAME.to_owned(), problem));
        }
        check_all(&mut found, Kind::Tenant, &self.tenants, check_tenant, Tenant::check);
        check_all(
            &mut found,
            Kind::Identity,
            &self.identity,
            label("identity provider"),
            Identity::check,
        );
        check_all(&mut found, Kind::Server, &self.servers, check_server, Server::check);
        let role = |name: &str| check_principal("role", name);
        check_all(&mut found, Kind::Role, &self.roles, role, Role::check);
        let group = |name: &str| check_principal("group", name);
        check_all(&mut found, Kind::Group, &self.groups, group, Group::check);
        let path = crate::folder::check_policy_path;
        check_all(&mut found, Kind::Policy, &self.policies, path, Policy::check);
        check_all(&mut found, Kind::Quota, &self.quotas, label("quota"), Quota::check);
        let path = crate::folder::check_test_path;
        check_all(&mut found, Kind::PolicyTest, &self.tests, path, PolicyTest::check);
        check_all(&mut found, Kind::ApiKey, &self.api_keys, label("key"), ApiKey::check);
        if let Some((name, problem)) = check_together(self.tenants.iter()) {
            found.push((Kind::Tenant, name, problem));
        }
        self.check_counts(&mut found);
        found
    }

    fn check_counts(&self, found: &mut Vec<(Kind, String, Problem)>) {
        let counts = [
            (Kind::Tenant, self.tenants.len(), OBJECTS_OF_A_KIND_MAX),
            (Kind::Identity, self.identity.len(), PROVIDERS_MAX),
            (Kind::Server, self.servers.len(), SERVERS_MAX),
            (Kind::Role, self.roles.len(), OBJECTS_OF_A_KIND_MAX),
            (Kind::Group, self.groups.len(), OBJECTS_OF_A_KIND_MAX),
            (Kind::Policy, self.policies.len(), OBJECTS_OF_A_KIND_MAX),
            (Kind::Quota, self.quotas.len(), QUOTAS_MAX),
            (Kind::PolicyTest, self.tests.len(), OBJECTS_OF_A_KIND_MAX),
            (Kind::ApiKey, self.api_keys.len(), OBJECTS_OF_A_KIND_MAX),
        ];
        for (kind, count, max) in counts {
            if count > max {
                let detail = format!("there would be {count} objects of kind {}", kind.word());
                let problem = Problem::invalid(detail).help(format!("at most {max} are taken"));
                found.push((kind, String::new(), problem));
            }
        }
    }
}

fn label(what: &'static str) -> impl Fn(&str) -> Result<(), Problem> {
    move |name| check_label(what, name)
}

fn check_all<T>(
    found: &mut Vec<(Kind, String, Problem)>,
    kind: Kind,
    objects: &BTreeMap<String, T>,
    name_check: impl Fn(&str) -> Result<(), Problem>,
    check: impl Fn(&T) -> Result<(), Problem>,
) {
    for (name, object) in objects {
        if let Err(problem) = name_check(name).and_then(|()| check(object)) {
            found.push((kind, name.clone(), problem));
        }
    }
}

fn gather<T: Serialize>(
    all: &mut Vec<(Kind, String, Value)>,
    kind: Kind,
    objects: &BTreeMap<String, T>,
) {
    all.extend(objects.iter().map(|(name, object)| (kind, name.clone(), json(object))));
}

/// Our own objects always have a JSON form; were it otherwise, null compares as a difference.
fn json<T: Serialize>(object: &T) -> Value {
    serde_json::to_value(object).unwrap_or(Value::Null)
}

fn read<T: DeserializeOwned>(body: Value) -> Result<T, Problem> {
    serde_json::from_value(body).map_err(|error| {
        Problem::invalid(error.to_string()).help("see the object's fields in /v1/openapi.json")
    })
}

fn insert<T: DeserializeOwned>(
    objects: &mut BTreeMap<String, T>,
    name: &str,
    body: Value,
) -> Result<(), Problem> {
    objects.insert(name.to_owned(), read(body)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::{MEMBERS_MAX, POLICY_BYTES_MAX};

    #[test]
    fn one_member_too_many_and_one_byte_of_policy_too_many_are_refused() {
        let role = |count: usize| {
            let users = (0..count).map(|number| format!("acme/u{number}")).collect();
            Role { users, ..Role::default() }.check()
        };
        assert!(role(MEMBERS_MAX).is_ok() && role(MEMBERS_MAX + 1).is_err());
        let policy = |bytes: usize| Policy { text: " ".repeat(bytes) }.check();
        assert!(policy(POLICY_BYTES_MAX).is_ok() && policy(POLICY_BYTES_MAX + 1).is_err());
    }

    #[test]
    fn what_people_do_not_write_stays_and_what_hung_on_it_goes() {
        let server = |url: &str| -> Server {
            serde_json::from_value(serde_json::json!({ "url": url })).unwrap()
        };
        let pins = |url: &str| -> Pins {
            serde_json::from_value(serde_json::json!({
                "url": url, "era": "modern", "revision": "2026-07-28",
                "at": "2026-01-01T00:00:00Z", "tools": [],
            }))
            .unwrap()
        };
        let mut before = ObjectSet::default();
        for name in ["kept", "moved", "gone"] {
            before.servers.insert(name.to_owned(), server("http://a/"));
            before.pins.insert(name.to_owned(), pins("http://a/"));
        }
        let mut written = ObjectSet::default();
        written.servers.insert("kept".to_owned(), server("http://a/"));
        written.servers.insert("moved".to_owned(), server("http://b/"));
        written.pins.insert("kept".to_owned(), pins("http://forged/"));
        let next = before.replaced_by(&written);
        assert_eq!(next.names(Kind::Pins), ["kept"]);
        assert_eq!(next.pins["kept"], pins("http://a/"), "a folder never brings pins");
    }
}
