//! Certificates: ours towards clients, and whom we trust among servers.
//!
//! TLS 1.3 and 1.2, rustls with ring. The operator's certificate is read again when its file
//! changes; connections that exist keep theirs. Without one, the gateway makes its own once and
//! keeps it, so that a client that was told to trust it still does tomorrow.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, bail};
use dataplane_pipeline::Configuration;
use dataplane_upstream::Scheme;
use rustls::crypto::CryptoProvider;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Where the certificate towards clients comes from.
pub(crate) struct Certificate {
    chain: PathBuf,
    key: PathBuf,
    read_at: Option<SystemTime>,
}

impl Certificate {
    /// The operator's, or our own in `data_dir` for `names`.
    pub(crate) fn new(
        operators: Option<(PathBuf, PathBuf)>,
        data_dir: &Path,
        names: Vec<String>,
    ) -> anyhow::Result<Self> {
        let (chain, key) = match operators {
            Some(files) => files,
            None => own(data_dir, names)?,
        };
        Ok(Self { chain, key, read_at: None })
    }

    /// Reads the files.
    pub(crate) fn load(&mut self) -> anyhow::Result<Arc<rustls::ServerConfig>> {
        self.read_at = modified(&self.chain).ok();
        let named = |path: &Path| format!("cannot read {}", path.display());
        let chain = CertificateDer::pem_file_iter(&self.chain)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .with_context(|| named(&self.chain))?;
        if chain.is_empty() {
            bail!("{} holds no certificate", self.chain.display());
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).with_context(|| named(&self.key))?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .context("the certificate and its key do not fit")?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.ticketer = rustls::crypto::ring::Ticketer::new()?;
        Ok(Arc::new(config))
    }

    /// Whether the file has changed since it was read.
    pub(crate) fn has_changed(&self) -> bool {
        modified(&self.chain).is_ok_and(|found| Some(found) != self.read_at)
    }
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn modified(path: &Path) -> io::Result<SystemTime> {
    std::fs::metadata(path)?.modified()
}

fn own(data_dir: &Path, names: Vec<String>) -> anyhow::Result<(PathBuf, PathBuf)> {
    let (chain, key) = (data_dir.join("client-tls.crt"), data_dir.join("client-tls.key"));
    if !chain.exists() || !key.exists() {
        let made = rcgen::generate_simple_self_signed(names)?;
        write_private(&key, made.signing_key.serialize_pem().as_bytes())?;
        std::fs::write(&chain, made.cert.pem())?;
        tracing::warn!(
            certificate = %chain.display(),
            "made a certificate of our own: clients must be told to trust it, or use --tls-cert"
        );
    }
    Ok((chain, key))
}

/// A file that only its owner reads.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// How each server's certificate is checked: by its own authority, or by the public ones.
pub(crate) fn for_servers(
    configuration: &Configuration,
) -> anyhow::Result<Vec<Option<Arc<rustls::ClientConfig>>>> {
    let mut public = None;
    let mut configs = Vec::new();
    for server in configuration.servers() {
        if server.origin.scheme() == Scheme::Http {
            configs.push(None);
            continue;
        }
        let config = match &server.ca_pem {
            Some(pem) => {
                let mut roots = rustls::RootCertStore::empty();
                for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                    roots.add(certificate?)?;
                }
                client(roots)?
            }
            None => match &public {
                Some(known) => Arc::clone(known),
                None => Arc::clone(public.insert(client(public_roots())?)),
            },
        };
        configs.push(Some(config));
    }
    Ok(configs)
}

fn public_roots() -> rustls::RootCertStore {
    let mut roots = rustls::RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a public certificate authority could not be read");
    }
    roots.add_parsable_certificates(found.certs);
    roots
}

fn client(roots: rustls::RootCertStore) -> anyhow::Result<Arc<rustls::ClientConfig>> {
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
