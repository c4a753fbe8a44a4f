//! The files of the channel: written so that a power cut leaves the old one or the new one.
//!
//! | file | holds |
//! | --- | --- |
//! | `identity.json` | certificate, private key, whom to trust |
//! | `bundle.current`, `bundle.previous` | the newest bundle, and the last good one before it, sealed |
//! | `bundle.trying` | bundles that are not good yet, and how often the box died by each |
//! | `bundle.refused` | the bundle that the box last went back from, for whoever looks into it |
//! | `kills.current` | the last kill list, sealed |
//! | `floor` | the lowest revision and kill serial that may be used; in a directory of its own if asked |

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use dataplane_bundle::{Bundle, Revision};
use ring::digest::{SHA256, digest};

pub(crate) const IDENTITY: &str = "identity.json";
pub(crate) const CURRENT: &str = "bundle.current";
pub(crate) const PREVIOUS: &str = "bundle.previous";
pub(crate) const REFUSED: &str = "bundle.refused";
pub(crate) const KILLS: &str = "kills.current";
pub(crate) const FLOOR: &str = "floor";

/// Where the channel keeps its files.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Dirs {
    pub data: PathBuf,
    /// Holds the floor alone: best where neither a restored backup nor a slot switch reaches it.
    pub floor: PathBuf,
}

impl Dirs {
    /// Everything in one directory.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        let data = data.into();
        Self { floor: data.clone(), data }
    }
}

/// The lowest that may still be used.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Floor {
    pub revision: Revision,
    pub kill_serial: u64,
}

const FLOOR_MAGIC: &[u8; 8] = b"PORTFLOR";
const FLOOR_BYTES: usize = 8 + 8 + 8 + 32;

impl Floor {
    /// None when there is no such file.
    pub(crate) fn load(dirs: &Dirs) -> Result<Option<Self>, String> {
        let path = dirs.floor.join(FLOOR);
        let Some(bytes) = read(&path, FLOOR_BYTES as u64 + 1).map_err(|fault| fault.to_string())?
        else {
            return Ok(None);
        };
        let damaged = || {
            let path = path.display();
            format!(
                "{path} is damaged, so it cannot be told which revision is too old. Restore it, or \
                 remove it and connect the control plane"
            )
        };
        let (body, sum) = bytes.split_at_checked(FLOOR_BYTES - 32).ok_or_else(damaged)?;
        let numbers = body.strip_prefix(FLOOR_MAGIC).ok_or_else(damaged)?;
        if digest(&SHA256, body).as_ref() != sum {
            return Err(damaged());
        }
        let number = |at: usize| -> Option<u64> {
            Some(u64::from_le_bytes(numbers.get(at..at + 8)?.try_into().ok()?))
        };
        let revision = Revision(number(0).ok_or_else(damaged)?);
        Ok(Some(Self { revision, kill_serial: number(8).ok_or_else(damaged)? }))
    }

    pub(crate) fn store(self, dirs: &Dirs) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(FLOOR_BYTES);
        bytes.extend_from_slice(FLOOR_MAGIC);
        bytes.extend_from_slice(&self.revision.0.to_le_bytes());
        bytes.extend_from_slice(&self.kill_serial.to_le_bytes());
        let sum = digest(&SHA256, &bytes);
        bytes.extend_from_slice(sum.as_ref());
        write(&dirs.floor.join(FLOOR), &bytes)
    }
}

/// The whole file, or none if there is none; an error when it is longer than `max` bytes.
pub(crate) fn read(path: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
    let named =
        |fault: io::Error| io::Error::new(fault.kind(), format!("{}: {fault}", path.display()));
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(fault) => return Err(named(fault)),
    };
    let length = file.metadata().map_err(named)?.len();
    if length > max {
        return Err(named(io::Error::other(format!("{length} bytes are more than {max}"))));
    }
    let length = usize::try_from(length).unwrap_or(0);
    let mut bytes = Vec::with_capacity(length.saturating_add(Bundle::SPARE_BYTES));
    Read::take(&mut file, max).read_to_end(&mut bytes).map_err(named)?;
    Ok(Some(bytes))
}

/// Replaces the file by `bytes`, readable by its owner only. Durable when it returns.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let staged = stage(path, bytes)?;
    replace(&staged, path)
}

/// Writes beside `path`; durable but for its name.
fn stage(path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    let mut staged = path.as_os_str().to_owned();
    staged.push(".new");
    let staged = PathBuf::from(staged);
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&staged)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(staged)
}

fn replace(staged: &Path, path: &Path) -> io::Result<()> {
    fs::rename(staged, path)?;
    sync_dir(path)
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// Makes `sealed` the current bundle. The current one becomes the previous, unless it has not proved
/// good and another is kept already: that other is the last good one. At no time is there none.
pub(crate) fn rotate(dirs: &Dirs, sealed: &[u8], is_current_good: bool) -> io::Result<()> {
    let current = dirs.data.join(CURRENT);
    let previous = dirs.data.join(PREVIOUS);
    let staged = stage(&current, sealed)?;
    if is_current_good || !previous.exists() {
        let kept = dirs.data.join("bundle.previous.new");
        remove(&kept)?;
        match fs::hard_link(&current, &kept) {
            Ok(()) => fs::rename(&kept, previous)?,
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => {}
            Err(fault) => return Err(fault),
        }
    }
    replace(&staged, &current)
}

/// Takes a bundle's file out of use, and keeps it for whoever looks into it.
pub(crate) fn set_aside(dirs: &Dirs, name: &str) -> io::Result<()> {
    replace(&dirs.data.join(name), &dirs.data.join(REFUSED))
}

pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(fault) if fault.kind() != io::ErrorKind::NotFound => Err(fault),
        _ => Ok(()),
    }
}
