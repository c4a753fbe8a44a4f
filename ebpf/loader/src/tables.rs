//! The five tables as one: by target, whatever map it is kept in.

use ebpf_abi as abi;
use ebpf_abi::{CONFIGURED, FlowKey, NO_TENANT, ServiceKey, VlanKey};

use crate::hosts::Hosts;
use crate::maps::{Flows, Vlans};
use crate::prefixes::{PrefixKey, Prefixes};
use crate::services::Services;
use crate::table::Table;
use crate::{Fault, Fill, Flow, Owner, Penalty, Prefix, Service, Target, Tenant, Vlan};

pub(crate) struct Tables {
    pub(crate) flows: Table<FlowKey, Flows>,
    pub(crate) hosts: Table<u64, Hosts>,
    pub(crate) prefixes: Table<PrefixKey, Prefixes>,
    pub(crate) services: Table<ServiceKey, Services>,
    pub(crate) vlans: Table<VlanKey, Vlans>,
}

impl Tables {
    pub(crate) fn configure(&mut self, target: &Target, tenant: u32) -> Result<(), Fault> {
        match target {
            Target::Flow(_) => Err(Fault::NotConfigurable(*target)),
            Target::Source(source) if source.is_host() => {
                self.hosts.configure(source.host_key(), tenant)
            }
            Target::Source(source) => self.prefixes.configure(source.key(), tenant),
            Target::Service(service) => self.services.configure(service.key(), tenant),
            Target::Vlan(vlan) => self.vlans.configure(vlan.key(), tenant),
        }
    }

    /// The target that had to make room, if one had to.
    pub(crate) fn penalise(
        &mut self,
        target: &Target,
        penalty: &Penalty,
    ) -> Result<Option<Target>, Fault> {
        let entry = penalty.entry();
        Ok(match target {
            Target::Flow(target) => {
                let evicted = self.flows.penalise(self.flow_key(target)?, entry)?;
                evicted.and_then(|key| self.flow(key))
            }
            Target::Source(source) if source.is_host() => {
                self.hosts.penalise(source.host_key(), entry)?.and_then(host)
            }
            Target::Source(source) => self.prefixes.penalise(source.key(), entry)?.and_then(prefix),
            Target::Service(target) => {
                self.services.penalise(target.key(), entry)?.and_then(service)
            }
            Target::Vlan(target) => self.vlans.penalise(target.key(), entry)?.and_then(vlan),
        })
    }

    /// Whether there was a penalty.
    pub(crate) fn release(&mut self, target: &Target) -> Result<bool, Fault> {
        match target {
            // One to a service that is not ours is none.
            Target::Flow(flow) => match self.flow_key(flow) {
                Ok(key) => self.flows.release(&key),
                Err(_) => Ok(false),
            },
            Target::Source(source) if source.is_host() => self.hosts.release(&source.host_key()),
            Target::Source(source) => self.prefixes.release(&source.key()),
            Target::Service(service) => self.services.release(&service.key()),
            Target::Vlan(vlan) => self.vlans.release(&vlan.key()),
        }
    }

    pub(crate) fn remove(&mut self, target: &Target) -> Result<(), Fault> {
        match target {
            Target::Flow(flow) => self.flow_key(flow).map_or(Ok(()), |key| self.flows.remove(&key)),
            Target::Source(source) if source.is_host() => self.hosts.remove(&source.host_key()),
            Target::Source(source) => self.prefixes.remove(&source.key()),
            // First its flows: its number may be another's next.
            Target::Service(service) => {
                let number = self.services.slots().number(&service.key());
                self.flows.remove_unless(|key, _| Some(key.service) != number)?;
                self.services.remove(&service.key())
            }
            Target::Vlan(vlan) => self.vlans.remove(&vlan.key()),
        }
    }

    pub(crate) fn expire(&mut self, now_ns: u64) -> Result<Vec<(Target, Penalty)>, Fault> {
        let mut ended = Vec::new();
        let mut list = |target: Option<Target>, entry| ended.extend(listed(target, &entry));
        let flows = self.flows.expire(now_ns)?;
        for (key, entry) in flows {
            list(self.flow(key), entry);
        }
        for (key, entry) in self.hosts.expire(now_ns)? {
            list(host(key), entry);
        }
        for (key, entry) in self.prefixes.expire(now_ns)? {
            list(prefix(key), entry);
        }
        for (key, entry) in self.services.expire(now_ns)? {
            list(service(key), entry);
        }
        for (key, entry) in self.vlans.expire(now_ns)? {
            list(vlan(key), entry);
        }
        Ok(ended)
    }

    /// Everything that is penalised.
    pub(crate) fn penalties(&self) -> Vec<(Target, Penalty)> {
        let all = self.all().filter(|(_, entry)| entry.until_ns != 0);
        all.filter_map(|(target, entry)| listed(target, entry)).collect()
    }

    /// Everything that is configured.
    pub(crate) fn configured(&self) -> Vec<Target> {
        let all = self.all().filter(|(_, entry)| entry.flags & CONFIGURED != 0);
        all.filter_map(|(target, _)| target).collect()
    }

    /// Whether a service is configured for all tenants.
    pub(crate) fn is_shared(&self, service: &Service) -> bool {
        self.services.get(&service.key()).is_some_and(|entry| entry.tenant == NO_TENANT)
    }

