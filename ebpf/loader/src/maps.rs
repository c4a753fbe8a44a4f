//! The program's maps, typed, taken out of a loaded object by their names.

use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, RingBuf};
use aya::{Ebpf, Pod};
use ebpf_abi::{Config, Drops, FlowKey, Penalty, SynBucket, VlanKey};

use crate::Fault;
use crate::hosts::Hosts;
use crate::prefixes::Prefixes;
use crate::services::Services;
use crate::table::{Slots, Table};
use crate::tables::Tables;

/// All maps, by the names that they are pinned under.
pub(crate) const NAMES: [&str; 11] = [
    "CONFIG",
    "FLOWS",
    "HOSTS",
    "HOST_FILTER",
    "PREFIXES",
    "SEGMENTS",
    "SERVICES",
    "VLANS",
    "BUCKETS",
    "DROPS",
    "SAMPLES",
];

pub(crate) struct Flows(HashMap<MapData, FlowKey, Penalty>);
pub(crate) struct Vlans(HashMap<MapData, VlanKey, Penalty>);

/// What a loaded object brought along.
pub(crate) struct Maps {
    pub(crate) config: Array<MapData, Config>,
    pub(crate) tables: Tables,
    pub(crate) buckets: Array<MapData, SynBucket>,
    pub(crate) drops: PerCpuArray<MapData, Drops>,
    pub(crate) samples: RingBuf<MapData>,
}

impl Maps {
    /// Takes the maps out of a loaded object. Their shapes are compared with the ABI's.
    pub(crate) fn take(ebpf: &mut Ebpf) -> Result<Self, Fault> {
        use ebpf_abi::{FLOWS_MAX, HOSTS_MAX, PREFIXES_MAX, SERVICES_MAX, VLANS_MAX};
        let hosts = Hosts::read(typed(ebpf, "HOSTS")?, typed(ebpf, "HOST_FILTER")?)?;
        let prefixes = Prefixes::read(typed(ebpf, "PREFIXES")?, typed(ebpf, "SEGMENTS")?)?;
        Ok(Self {
            config: typed(ebpf, "CONFIG")?,
            tables: Tables {
                flows: Table::adopt(Flows(typed(ebpf, "FLOWS")?), FLOWS_MAX)?,
                hosts: Table::adopt(hosts, HOSTS_MAX)?,
                prefixes: Table::adopt(prefixes, PREFIXES_MAX)?,
                services: Table::adopt(Services::read(typed(ebpf, "SERVICES")?)?, SERVICES_MAX)?,
                vlans: Table::adopt(Vlans(typed(ebpf, "VLANS")?), VLANS_MAX)?,
            },
            buckets: typed(ebpf, "BUCKETS")?,
            drops: typed(ebpf, "DROPS")?,
            samples: typed(ebpf, "SAMPLES")?,
        })
    }
}

pub(crate) fn typed<M: TryFrom<Map, Error = MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<M, Fault> {
    let map = ebpf.take_map(name).ok_or(Fault::Incomplete(name))?;
    M::try_from(map).map_err(|fault| Fault::map(name, &fault))
}

/// The two hash maps differ by their keys only.
macro_rules! hashed {
    ($slots:ty, $key:ty, $name:literal) => {
        impl Slots<$key> for $slots {
            const NAME: &'static str = $name;

            fn put(&mut self, key: &$key, entry: Penalty) -> Result<(), Fault> {
                self.0.insert(key, entry, 0).map_err(|fault| Fault::map($name, &fault))
            }

            fn clear(&mut self, key: &$key) -> Result<(), Fault> {
                gone($name, self.0.remove(key))
            }

            fn read(&self) -> Result<Vec<($key, Penalty)>, Fault> {
                collect($name, self.0.iter())
            }
        }
    };
}

hashed!(Flows, FlowKey, "flows");
hashed!(Vlans, VlanKey, "vlans");

/// A key that was not there is as good as removed.
pub(crate) fn gone(map: &'static str, removed: Result<(), MapError>) -> Result<(), Fault> {
    match removed {
        Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(fault))
            if fault.io_error.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(())
        }
        Err(fault) => Err(Fault::map(map, &fault)),
    }
}

pub(crate) fn collect<K: Pod, V>(
    map: &'static str,
    found: impl Iterator<Item = Result<(K, V), MapError>>,
) -> Result<Vec<(K, V)>, Fault> {
    found.collect::<Result<_, _>>().map_err(|fault| Fault::map(map, &fault))
}
