//! Debian's kernels: the newest package of a series, of which only the kernel and some modules are
//! unpacked into the target folder. Nothing is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

use super::said;
use crate::machine;

/// Modules in an order in which they can be loaded: each after those that it needs. One that a kernel
/// does not have is built in.
const MODULES: &[&str] = &[
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "failover",
    "net_failover",
    "virtio_net",
    "dca",
    "i2c-algo-bit",
    "igb",
    "e1000",
    "e1000e",
    "vmxnet3",
    "veth",
];

/// A kernel that was unpacked.
#[derive(Debug)]
pub(super) struct Kernel {
    /// `6.1`.
    pub series: &'static str,
    /// Debian's version of the package.
    pub version: String,
    pub image: PathBuf,
    /// In the order in which they are loaded.
    pub modules: Vec<PathBuf>,
}

/// Fetches and unpacks the newest kernel of a series, if that is not there already.
///
/// # Errors
/// When this machine's packages have none, or it cannot be fetched.
pub(super) fn fetch(series: &'static str, folder: &Path) -> anyhow::Result<Kernel> {
    let name = match newest(series)? {
        Some(name) => name,
        // The list of packages may be too old, or empty.
        None => {
            machine::update();
            newest(series)?.with_context(|| format!("no package linux-image-{series}.*-amd64"))?
        }
    };
    let file = match file_of(&name)? {
        Some(file) => file,
        None => bail!("{name}: apt-get names no file"),
    };
    let version = file.split('_').nth(1).unwrap_or("?").to_owned();
    let at = folder.join(file.trim_end_matches(".deb"));
    if !at.exists() {
        println!("fetching {name} {version}");
        if download(&name, folder).is_err() {
            // A file of an old list may be gone.
            machine::update();
            download(&name, folder)?;
        }
        unpack(&folder.join(&file), &at)?;
    }
    let files = files(&at)?;
    let image = files.iter().find(|path| named(path).starts_with("vmlinuz"));
    let image = image.with_context(|| format!("{}: no vmlinuz", at.display()))?.clone();
    let module = |name: &str| files.iter().find(|path| module_of(path) == Some(name)).cloned();
    let modules = MODULES.iter().filter_map(|name| module(name)).collect();
    Ok(Kernel { series, version, image, modules })
}

fn newest(series: &str) -> anyhow::Result<Option<String>> {
    let begin = format!("linux-image-{series}.");
    let names = said("apt-cache", &["pkgnames", &begin])?;
    let names = names.lines().filter_map(|name| Some((numbers(name)?, name.to_owned())));
    Ok(names.max().map(|(_, name)| name))
}

/// The numbers of a name, to compare; `None` for clouds, real time and symbols.
fn numbers(name: &str) -> Option<Vec<u64>> {
    let version = name.strip_prefix("linux-image-")?.strip_suffix("-amd64")?;
    let (plain, suite) = version.split_once('+').unwrap_or((version, ""));
    let is_plain = plain.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-'));
    // `+deb12`, `+bpo12`, `+deb13+1`; another word is another kind of kernel.
    if !is_plain || suite.contains('-') {
        return None;
    }
    let parts = version.split(|letter: char| !letter.is_ascii_digit());
    Some(parts.filter_map(|part| part.parse().ok()).collect())
}

/// What `apt-get download` would write: `'URI' FILE SIZE HASH`.
fn file_of(name: &str) -> anyhow::Result<Option<String>> {
    let listing = said("apt-get", &["download", "--print-uris", name])?;
    let file = listing.lines().find_map(|line| line.split_whitespace().nth(1));
    // A colon in a version is written as in an address, but the file has it.
    Ok(file.map(|file| file.replace("%3a", ":")))
}

fn download(name: &str, folder: &Path) -> anyhow::Result<()> {
    // As root apt would want a folder that its own user may write to.
    let status = Command::new("apt-get")
        .args(["-qq", "-o", "APT::Sandbox::User=root", "download", name])
        .current_dir(folder)
        .stdout(Stdio::null())
        .status()
        .context("apt-get")?;
    ensure!(status.success(), "{name} cannot be fetched");
    Ok(())
}

/// Only what is needed: a kernel has 400 MB of modules.
fn unpack(package: &Path, to: &Path) -> anyhow::Result<()> {
    let part = to.with_extension("part");
    let _ = fs::remove_dir_all(&part);
    fs::create_dir_all(&part)?;
    let mut reader = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .spawn()
        .context("dpkg-deb")?;
    let archive = reader.stdout.take().context("dpkg-deb")?;
    let mut writer = Command::new("tar");
    writer.arg("-xC").arg(&part).args(["--wildcards", "*/boot/vmlinuz-*"]);
    // Compressed or not.
    writer.args(MODULES.iter().map(|name| format!("*/{name}.ko*")));
    let written = writer.env("LC_ALL", "C").stdin(archive).output().context("tar")?;
    ensure!(reader.wait()?.success(), "{} is broken", package.display());
    // For tar a pattern that fits nothing is a fault.
    let said = String::from_utf8_lossy(&written.stderr);
    let harmless = |line: &&str| line.contains("Not found in archive") || line.contains("Exiting");
    if let Some(line) = said.lines().find(|line| !harmless(line)) {
        bail!("{}: {line}", package.display());
    }
    fs::rename(&part, to)?;
    let _ = fs::remove_file(package);
    Ok(())
}

fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        match path.is_dir() {
            true => found.extend(files(&path)?),
            false => found.push(path),
        }
    }
    Ok(found)
}

fn named(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// `igb` of `igb.ko` and of `igb.ko.xz`.
fn module_of(path: &Path) -> Option<&str> {
    named(path).split_once(".ko").map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_the_newest_by_its_numbers() {
        let newer = numbers("linux-image-6.1.0-56-amd64").unwrap();
        assert!(newer > numbers("linux-image-6.1.0-9-amd64").unwrap());
        let newer = numbers("linux-image-6.12.117+deb12-amd64").unwrap();
        assert!(newer > numbers("linux-image-6.12.38+deb13+1-amd64").unwrap());
    }

    #[test]
    fn other_kinds_of_kernels_are_left_out() {
        for kind in ["6.1.0-56-cloud", "6.1.0-56-rt", "6.12.117+deb12-rt", "6.12.117+deb12-cloud"] {
            assert_eq!(numbers(&format!("linux-image-{kind}-amd64")), None, "{kind}");
        }
        for name in ["linux-image-6.1.0-56-amd64-dbg", "linux-image-6.1.0-56-amd64-unsigned"] {
            assert_eq!(numbers(name), None, "{name}");
        }
    }

    #[test]
    fn a_module_is_told_by_its_name() {
        assert_eq!(module_of(Path::new("/x/igb.ko.xz")), Some("igb"));
        assert_eq!(module_of(Path::new("/x/igb.ko")), Some("igb"));
        assert_eq!(module_of(Path::new("/x/igbvf.ko")), Some("igbvf"));
    }
}
