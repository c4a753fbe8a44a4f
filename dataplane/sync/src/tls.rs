//! TLS towards the control plane: one authority is trusted, its own, and TLS 1.3 alone is spoken.
//!
//! Before enrolment the authority is known by its digest, which came with the token; afterwards by
//! the certificate kept in the identity file.

use std::sync::Arc;
use std::time::Duration;

use dataplane_bundle::message::{ALPN_ENROL, ALPN_SYNC, PACKET_BYTES_MAX};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};
use ring::digest::{SHA256, digest};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring as provider};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};

use crate::identity::Identity;

/// Both sides keep a quiet connection alive, so silence for this long means that it is gone.
pub const IDLE_MS_MAX: u32 = 15_000;
/// How often a quiet connection is kept alive.
const KEEP_ALIVE_MS: u64 = 4_000;
/// Messages that may arrive at a time.
const STREAMS_MAX: u32 = 16;
/// Unread bytes of one message, and of all: a bundle is read as fast as it comes.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const WINDOW_BYTES: u32 = 8 << 20;

/// For an enrolled box: presents its certificate.
pub(crate) fn enrolled(identity: &Identity) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from(identity.ca.clone());
    roots.add(ca).map_err(|fault| format!("the control plane's CA certificate: {fault}"))?;
    let chain = vec![CertificateDer::from(identity.certified.certificate.clone())];
    let key = PrivatePkcs8KeyDer::from(identity.key.0.to_vec()).into();
    let mut config = builder()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(|fault| format!("the appliance's certificate and key: {fault}"))?;
    config.alpn_protocols = vec![ALPN_SYNC.to_vec()];
    quic(config)
}

/// For a box that has a token: trusts the authority of that digest.
pub(crate) fn enrolling(ca_sha256: [u8; 32]) -> Result<ClientConfig, String> {
    let verifier = Arc::new(Pinned { ca_sha256, provider: Arc::new(provider::default_provider()) });
    let mut config =
        builder()?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = vec![ALPN_ENROL.to_vec()];
    quic(config)
}

fn builder() -> Result<rustls::ConfigBuilder<rustls::ClientConfig, rustls::WantsVerifier>, String> {
    rustls::ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|fault| fault.to_string())
}

fn quic(config: rustls::ClientConfig) -> Result<ClientConfig, String> {
    let crypto = QuicClientConfig::try_from(config).map_err(|fault| fault.to_string())?;
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(PACKET_BYTES_MAX);
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_uni_streams(STREAMS_MAX.into())
        .max_concurrent_bidi_streams(0_u8.into())
        .stream_receive_window(STREAM_WINDOW_BYTES.into())
        .receive_window(WINDOW_BYTES.into())
        .datagram_receive_buffer_size(None)
        .mtu_discovery_config(Some(discovery))
        .keep_alive_interval(Some(Duration::from_millis(KEEP_ALIVE_MS)))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_MS_MAX))));
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

/// Verifies as usual, with the one authority whose certificate has the digest of the token.
#[derive(Debug)]
struct Pinned {
    ca_sha256: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let pinned = |ca: &&CertificateDer<'_>| digest(&SHA256, ca).as_ref() == self.ca_sha256;
        let Some(ca) = intermediates.iter().find(pinned) else {
            return Err(rustls::CertificateError::UnknownIssuer.into());
        };
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        let builder =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone());
        let verifier =
            builder.build().map_err(|fault| rustls::Error::General(fault.to_string()))?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
