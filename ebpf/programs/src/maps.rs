//! The maps, by the names that the loader knows them by. Their keys and values are the ABI's.

use aya_ebpf::btf_maps::{Array, HashMap, PerCpuArray, RingBuf};
use aya_ebpf::macros::btf_map;
use ebpf_abi::{
    Config, Drops, FLOWS_MAX, FlowKey, HOST_FILTER_WORDS, HOSTS_MAX, PREFIX_SLOTS, Penalty,
    PrefixSlot, SAMPLE_RING_BYTES, SERVICE_SLOTS, Sample, Segments, ServiceSlot, SynBucket,
    TENANTS_MAX, VLANS_MAX, VlanKey,
};

#[btf_map]
pub static CONFIG: Array<Config, 1> = Array::new();
#[btf_map]
pub static FLOWS: HashMap<FlowKey, Penalty, { FLOWS_MAX as usize }> = HashMap::new();
#[btf_map]
pub static HOSTS: HashMap<u64, Penalty, { HOSTS_MAX as usize }> = HashMap::new();
#[btf_map]
pub static HOST_FILTER: Array<u64, { HOST_FILTER_WORDS as usize }> = Array::new();
#[btf_map]
pub static PREFIXES: Array<PrefixSlot, { PREFIX_SLOTS as usize }> = Array::new();
#[btf_map]
pub static SEGMENTS: Array<Segments, 2> = Array::new();
#[btf_map]
pub static SERVICES: Array<ServiceSlot, { SERVICE_SLOTS as usize }> = Array::new();
#[btf_map]
pub static VLANS: HashMap<VlanKey, Penalty, { VLANS_MAX as usize }> = HashMap::new();
#[btf_map]
pub static BUCKETS: Array<SynBucket, { TENANTS_MAX as usize }> = Array::new();
#[btf_map]
pub static DROPS: PerCpuArray<Drops, { TENANTS_MAX as usize }> = PerCpuArray::new();
#[btf_map]
pub static SAMPLES: RingBuf<Sample, { SAMPLE_RING_BYTES as usize }> = RingBuf::new();
