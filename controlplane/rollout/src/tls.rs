//! The listener's TLS and QUIC settings: TLS 1.3, our authority alone, small windows.
//!
//! A client without a certificate gets as far as the enrolment protocol; one with a certificate of
//! another authority gets nowhere.

use std::sync::Arc;
use std::time::Duration;

use dataplane_bundle::message::{ALPN_ENROL, ALPN_SYNC, PACKET_BYTES_MAX};
use dataplane_telemetry::WallNanos;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{IdleTimeout, MtuDiscoveryConfig, ServerConfig, TransportConfig, VarInt};
use rustls::RootCertStore;
use rustls::crypto::ring as provider;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::PrivatePkcs8KeyDer;

use crate::authority::Authority;

/// Silence for this long means that the other side is gone.
pub const IDLE_MS_MAX: u32 = 15_000;
const KEEP_ALIVE_MS: u64 = 4_000;
/// Messages that one appliance may be sending at a time.
pub const STREAMS_MAX: u32 = 16;
/// Unread bytes of one message, and of one connection.
pub const STREAM_WINDOW_BYTES: u32 = 1 << 20;
pub const WINDOW_BYTES: u32 = 4 << 20;
/// Handshakes that wait to be looked at; more are refused. Each costs nothing but its first packet.
pub const HANDSHAKES_WAITING_MAX: usize = 256;
/// Early packets kept for one of them, and for all.
const HANDSHAKE_BUFFER_BYTES: u64 = 16 << 10;
const HANDSHAKE_BUFFERS_BYTES: u64 = 4 << 20;

pub(crate) fn server(authority: &Authority, now: WallNanos) -> Result<ServerConfig, String> {
    let fault = |fault: &dyn std::fmt::Display| fault.to_string();
    let (chain, key) = authority.server(now).map_err(|reason| fault(&reason))?;
    let provider = Arc::new(provider::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.ca().clone()).map_err(|reason| fault(&reason))?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|reason| fault(&reason))?;
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|reason| fault(&reason))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, PrivatePkcs8KeyDer::from(key.to_vec()).into())
        .map_err(|reason| fault(&reason))?;
    tls.alpn_protocols = vec![ALPN_SYNC.to_vec(), ALPN_ENROL.to_vec()];
    let crypto = QuicServerConfig::try_from(tls).map_err(|reason| fault(&reason))?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config
        .max_incoming(HANDSHAKES_WAITING_MAX)
        .incoming_buffer_size(HANDSHAKE_BUFFER_BYTES)
        .incoming_buffer_size_total(HANDSHAKE_BUFFERS_BYTES)
        .transport_config(Arc::new(transport()));
    Ok(config)
}

fn transport() -> TransportConfig {
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(PACKET_BYTES_MAX);
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_uni_streams(STREAMS_MAX.into())
        .max_concurrent_bidi_streams(1_u8.into())
        .stream_receive_window(STREAM_WINDOW_BYTES.into())
        .receive_window(WINDOW_BYTES.into())
        .datagram_receive_buffer_size(None)
        .mtu_discovery_config(Some(discovery))
        .keep_alive_interval(Some(Duration::from_millis(KEEP_ALIVE_MS)))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_MS_MAX))));
    transport
}
