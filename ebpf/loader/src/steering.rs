//! New connections, each to a core in its turn.
//!
//! The program is the listeners': it goes with the last of them, and another process that listens at the
//! same address takes over with its own.

use std::os::fd::AsFd;

use aya::Ebpf;
use aya::maps::{Array, MapData, ReusePortSockArray};
use aya::programs::SkReuseport;
use ebpf_abi::{ABI_VERSION, CORES_MAX};

use crate::Fault;
use crate::maps::typed;
use crate::object::{Stamp, same_abi};

const PROGRAM: &str = "steering";

/// The loaded program.
pub struct Steering {
    ebpf: Ebpf,
    steering: Array<MapData, ebpf_abi::Steering>,
    open: Array<MapData, u32>,
    listeners: ReusePortSockArray<MapData>,
    /// As the program has them.
    told: Vec<u32>,
}

impl Steering {
    /// Loads an object for this process alone.
    ///
    /// # Errors
    /// When the object is of another ABI or incomplete, or the kernel does not take it.
    pub fn load(object: &[u8]) -> Result<Self, Fault> {
        same_abi(&Stamp::of(object)?)?;
        let loaded = Ebpf::load(object);
        let mut ebpf = loaded.map_err(|why| Fault::kernel("load the maps of steering", &why))?;
        let program = program(&mut ebpf)?;
        program.load().map_err(|why| Fault::kernel("load the steering program", &why))?;
        Ok(Self {
            steering: typed(&mut ebpf, "STEERING")?,
            open: typed(&mut ebpf, "OPEN")?,
            listeners: typed(&mut ebpf, "LISTENERS")?,
            told: Vec::new(),
            ebpf,
        })
    }

    /// Spreads over these listeners of one address, all of which have `SO_REUSEPORT`. Needs no capability.
    ///
    /// # Errors
    /// For more than [`CORES_MAX`], and when the kernel does not take one.
    pub fn attach(&mut self, listeners: &[impl AsFd]) -> Result<(), Fault> {
        let cores = u32::try_from(listeners.len()).unwrap_or(u32::MAX);
        if cores > CORES_MAX {
            return Err(Fault::Full { table: "listeners", max: CORES_MAX });
        }
        let Some(first) = listeners.first() else { return Ok(()) };
        for (core, listener) in (0..).zip(listeners) {
            let set = self.listeners.set(core, &listener.as_fd(), 0);
            set.map_err(|why| Fault::map("listeners", &why))?;
        }
        let steering = ebpf_abi::Steering { abi: ABI_VERSION, cores, ..Default::default() };
        self.steering.set(0, steering, 0).map_err(|why| Fault::map("steering", &why))?;
        self.told = vec![0; listeners.len()];
        let attached = program(&mut self.ebpf)?.attach(first);
        attached.map_err(|why| Fault::kernel("attach the steering program", &why))
    }

    /// How many connections each core has open: who has many more than others is passed over.
    ///
    /// # Errors
    /// When the kernel does not take a number.
    pub fn tell(&mut self, open: impl IntoIterator<Item = u32>) -> Result<(), Fault> {
        for ((core, told), open) in (0..).zip(&mut self.told).zip(open) {
            if *told != open {
                self.open.set(core, open, 0).map_err(|why| Fault::map("open", &why))?;
                *told = open;
            }
        }
        Ok(())
    }
}

fn program(ebpf: &mut Ebpf) -> Result<&mut SkReuseport, Fault> {
    let program = ebpf.program_mut(PROGRAM).and_then(|program| program.try_into().ok());
    program.ok_or(Fault::Incomplete("steering program"))
}
