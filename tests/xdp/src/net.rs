//! Network namespaces, joined by a pair of virtual interfaces, or by two cards of a driver.
//!
//! What a closure does in a namespace it does in a thread of its own, so that the test stays where
//! it is. Everything is taken away when the value is dropped; cards go back to where they were.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ebpf_loader::{Attached, Card, Fault, Mode, Wanted};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// `DRIVER/native` or `DRIVER/generic`: two cards of this driver on one wire, instead of a virtual
/// pair, and what the driver should come to. One test at a time, then.
const CARDS_VARIABLE: &str = "PORTCULLIS_XDP_CARDS";

/// Long enough for an emulated card to negotiate.
const LINK_WAIT: Duration = Duration::from_secs(30);

/// Asking is a process, which an emulated processor has better uses for.
const LINK_ASKED_EACH: Duration = Duration::from_millis(20);

/// A gateway and its clients.
pub struct Net {
    name: String,
    pins: PathBuf,
    /// What the driver should come to.
    mode: Mode,
    /// What the cards of the gateway and of the clients are called outside.
    cards: Option<[String; 2]>,
}

/// The gateway's interface, in its namespace.
const INTERFACE: &str = "gw0";
pub(crate) const CLIENTS_INTERFACE: &str = "cl0";

static MADE: AtomicU32 = AtomicU32::new(0);

impl Net {
    /// Two namespaces and a bpf file system.
    ///
    /// # Errors
    /// Why this machine lets us have none.
    pub fn new() -> Result<Self, String> {
        let nth = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("pcx{}-{nth}", std::process::id());
        let pins = std::env::temp_dir().join(&name);
        let (cards, mode) = match std::env::var(CARDS_VARIABLE) {
            Ok(wanted) => cards(&wanted).map(|(cards, mode)| (Some(cards), mode))?,
            Err(_) => (None, Mode::Native),
        };
        let net = Self { name, pins, mode, cards };
        std::fs::create_dir_all(&net.pins).map_err(|why| why.to_string())?;
        run("mount", &format!("-t bpf bpf {}", net.pins.display()))?;
        let (gateway, clients) = (net.gateway(), net.clients());
        for name in [&gateway, &clients] {
            run("ip", &format!("netns add {name}"))?;
            run("ip", &format!("-n {name} link set lo up"))?;
        }
        let ends = [(&gateway, INTERFACE, 1), (&clients, CLIENTS_INTERFACE, 2)];
        if let Some(cards) = &net.cards {
            for (card, (name, link, _)) in cards.iter().zip(ends) {
                run("ip", &format!("link set {card} netns {name} name {link} mtu 1500"))?;
            }
        } else {
            let peer = format!("peer name {CLIENTS_INTERFACE} netns {clients}");
            run("ip", &format!("-n {gateway} link add {INTERFACE} type veth {peer}"))?;
        }
        for (name, link, host) in ends {
            run("ip", &format!("-n {name} addr add 10.77.0.{host}/16 dev {link}"))?;
            run("ip", &format!("-n {name} addr add fd77::{host}/32 dev {link} nodad"))?;
            run("ip", &format!("-n {name} link set {link} up"))?;
        }
        net.linked();
        Ok(net)
    }

    /// Native, or what the driver comes to that has no other.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Attaches to the gateway's interface. A driver may take its link down for that: waits for it.
    ///
    /// # Errors
    /// As [`Card::attach`].
    ///
    /// # Panics
    /// When the link stays down.
    pub fn attach(&self, card: &mut Card, wanted: Wanted) -> Result<Attached, Fault> {
        let attached = self.at_gateway(|| card.attach(INTERFACE, wanted));
        self.linked();
        attached
    }

