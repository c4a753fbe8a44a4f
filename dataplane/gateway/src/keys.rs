//! Keys that this box makes for itself at its first start, each a file that only its owner reads.

use std::io;
use std::path::Path;

use anyhow::Context;
use ring::rand::{SecureRandom, SystemRandom};

use crate::tls::write_private;

/// The box's own secrets.
pub(crate) struct Keys {
    /// Seals legacy sessions: a client survives a restart.
    pub session: [u8; 32],
    /// Keys the digests of arguments in records.
    pub digest: [u8; 32],
    /// Signs the log's checkpoints.
    pub log: [u8; 32],
}

impl Keys {
    pub(crate) fn open(data_dir: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            session: key(data_dir, "session.key")?,
            digest: key(data_dir, "digest.key")?,
            log: key(data_dir, "log.key")?,
        })
    }
}

fn key(data_dir: &Path, name: &str) -> anyhow::Result<[u8; 32]> {
    let path = data_dir.join(name);
    match std::fs::read(&path) {
        Ok(bytes) => {
            let key = <[u8; 32]>::try_from(bytes.as_slice());
            key.with_context(|| format!("{} is not 32 bytes long", path.display()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = random()?;
            write_private(&path, &key)?;
            Ok(key)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Fresh random bytes from the kernel.
pub(crate) fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    let drawn = SystemRandom::new().fill(&mut bytes);
    drawn.ok().context("the kernel gives no random bytes")?;
    Ok(bytes)
}
