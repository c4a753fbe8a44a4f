//! The data directory: for us only, with the key file that seals the database.
//!
//! A key file that others may read is no key file: then the process stops and says so.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use controlplane_store::{KEY_BYTES, SealSource};
use zeroize::Zeroizing;

use crate::config::Config;

const KEY_FILE: &str = "seal.key";
/// Where the first admin token is left for whoever started us.
pub const TOKEN_FILE: &str = "bootstrap-token";
pub(crate) const DATABASE_FILE: &str = "control.db";

/// Makes the directory and finds or makes what seals the database.
pub(crate) fn prepare(config: &Config) -> anyhow::Result<SealSource> {
    let dir = &config.data_dir;
    if !dir.exists() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .with_context(|| format!("cannot make the data directory {}", dir.display()))?;
    }
    let database = dir.join(DATABASE_FILE);
    let existed = database.exists();
    if !existed {
        // SQLite gives its files beside it the same mode.
        write_private(&database, &[])?;
    }
    match &config.passphrase_file {
        Some(path) => passphrase(path),
        None => key_file(&dir.join(KEY_FILE), existed),
    }
}

fn passphrase(path: &Path) -> anyhow::Result<SealSource> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read the passphrase file {}", path.display()))?;
    let text = Zeroizing::new(text);
    let line = text.lines().next().unwrap_or_default();
    ensure!(
        line.len() >= 12,
        "the passphrase in {} is shorter than 12 bytes: take a longer one",
        path.display()
    );
    Ok(SealSource::Passphrase(Zeroizing::new(line.to_owned())))
}

fn key_file(path: &Path, database_exists: bool) -> anyhow::Result<SealSource> {
    if !path.exists() {
        ensure!(
            !database_exists,
            "{} is missing, and the database beside it was sealed: restore the key file from a \
             backup, or start with --passphrase-file if a passphrase sealed it",
            path.display()
        );
        let key = crate::random::bytes::<KEY_BYTES>();
        let Ok(key) = key else { bail!("the system gave no randomness") };
        write_private(path, Zeroizing::new(key).as_slice())?;
    }
    let mode = fs::metadata(path)?.permissions().mode();
    ensure!(
        mode & 0o077 == 0,
        "{} can be read by others (mode {:o}): run `chmod 600 {}`",
        path.display(),
        mode & 0o777,
        path.display()
    );
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    let mut file = fs::File::open(path)?;
    file.read_exact(key.as_mut_slice())
        .with_context(|| format!("{} is no key file: it has to have 32 bytes", path.display()))?;
    Ok(SealSource::KeyFile(key))
}

/// Writes a new file that only we can read, durably.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(())
}
