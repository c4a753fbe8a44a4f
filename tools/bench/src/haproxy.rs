//! HAProxy as a plain reverse proxy over TLS: the yardstick.
//!
//! One thread, TLS 1.2 and 1.3, kept connections on both sides, no log, no rule. It knows nothing of
//! identity, policy or audit: what a company pays for a relay alone.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use tests_fixtures::stack::Process;

use crate::material::Material;

/// HAProxy's configuration.
pub(crate) fn configuration(
    listen: SocketAddr,
    certificate: Option<&Path>,
    origin: SocketAddr,
) -> String {
    let tls = certificate
        .map_or(String::new(), |path| format!(" ssl crt {} alpn http/1.1", path.display()));
    format!(
        "global
  nbthread 1
  maxconn 8192
  ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
  option http-keep-alive
frontend agents
  bind {listen}{tls}
  default_backend origin
backend origin
  server origin {origin} maxconn 8192 pool-max-conn 1024
"
    )
}

/// What `haproxy -v` says first.
///
/// # Errors
/// When it is not installed: how to install it.
pub(crate) fn version() -> anyhow::Result<String> {
    let shown = Command::new("haproxy").arg("-v").stderr(Stdio::null()).output();
    let Ok(shown) = shown else {
        bail!(
            "haproxy is not installed, and without it there is no yardstick: \
             apt-get install --no-install-recommends haproxy, or leave it out with --targets"
        );
    };
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    Ok(text.lines().next().unwrap_or("haproxy").to_owned())
}

/// Starts it where this thread runs.
pub(crate) fn start(
    name: &str,
    material: &Material,
    listen: SocketAddr,
    with_tls: bool,
    origin: SocketAddr,
) -> anyhow::Result<Process> {
    version()?;
    let certificate = with_tls.then_some(material.both.as_path());
    let text = configuration(listen, certificate, origin);
    let path: PathBuf = material.place.write(&format!("{name}.cfg"), &text)?;
    let words = ["-db", "-q", "-f", path.to_str().context("a path that is no text")?];
    let words = words.map(ToOwned::to_owned);
    let log = material.place.path(&format!("{name}.log"));
    Process::start(name, Path::new("haproxy"), &words, &[], &log)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn the_yardstick_does_tls_and_nothing_else() {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let text = configuration(at(1), Some(Path::new("c.pem")), at(2));
        assert!(text.contains("bind 127.0.0.1:1 ssl crt c.pem alpn http/1.1\n"), "{text}");
        assert!(text.contains("nbthread 1\n") && !text.contains("log"), "{text}");
        assert!(configuration(at(1), None, at(2)).contains("bind 127.0.0.1:1\n"));
    }
}