    /// Only what is the tenant's alone may be dropped, and only at the gateway.
    pub(crate) fn check_theirs(&self, target: &Target, tenant: Tenant) -> Result<(), Fault> {
        let owner = match target {
            Target::Flow(flow) => {
                return self.flow_key(flow).map(|_| ());
            }
            Target::Source(source) => match self.source_owner(*source) {
                None => return Ok(()),
                found => found,
            },
            Target::Service(service) => self.services.get(&service.key()).map(|entry| entry.tenant),
            Target::Vlan(vlan) => self.vlans.get(&vlan.key()).map(|entry| entry.tenant),
        };
        let owner = match owner {
            None => return Err(Fault::NotOurs(*target)),
            Some(owner) if owner == tenant.0 => return Ok(()),
            Some(NO_TENANT) => Owner::All,
            Some(owner) => Owner::One(Tenant(owner)),
        };
        Err(Fault::NotTheirs { target: *target, tenant, owner })
    }

    /// To whom the longest configured prefix around a source belongs.
    fn source_owner(&self, source: Prefix) -> Option<u32> {
        (0..=source.bits()).rev().find_map(|bits| {
            let around = Prefix::new(source.address(), bits)?;
            let entry = match around.is_host() {
                true => self.hosts.get(&around.host_key())?,
                false => self.prefixes.get(&around.key())?,
            };
            (entry.flags & CONFIGURED != 0).then_some(entry.tenant)
        })
    }

    /// Removes entries with a key or reason that nothing of ours writes. How many.
    pub(crate) fn forget_unreadable(&mut self) -> Result<usize, Fault> {
        let services = &self.services;
        let flow = |key| flow(services, key);
        Ok(self.flows.remove_unless(|key, entry| listed(flow(key), entry).is_some())?
            + self.hosts.remove_unless(|key, entry| listed(host(key), entry).is_some())?
            + self.prefixes.remove_unless(|key, entry| listed(prefix(key), entry).is_some())?
            + self.services.remove_unless(|key, entry| listed(service(key), entry).is_some())?
            + self.vlans.remove_unless(|key, entry| listed(vlan(key), entry).is_some())?)
    }

    /// Makes what was changed of prefixes the valid state; see [`Prefixes::settle`].
    pub(crate) fn settle(
        &mut self,
        half: u32,
        turn: impl FnOnce(u32) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.prefixes.slots_mut().settle(half, turn)
    }

    /// In which of them the program has to look.
    pub(crate) fn active(&self) -> u32 {
        let bit = |active: bool, bit: u32| if active { bit } else { 0 };
        bit(self.flows.len() > 0, abi::FLOWS)
            | bit(self.hosts.len() > 0, abi::HOSTS)
            | bit(self.prefixes.len() > 0, abi::PREFIXES)
            | bit(self.services.penalised() > 0, abi::SERVICES)
            | bit(self.vlans.len() > 0, abi::VLANS)
    }

    pub(crate) fn fill(&self) -> Vec<Fill> {
        let of = |table, entries, penalised, max| Fill { table, entries, penalised, max };
        vec![
            of("flows", self.flows.len(), self.flows.penalised(), abi::FLOWS_MAX),
            of("hosts", self.hosts.len(), self.hosts.penalised(), abi::HOSTS_MAX),
            of("prefixes", self.prefixes.len(), self.prefixes.penalised(), abi::PREFIXES_MAX),
            of("services", self.services.len(), self.services.penalised(), abi::SERVICES_MAX),
            of("vlans", self.vlans.len(), self.vlans.penalised(), abi::VLANS_MAX),
        ]
    }

    /// What goes to no service of ours has no key.
    fn flow_key(&self, flow: &Flow) -> Result<FlowKey, Fault> {
        let service = flow.service();
        let number = self.services.slots().number(&service.key());
        let number = number.ok_or(Fault::NotOurs(Target::Service(service)))?;
        Ok(flow.key(number))
    }

    fn flow(&self, key: FlowKey) -> Option<Target> {
        flow(&self.services, key)
    }

    fn all(&self) -> impl Iterator<Item = (Option<Target>, &abi::Penalty)> {
        let all = self.flows.iter().map(|(key, entry)| (self.flow(*key), entry));
        let all = all.chain(self.hosts.iter().map(|(key, entry)| (host(*key), entry)));
        let all = all.chain(self.prefixes.iter().map(|(key, entry)| (prefix(*key), entry)));
        let all = all.chain(self.services.iter().map(|(key, entry)| (service(*key), entry)));
        all.chain(self.vlans.iter().map(|(key, entry)| (vlan(*key), entry)))
    }
}

fn flow(services: &Table<ServiceKey, Services>, key: FlowKey) -> Option<Target> {
    let service = Service::of_key(services.slots().of_number(key.service)?)?;
    Some(Target::Flow(Flow::of_key(key, service)))
}

fn host(key: u64) -> Option<Target> {
    Prefix::of_host_key(key).map(Target::Source)
}

fn prefix(key: PrefixKey) -> Option<Target> {
    Prefix::of_key(key).map(Target::Source)
}

fn service(key: ServiceKey) -> Option<Target> {
    Service::of_key(key).map(Target::Service)
}

fn vlan(key: VlanKey) -> Option<Target> {
    Vlan::of_key(key).map(Target::Vlan)
}

fn listed(target: Option<Target>, entry: &abi::Penalty) -> Option<(Target, Penalty)> {
    Some((target?, Penalty::of_entry(entry)?))
}
