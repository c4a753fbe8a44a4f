//! What the process keeps of its capabilities (capabilities(7)) once the network card is set up.
//!
//! Loading and attaching a program need much; feeding its maps needs nothing. So the card comes first,
//! then this, then the first thread: threads have capabilities of their own, and inherit them.

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs,
};

/// Port 443, locked memory, and files that belong to somebody else where we run as root.
const KEPT: CapabilitySet = CapabilitySet::NET_BIND_SERVICE
    .union(CapabilitySet::IPC_LOCK)
    .union(CapabilitySet::DAC_OVERRIDE);

/// Gives up everything else, for good.
///
/// # Errors
/// The kernel's.
pub(crate) fn give_up() -> std::io::Result<()> {
    let CapabilitySets { permitted, .. } = capabilities(None)?;
    let left = permitted.intersection(KEPT);
    let sets =
        CapabilitySets { effective: left, permitted: left, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets)?;
    set_no_new_privs(true)?;
    Ok(())
}
