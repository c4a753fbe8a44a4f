//! Connections over the cores of a gateway: as many on each.

use std::net::TcpStream;
use std::time::Duration;

use anyhow::ensure;
use tests_e2e::{Door, acknowledged, play, skip, told};
use tests_fixtures::stack::{System, SystemSpec, wait_until};

/// Four threads, whatever the machine has.
const CORES: [&str; 2] = ["--cores", "0,0,0,0"];
const CONNECTIONS: u64 = 400;
/// What else may connect meanwhile: a probe.
const UNEVEN_MAX: u64 = 2;
const LIMIT: Duration = Duration::from_secs(30);

fn open(system: &System) -> anyhow::Result<Vec<u64>> {
    let of =
        |core: usize| system.metric(&format!("portcullis_core_connections{{core=\"{core}\"}}"));
    (0..4).map(of).collect()
}

#[test]
fn each_core_has_as_many_connections_as_the_others() {
    let mut spec = SystemSpec::usual();
    spec.gateway = CORES.map(str::to_owned).to_vec();
    play(&spec, |system| {
        acknowledged(system)?;
        if system.metric("portcullis_connections_steered")? == 0 {
            skip("each_core_has_as_many_connections_as_the_others", "no program may be loaded");
            return Ok(());
        }
        let address = Door::of(system)?.address;
        let clients = (0..CONNECTIONS).map(|_| TcpStream::connect(address));
        let clients = clients.collect::<Result<Vec<_>, _>>()?;
        let counts = wait_until(LIMIT, "connections on the cores", || {
            open(system).ok().filter(|counts| counts.iter().sum::<u64>() == CONNECTIONS)
        })?;
        told(&format!("{CONNECTIONS} connections, by core: {counts:?}"));
        let uneven = counts.iter().max().zip(counts.iter().min()).map(|(most, least)| most - least);
        ensure!(uneven <= Some(UNEVEN_MAX), "{counts:?}");
        drop(clients);
        wait_until(LIMIT, "no connection at all", || {
            open(system).ok().filter(|counts| counts.iter().all(|count| *count == 0))
        })?;
        Ok(())
    });
}
