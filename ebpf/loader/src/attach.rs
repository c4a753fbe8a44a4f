//! Attaching the program to an interface: native, or the generic kind where the driver has no other.
//!
//! With pins, the link outlives the process, and a new process puts its program in the old one's
//! place without a packet between them. Without, the program leaves with the process.

use std::fmt;

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::{Xdp, XdpLink, XdpLinkId, XdpMode};

use crate::Fault;
use crate::fault::told;
use crate::pins::Pins;

/// Where in the path of a packet the program runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// In the driver, before the kernel has made anything of the packet.
    Native,
    /// In the kernel's network stack: any driver, several times the cost.
    Generic,
}

/// Which mode is asked for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Wanted {
    /// Native, and generic where that fails.
    #[default]
    Best,
    Only(Mode),
}

/// How the program is attached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attached {
    pub interface: String,
    /// The interface's index.
    pub index: u32,
    pub mode: Mode,
    /// What the driver said to the native kind: a generic one is to be said aloud.
    pub not_native: Option<String>,
    /// It took the place of a program that was attached by another process.
    pub replaced: bool,
}

impl Mode {
    fn flag(self) -> XdpMode {
        match self {
            Self::Native => XdpMode::Driver,
            Self::Generic => XdpMode::Skb,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

/// Attaches, or replaces what is pinned for this interface.
pub(crate) fn attach(
    program: &mut Xdp,
    interface: &str,
    wanted: Wanted,
    pins: Option<&Pins>,
) -> Result<(Attached, XdpLinkId), Fault> {
    let index = index_of(interface)?;
    let mut attached = Attached {
        interface: interface.to_owned(),
        index,
        mode: Mode::Native,
        not_native: None,
        replaced: false,
    };
    if let Some((mode, link)) = replace(program, index, wanted, pins)? {
        return Ok((Attached { mode, replaced: true, ..attached }, link));
    }
    let mut said = [String::new(), String::new()];
    for (mode, said) in [Mode::Native, Mode::Generic].into_iter().zip(&mut said) {
        if let Wanted::Only(only) = wanted
            && only != mode
        {
            "not asked".clone_into(said);
            continue;
        }
        match program.attach_to_if_index(index, mode.flag()) {
            Ok(link) => {
                attached.mode = mode;
                let link = keep(program, link, pins.map(|pins| pins.link(mode, index)))?;
                return Ok((attached, link));
            }
            Err(fault) => match Fault::kernel("attach", &fault) {
                forbidden @ Fault::NotPermitted { .. } => return Err(forbidden),
                _ => *said = told(&fault),
            },
        }
        attached.not_native = Some(said.clone());
    }
    let [native, generic] = said;
    Err(Fault::NotAttached { interface: interface.to_owned(), native, generic })
}

/// Puts the program in the place of a pinned one. Links of other interfaces, of another mode than
/// the one asked for, or of an interface that is gone are taken away.
fn replace(
    program: &mut Xdp,
    index: u32,
    wanted: Wanted,
    pins: Option<&Pins>,
) -> Result<Option<(Mode, XdpLinkId)>, Fault> {
    let Some(pins) = pins else { return Ok(None) };
    let mut replaced = None;
    for (mode, of) in pins.links()? {
        let fits = of == index && wanted != Wanted::Only(other(mode)) && replaced.is_none();
        if fits && let Some(link) = take_over(program, pins, mode, index) {
            replaced = Some((mode, link));
        } else {
            pins.unlink(mode, of)?;
        }
    }
    Ok(replaced)
}

fn take_over(program: &mut Xdp, pins: &Pins, mode: Mode, index: u32) -> Option<XdpLinkId> {
    let pinned: FdLink = PinnedLink::from_pin(pins.link(mode, index)).ok()?.into();
    program.attach_to_link(XdpLink::try_from(pinned).ok()?).ok()
}

fn other(mode: Mode) -> Mode {
    match mode {
        Mode::Native => Mode::Generic,
        Mode::Generic => Mode::Native,
    }
}

/// Pins the link, so that it outlives the process.
fn keep(
    program: &mut Xdp,
    link: XdpLinkId,
    at: Option<std::path::PathBuf>,
) -> Result<XdpLinkId, Fault> {
    let Some(at) = at else { return Ok(link) };
    let fault = |fault: &(dyn std::error::Error + 'static)| Fault::kernel("pin the link", fault);
    let link = program.take_link(link).map_err(|why| fault(&why))?;
    let link = FdLink::try_from(link).map_err(|why| fault(&why))?;
    let pinned = link.pin(at).map_err(|why| fault(&why))?;
    // The same program once more: aya hands a link back only together with a program.
    let link = XdpLink::try_from(FdLink::from(pinned)).map_err(|why| fault(&why))?;
    program.attach_to_link(link).map_err(|why| fault(&why))
}

fn index_of(interface: &str) -> Result<u32, Fault> {
    use rustix::net::{AddressFamily, SocketType, netdevice, socket};
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)
        .map_err(|why| Fault::kernel("open a socket", &std::io::Error::from(why)))?;
    netdevice::name_to_index(&socket, interface)
        .map_err(|_| Fault::NoInterface(interface.to_owned()))
}
