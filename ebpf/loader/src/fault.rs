//! What can go wrong at the card, each with what to do about it.
//!
//! None of it stops the gateway: without the card it refuses by itself, dearer.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::{Target, Tenant};

/// Why the card could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The process may not load programs.
    #[error(
        "{doing}: not permitted: start the gateway with CAP_BPF and CAP_NET_ADMIN \
         (systemd: AmbientCapabilities=), or as root"
    )]
    NotPermitted { doing: &'static str },
    /// The folder for pins is not on a file system of BPF objects.
    #[error(
        "{}: not on a bpf file system: mount -t bpf bpf /sys/fs/bpf, and keep pins below it",
        .0.display()
    )]
    NoBpfFileSystem(PathBuf),
    /// A folder for pins cannot be made, read or removed.
    #[error("{}: {why}: remove it by hand once no gateway runs", .path.display())]
    Pins { path: PathBuf, why: io::Error },
    /// The object was built for other structs.
    #[error("the object has ABI version {found}, this gateway {wanted}: run `cargo xtask ebpf`")]
    OtherAbi { found: u32, wanted: u32 },
    /// The object lacks its stamp, a program or a map.
    #[error("the object has no {0}: run `cargo xtask ebpf`")]
    Incomplete(&'static str),
    /// The kernel did not take the object.
    #[error("{doing}: {why}: Linux 6.1 or newer, with CONFIG_BPF_JIT and BTF, takes it")]
    Kernel { doing: &'static str, why: String },
    /// No such interface.
    #[error("no interface `{0}`: `ip link` lists them")]
    NoInterface(String),
    /// Neither native nor generic.
    #[error(
        "{interface}: the driver says: {native}; the generic kind: {generic}: \
         `ip link show {interface}` names a program that is there already"
    )]
    NotAttached { interface: String, native: String, generic: String },
    /// Pinned, that is: it would stay on when this process ends.
    #[error("not attached: call attach before")]
    NeverAttached,
    /// A map is full of entries that may not be evicted.
    #[error("the table of {table} holds {max} and is full: see LIMITS.md")]
    Full { table: &'static str, max: u32 },
    /// A tenant without counters.
    #[error("tenant number {}: numbers are 1 to {}", .0.0, ebpf_abi::TENANTS_MAX - 1)]
    NoSuchTenant(Tenant),
    /// It would drop others than the tenant.
    #[error("{target}: configured for {owner}, not for tenant {}: drop its flows", .tenant.0)]
    NotTheirs { target: Target, tenant: Tenant, owner: Owner },
    /// Nothing that could be dropped: only what goes to the gateway is.
    #[error("{0}: not an address of the gateway: declare the service first")]
    NotOurs(Target),
    /// Flows are not configured, and only a service can belong to all.
    #[error("{0}: a service belongs to a tenant or to all; a source or VLAN to a tenant")]
    NotConfigurable(Target),
    /// A map did not take or give a value.
    #[error("the map {map}: {why}")]
    Map { map: &'static str, why: String },
}

/// To whom a service or VLAN is attributed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Owner {
    All,
    One(Tenant),
}

impl fmt::Display for Owner {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => to.write_str("all tenants"),
            Self::One(tenant) => write!(to, "tenant {}", tenant.0),
        }
    }
}

impl Fault {
    /// What the kernel said, with the remedy where it is a known one.
    pub(crate) fn kernel(doing: &'static str, fault: &(dyn std::error::Error + 'static)) -> Self {
        match is_forbidden(fault) {
            true => Self::NotPermitted { doing },
            false => Self::Kernel { doing, why: told(fault) },
        }
    }

    pub(crate) fn map(map: &'static str, fault: &(dyn std::error::Error + 'static)) -> Self {
        Self::Map { map, why: told(fault) }
    }

    pub(crate) fn pins(path: &Path, why: io::Error) -> Self {
        Self::Pins { path: path.to_owned(), why }
    }
}

/// A fault and its causes on one line. Of a verifier's log, which has thousands, what it objects to.
pub(crate) fn told(fault: &(dyn std::error::Error + 'static)) -> String {
    let whole = fault.to_string();
    let mut text = first_line(&whole);
    if let Some(objection) = objection(&whole) {
        text.push_str(" ... ");
        text.push_str(objection);
    }
    let mut cause = fault.source();
    while let Some(next) = cause {
        let line = first_line(&next.to_string());
        if !text.contains(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        cause = next.source();
    }
    text
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or("").to_owned()
}

/// The last line of a verifier's log before its figures.
fn objection(text: &str) -> Option<&str> {
    let figures = text.lines().position(|line| line.starts_with("processed "))?;
    let figure =
        |line: &&str| !line.starts_with("verification time") && !line.starts_with("stack depth");
    text.lines().take(figures).skip(1).filter(figure).last()
}

fn is_forbidden(fault: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(fault);
    while let Some(found) = cause {
        if let Some(io) = found.downcast_ref::<io::Error>()
            // EPERM; the verifier's refusal is EACCES, which is the same kind.
            && io.raw_os_error() == Some(rustix::io::Errno::PERM.raw_os_error())
        {
            return true;
        }
        cause = found.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_verifiers_log_the_objection_is_told() {
        let log = "not loaded. Verifier output: 0: (b7) r0 = 1\n1: (85) call x#189\n\
            R4 min value is negative\nverification time 38816 usec\nstack depth 240+0\n\
            processed 570 insns (limit 1000000)\n";
        let fault = Fault::kernel("load the program", &io::Error::other(log));
        let wanted = "not loaded. Verifier output: 0: (b7) r0 = 1 ... R4 min value is negative";
        assert!(fault.to_string().contains(wanted), "{fault}");
        assert_eq!(objection("one\ntwo"), None);
    }
}
