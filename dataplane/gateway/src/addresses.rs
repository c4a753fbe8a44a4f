//! Where servers are, resolved off the cores.
//!
//! Name resolution blocks, so a thread of its own does it: once for each new configuration, and
//! again every half minute. A name that stops resolving keeps its last addresses.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use dataplane_pipeline::Configuration;

/// Between two resolutions; DNS answers of cluster services live about that long.
const REFRESH: Duration = Duration::from_secs(30);

/// Addresses by server, in the configuration's order.
pub(crate) struct Addresses {
    names: Vec<(String, u16)>,
    found: Mutex<Vec<Vec<SocketAddr>>>,
}

impl Addresses {
    /// Literal addresses are there at once; names follow from a thread, which ends with the
    /// configuration.
    pub(crate) fn of(configuration: &Configuration) -> Arc<Self> {
        let names: Vec<(String, u16)> = configuration
            .servers()
            .iter()
            .map(|server| (server.origin.host().to_owned(), server.origin.port()))
            .collect();
        let literal = |(host, port): &(String, u16)| {
            host.parse().ok().map(|address| SocketAddr::new(address, *port))
        };
        let found = names.iter().map(|name| literal(name).into_iter().collect()).collect();
        let all_literal = names.iter().all(|name| literal(name).is_some());
        let addresses = Arc::new(Self { names, found: Mutex::new(found) });
        if !all_literal {
            let weak = Arc::downgrade(&addresses);
            let thread = std::thread::Builder::new().name("resolver".into());
            if let Err(error) = thread.spawn(move || refresh(&weak)) {
                tracing::error!(%error, "no thread to resolve servers' names");
            }
        }
        addresses
    }

    /// The first address of a server, if its name has resolved.
    pub(crate) fn first(&self, server: usize) -> Option<SocketAddr> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.get(server).and_then(|addresses| addresses.first().copied())
    }

    fn resolve(&self) {
        for (place, (host, port)) in self.names.iter().enumerate() {
            match (host.as_str(), *port).to_socket_addrs() {
                Ok(fresh) => {
                    let fresh: Vec<_> = fresh.collect();
                    let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
                    if let (Some(slot), false) = (found.get_mut(place), fresh.is_empty()) {
                        *slot = fresh;
                    }
                }
                Err(error) => tracing::warn!(host, %error, "a server's name does not resolve"),
            }
        }
    }
}

fn refresh(addresses: &Weak<Addresses>) {
    while let Some(addresses) = addresses.upgrade() {
        addresses.resolve();
        drop(addresses);
        std::thread::sleep(REFRESH);
    }
}