    /// Waits for the links of both ends.
    fn linked(&self) {
        let begun = Instant::now();
        let ends = [(self.gateway(), INTERFACE), (self.clients(), CLIENTS_INTERFACE)];
        for (name, link) in ends {
            let words = format!("-n {name} -o link show {link}");
            while !run("ip", &words).is_ok_and(|found| found.contains("LOWER_UP")) {
                assert!(begun.elapsed() < LINK_WAIT, "{link}: no link");
                std::thread::sleep(LINK_ASKED_EACH);
            }
        }
    }

    /// Another address of the clients.
    ///
    /// # Panics
    /// When it cannot be had.
    pub fn client_address(&self, address: &str) {
        let nodad = if address.contains(':') { " nodad" } else { "" };
        self.ip(&format!(
            "-n {} addr add {address} dev {CLIENTS_INTERFACE}{nodad}",
            self.clients()
        ));
    }

    /// Frames of this size, at both ends.
    ///
    /// # Panics
    /// When they cannot be had.
    pub fn mtu(&self, bytes: u32) {
        self.ip(&format!("-n {} link set {CLIENTS_INTERFACE} mtu {bytes}", self.clients()));
        self.ip(&format!("-n {} link set {INTERFACE} mtu {bytes}", self.gateway()));
        self.linked();
    }

    fn ip(&self, words: &str) {
        run("ip", words).unwrap_or_else(|why| panic!("{why}"));
    }

    /// Where maps may be pinned.
    #[must_use]
    pub fn pins(&self) -> PathBuf {
        self.pins.join("card")
    }

    /// Runs in the gateway's namespace.
    pub fn at_gateway<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        within(&self.gateway(), work)
    }

    /// Runs in the clients' namespace.
    pub fn at_clients<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        within(&self.clients(), work)
    }

    fn gateway(&self) -> String {
        format!("{}-gw", self.name)
    }

    pub(crate) fn clients(&self) -> String {
        format!("{}-cl", self.name)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        // The program first: a card takes it along.
        let _ = run("umount", &self.pins.display().to_string());
        let ends = [(self.gateway(), INTERFACE), (self.clients(), CLIENTS_INTERFACE)];
        for (card, (name, link)) in self.cards.iter().flatten().zip(&ends) {
            // The namespace of the first process.
            let _ = run("ip", &format!("-n {name} link set {link} netns 1 name {card}"));
        }
        for (name, _) in &ends {
            let _ = run("ip", &format!("netns del {name}"));
        }
        let _ = std::fs::remove_dir_all(&self.pins);
    }
}

pub(crate) fn within<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> T {
    let namespace = std::fs::File::open(Path::new("/run/netns").join(name));
    let namespace = namespace.expect("a namespace that was made");
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            use std::os::fd::AsFd as _;
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("a namespace of ours");
            work()
        });
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The two cards that `DRIVER/MODE` means.
fn cards(wanted: &str) -> Result<([String; 2], Mode), String> {
    let (driver, mode) = wanted.split_once('/').ok_or("DRIVER/MODE, please")?;
    let mode = [Mode::Native, Mode::Generic].into_iter().find(|known| known.to_string() == mode);
    let mode = mode.ok_or_else(|| format!("{wanted}: native or generic, please"))?;
    let mut cards = Vec::new();
    for entry in std::fs::read_dir("/sys/class/net").map_err(|why| why.to_string())? {
        let path = entry.map_err(|why| why.to_string())?.path();
        let link = std::fs::read_link(path.join("device/driver")).unwrap_or_default();
        if link.file_name().is_some_and(|name| name == driver) {
            let name = path.file_name().unwrap_or_default();
            cards.push(name.to_string_lossy().into_owned());
        }
    }
    cards.sort();
    let count = cards.len();
    let cards = <[String; 2]>::try_from(cards).map_err(|_| format!("{driver}: {count} cards"))?;
    Ok((cards, mode))
}

/// What the program says.
pub(crate) fn run(program: &str, words: &str) -> Result<String, String> {
    let output = Command::new(program).args(words.split_whitespace()).output();
    let output = output.map_err(|why| format!("{program}: {why}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{program} {words}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
