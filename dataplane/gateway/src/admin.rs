//! The management listener: metrics and health, on loopback unless told otherwise.
//!
//! A thread, one request at a time, two seconds each. Host is checked as everywhere, so that a page
//! in somebody's browser cannot read it by rebinding a name; nothing here changes anything.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use dataplane_ingress::{Body, Limits, Method, Parsed, ResponseHead, parse_head};
use dataplane_telemetry::metrics::{self, Page};

use crate::hub::Hub;
use crate::snapshot::Snapshot;

const PATIENCE: Duration = Duration::from_secs(2);

/// Where metrics and health are served from.
pub(crate) struct Admin {
    listener: TcpListener,
    hub: Arc<Hub>,
    hosts: Vec<String>,
    is_connected: Box<dyn Fn() -> bool + Send>,
    is_steered: bool,
}

impl Admin {
    pub(crate) fn bind(
        address: SocketAddr,
        hub: Arc<Hub>,
        is_connected: Box<dyn Fn() -> bool + Send>,
        is_steered: bool,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
        })?;
        let port = listener.local_addr()?.port();
        let names = [address.ip().to_string(), "localhost".into(), "127.0.0.1".into()];
        let hosts =
            names.iter().flat_map(|name| [format!("{name}:{port}"), name.clone()]).collect();
        Ok(Self { listener, hub, hosts, is_connected, is_steered })
    }

    pub(crate) fn serve(self) {
        for client in self.listener.incoming().flatten() {
            if let Err(error) = self.answer(client) {
                tracing::debug!(%error, "a management request failed");
            }
        }
    }

    fn answer(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_read_timeout(Some(PATIENCE))?;
        client.set_write_timeout(Some(PATIENCE))?;
        let mut inbox = Vec::new();
        let (status, text) = loop {
            match parse_head(&inbox, &Limits::default()) {
                Err(fault) => break (fault.status(), fault.to_string()),
                Ok(Parsed::Complete(head)) => {
                    let host = String::from_utf8_lossy(head.headers.host.of(&inbox)).into_owned();
                    let path = String::from_utf8_lossy(head.path.of(&inbox)).into_owned();
                    break self.page(head.method, &host, head.headers.origin.is_some(), &path);
                }
                Ok(Parsed::Partial) => {
                    let mut piece = [0; 2_048];
                    let count = client.read(&mut piece)?;
                    if count == 0 {
                        return Ok(());
                    }
                    inbox.extend_from_slice(piece.get(..count).unwrap_or_default());
                }
            }
        };
        let mut head = ResponseHead::new(status);
        head.body = Body::Length(text.len() as u64);
        head.content_type = Some("text/plain; version=0.0.4; charset=utf-8");
        head.keep_alive = false;
        let mut out = Vec::new();
        head.write(&mut out);
        out.extend_from_slice(text.as_bytes());
        client.write_all(&out)
    }

    fn page(&self, method: Method, host: &str, has_origin: bool, path: &str) -> (u16, String) {
        if !self.hosts.iter().any(|ours| ours.eq_ignore_ascii_case(host)) {
            return (403, "this listener does not answer to this Host\n".into());
        }
        if has_origin {
            return (403, "no page of a browser is served here\n".into());
        }
        match (method, path) {
            (Method::Get, "/metrics") => (200, self.metrics()),
            (Method::Get, "/healthz") => (200, "alive\n".into()),
            (Method::Get, "/readyz") => self.ready(),
            (Method::Get, _) => (404, "there are /metrics, /healthz and /readyz\n".into()),
            _ => (405, "GET only\n".into()),
        }
    }

    fn ready(&self) -> (u16, String) {
        if let Some(fault) = self.hub.log.fault() {
            return (503, format!("not ready: {fault}\n"));
        }
        let snapshots = self.hub.snapshots();
        let is_ready = !snapshots.is_empty() && snapshots.iter().all(|one| one.revision > 0);
        if is_ready { (200, "ready\n".into()) } else { (503, "not ready: no bundle yet\n".into()) }
    }

    fn metrics(&self) -> String {
        let snapshots = self.hub.snapshots();
        let sum = |pick: fn(&Snapshot) -> u64| snapshots.iter().map(pick).sum::<u64>();
        let first = |pick: fn(&Snapshot) -> u64| snapshots.iter().map(pick).min().unwrap_or(0);
        let mut page = Page::default();
        page.sample(metrics::CONNECTIONS, &[], sum(|one| one.connections));
        for (number, core) in snapshots.iter().enumerate() {
            let labels = [("core", &*number.to_string())];
            page.sample(metrics::CORE_CONNECTIONS, &labels, core.connections);
        }
        page.sample(metrics::STEERED, &[], u8::from(self.is_steered));
        page.sample(metrics::CONNECTIONS_ACCEPTED, &[], sum(|one| one.accepted));
        page.sample(metrics::HANDSHAKES_FAILED, &[], sum(|one| one.handshakes_failed));
        page.sample(metrics::REQUESTS, &[], sum(|one| one.counters.requests));
        for (decision, count) in [
            ("allow", sum(|one| one.counters.allowed)),
            ("deny", sum(|one| one.counters.denied)),
            ("refuse", sum(|one| one.counters.refused)),
        ] {
            page.sample(metrics::CALLS, &[("decision", decision)], count);
        }
        page.sample(metrics::QUOTA_REFUSED, &[], sum(|one| one.counters.over_quota));
        page.sample(metrics::KILLED, &[], sum(|one| one.counters.killed));
        page.sample(metrics::TOKENS_VERIFIED, &[], sum(|one| one.counters.verified));
        page.sample(metrics::TOKENS_REFUSED, &[], sum(|one| one.counters.unauthenticated));
        page.sample(metrics::TOKEN_CACHE_HITS, &[], sum(|one| one.counters.cache_hits));
        page.sample(metrics::UPSTREAM_FAILURES, &[], sum(|one| one.counters.server_faults));
        for server in self.hub.server_names() {
            let rests = snapshots.iter().any(|one| one.resting.contains(&server));
            page.sample(metrics::UPSTREAM_HEALTHY, &[("server", &server)], u8::from(!rests));
        }
        page.sample(metrics::RECORDS, &[], self.hub.log.size());
        page.sample(metrics::RECORD_GROUPS, &[], self.hub.log.groups());
        page.sample(metrics::AUDIT_WRITABLE, &[], u8::from(self.hub.log.fault().is_none()));
        page.sample(metrics::BUNDLE_REVISION, &[], first(|one| one.revision));
        page.sample(metrics::BUNDLES_REFUSED, &[], self.hub.bundles_refused());
        let backed_out = self.hub.backed_out().map_or(0, |backed_out| backed_out.revision.0);
        page.sample(metrics::BUNDLE_BACKED_OUT, &[], backed_out);
        page.sample(metrics::KILLS, &[], first(|one| one.kills));
        let ladder = self.hub.ladder.report();
        let lost = ladder.lost + sum(|one| one.counters.heard_lost);
        for (metric, value) in [
            (metrics::REFUSALS_IGNORED, ladder.counters.ignored),
            (metrics::SLOWED, ladder.counters.slowed),
            (metrics::DROPS, ladder.counters.drops),
            (metrics::DROP_ENTRIES, ladder.fill.entries as u64),
            (metrics::DROP_ENTRIES_REFUSED, ladder.counters.entries_refused),
            (metrics::SOURCES_SPARED, ladder.counters.sources_spared),
            (metrics::LADDER_LOST, lost),
        ] {
            page.sample(metric, &[], value);
        }
        if let Some(card) = ladder.card {
            page.sample(metrics::CARD_DROPPED, &[], card.drops);
            page.sample(metrics::CARD_SAMPLES_LOST, &[], ladder.samples_lost);
        }
        for dropped in &ladder.dropped {
            let labels = [("tenant", &*dropped.tenant), ("reason", dropped.reason())];
            page.sample(metrics::CARD_TENANT_DROPPED, &labels, dropped.packets);
        }
        page.sample(metrics::LEASES, &[], first(|one| one.leases));
        page.sample(metrics::CONTROL_CONNECTED, &[], u8::from((self.is_connected)()));
        page.into_text()
    }
}
