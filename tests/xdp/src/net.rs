//! Network namespaces, joined by a pair of virtual interfaces.
//!
//! What a closure does in a namespace it does in a thread of its own, so that the test stays where
//! it is. Everything is taken away when the value is dropped.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A gateway and its clients.
pub struct Net {
    name: String,
    pins: PathBuf,
}

/// The gateway's interface, in its namespace.
pub const INTERFACE: &str = "gw0";

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
        let net = Self { name, pins };
        std::fs::create_dir_all(&net.pins).map_err(|why| why.to_string())?;
        run("mount", &format!("-t bpf bpf {}", net.pins.display()))?;
        let (gateway, clients) = (net.gateway(), net.clients());
        for name in [&gateway, &clients] {
            run("ip", &format!("netns add {name}"))?;
            run("ip", &format!("-n {name} link set lo up"))?;
        }
        let peer = format!("peer name cl0 netns {clients}");
        run("ip", &format!("-n {gateway} link add {INTERFACE} type veth {peer}"))?;
        for (name, link, host) in [(&gateway, INTERFACE, 1), (&clients, "cl0", 2)] {
            run("ip", &format!("-n {name} addr add 10.77.0.{host}/16 dev {link}"))?;
            run("ip", &format!("-n {name} addr add fd77::{host}/32 dev {link} nodad"))?;
            run("ip", &format!("-n {name} link set {link} up"))?;
        }
        Ok(net)
    }

    /// Another address of the clients.
    ///
    /// # Panics
    /// When it cannot be had.
    pub fn client_address(&self, address: &str) {
        let nodad = if address.contains(':') { " nodad" } else { "" };
        self.ip(&format!("-n {} addr add {address} dev cl0{nodad}", self.clients()));
    }

    /// Frames of this size, at both ends.
    ///
    /// # Panics
    /// When they cannot be had.
    pub fn mtu(&self, bytes: u32) {
        self.ip(&format!("-n {} link set cl0 mtu {bytes}", self.clients()));
        self.ip(&format!("-n {} link set {INTERFACE} mtu {bytes}", self.gateway()));
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

    fn clients(&self) -> String {
        format!("{}-cl", self.name)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for name in [self.gateway(), self.clients()] {
            let _ = run("ip", &format!("netns del {name}"));
        }
        let _ = run("umount", &self.pins.display().to_string());
        let _ = std::fs::remove_dir_all(&self.pins);
    }
}

fn within<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> T {
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

fn run(program: &str, words: &str) -> Result<(), String> {
    let output = Command::new(program).args(words.split_whitespace()).output();
    let output = output.map_err(|why| format!("{program}: {why}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} {words}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
