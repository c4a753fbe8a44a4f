//! The program's maps, typed, taken out of a loaded object by their names.

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, RingBuf};
use aya::{Ebpf, Pod};
use ebpf_abi::{Address, Config, Drops, FlowKey, Penalty, ServiceKey, SynBucket, VlanKey};

use crate::Fault;
use crate::table::{Slots, Table};

/// All maps, by the names that they are pinned under.
pub(crate) const NAMES: [&str; 8] =
    ["CONFIG", "FLOWS", "SOURCES", "SERVICES", "VLANS", "BUCKETS", "DROPS", "SAMPLES"];

const _: () = assert!(size_of::<Key<Address>>() == 20);

/// The longest-prefix key as something that has an order.
pub(crate) type SourceKey = (u32, Address);

pub(crate) struct Flows(HashMap<MapData, FlowKey, Penalty>);
pub(crate) struct Services(HashMap<MapData, ServiceKey, Penalty>);
pub(crate) struct Vlans(HashMap<MapData, VlanKey, Penalty>);
pub(crate) struct Sources(LpmTrie<MapData, Address, Penalty>);

pub(crate) struct Maps {
    pub(crate) config: Array<MapData, Config>,
    pub(crate) flows: Table<FlowKey, Flows>,
    pub(crate) sources: Table<SourceKey, Sources>,
    pub(crate) services: Table<ServiceKey, Services>,
    pub(crate) vlans: Table<VlanKey, Vlans>,
    pub(crate) buckets: Array<MapData, SynBucket>,
    pub(crate) drops: PerCpuArray<MapData, Drops>,
    pub(crate) samples: RingBuf<MapData>,
}

impl Maps {
    /// Takes the maps out of a loaded object. Their shapes are compared with the ABI's.
    pub(crate) fn take(ebpf: &mut Ebpf) -> Result<Self, Fault> {
        use ebpf_abi::{FLOWS_MAX, SERVICES_MAX, SOURCES_MAX, VLANS_MAX};
        Ok(Self {
            config: typed(ebpf, "CONFIG")?,
            flows: Table::adopt(Flows(typed(ebpf, "FLOWS")?), FLOWS_MAX)?,
            sources: Table::adopt(Sources(typed(ebpf, "SOURCES")?), SOURCES_MAX)?,
            services: Table::adopt(Services(typed(ebpf, "SERVICES")?), SERVICES_MAX)?,
            vlans: Table::adopt(Vlans(typed(ebpf, "VLANS")?), VLANS_MAX)?,
            buckets: typed(ebpf, "BUCKETS")?,
            drops: typed(ebpf, "DROPS")?,
            samples: typed(ebpf, "SAMPLES")?,
        })
    }
}

fn typed<M: TryFrom<Map, Error = MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<M, Fault> {
    let map = ebpf.take_map(name).ok_or(Fault::Incomplete(name))?;
    M::try_from(map).map_err(|fault| Fault::map(name, &fault))
}

/// The three hash maps differ by their keys only.
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
hashed!(Services, ServiceKey, "services");
hashed!(Vlans, VlanKey, "vlans");

impl Slots<SourceKey> for Sources {
    const NAME: &'static str = "sources";

    fn put(&mut self, key: &SourceKey, entry: Penalty) -> Result<(), Fault> {
        let key = Key::new(key.0, key.1);
        self.0.insert(&key, entry, 0).map_err(|fault| Fault::map("sources", &fault))
    }

    fn clear(&mut self, key: &SourceKey) -> Result<(), Fault> {
        gone("sources", self.0.remove(&Key::new(key.0, key.1)))
    }

    fn read(&self) -> Result<Vec<(SourceKey, Penalty)>, Fault> {
        let found = collect("sources", self.0.iter())?;
        Ok(found.into_iter().map(|(key, entry)| ((key.prefix_len(), key.data()), entry)).collect())
    }
}

/// A key that was not there is as good as removed.
fn gone(map: &'static str, removed: Result<(), MapError>) -> Result<(), Fault> {
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

fn collect<K: Pod, V>(
    map: &'static str,
    found: impl Iterator<Item = Result<(K, V), MapError>>,
) -> Result<Vec<(K, V)>, Fault> {
    found.collect::<Result<_, _>>().map_err(|fault| Fault::map(map, &fault))
}
