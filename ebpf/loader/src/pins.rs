//! The folder on the bpf file system where maps and the link outlive the process.
//!
//! `PINS/v1/CONFIG`, and so on, and `PINS/v1/link-native-3`: which mode, and the interface's index
//! (names may not have a dot there).
//! A folder of another ABI version is nothing that this version could read: it is removed, and
//! the program that hung on its link with it, before ours is attached.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ebpf_abi::ABI_VERSION;

use crate::{Fault, Mode};

/// `BPF_FS_MAGIC` of the kernel's `magic.h`.
const BPF_FS_MAGIC: u32 = 0xcafe_4a11;

/// The folder of this ABI version.
#[derive(Debug)]
pub(crate) struct Pins {
    all: PathBuf,
    folder: PathBuf,
}

impl Pins {
    /// Makes the folder; removes those of other versions. How many.
    pub(crate) fn prepare(all: &Path) -> Result<(Self, usize), Fault> {
        let folder = all.join(format!("v{ABI_VERSION}"));
        fs::create_dir_all(&folder).map_err(|why| {
            // Below `/sys/fs/bpf` that is not mounted, nothing can be made.
            match on_bpf_file_system(all) {
                false => Fault::NoBpfFileSystem(all.to_owned()),
                true => Fault::pins(&folder, why),
            }
        })?;
        if !on_bpf_file_system(&folder) {
            let _ = fs::remove_dir(&folder);
            return Err(Fault::NoBpfFileSystem(all.to_owned()));
        }
        let mut stale = 0;
        for entry in fs::read_dir(all).map_err(|why| Fault::pins(all, why))? {
            let path = entry.map_err(|why| Fault::pins(all, why))?.path();
            if path != folder && is_version(&path) {
                fs::remove_dir_all(&path).map_err(|why| Fault::pins(&path, why))?;
                stale += 1;
            }
        }
        Ok((Self { all: all.to_owned(), folder }, stale))
    }

    /// Where a map is pinned.
    pub(crate) fn map(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Where a link is.
    pub(crate) fn link(&self, mode: Mode, interface: u32) -> PathBuf {
        self.folder.join(format!("link-{mode}-{interface}"))
    }

    /// The links that are pinned: their mode and interface.
    pub(crate) fn links(&self) -> Result<Vec<(Mode, u32)>, Fault> {
        let fault = |why| Fault::pins(&self.folder, why);
        let mut links = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(fault)? {
            let name = entry.map_err(fault)?.file_name();
            links.extend(name.to_str().and_then(link_of));
        }
        Ok(links)
    }

    pub(crate) fn unlink(&self, mode: Mode, interface: u32) -> Result<(), Fault> {
        let path = self.link(mode, interface);
        match fs::remove_file(&path) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => Err(Fault::pins(&path, why)),
            _ => Ok(()),
        }
    }

    /// Forgets maps that do not fit, to begin anew. The link stays: its program goes on until ours
    /// takes its place.
    pub(crate) fn forget_maps(&self) {
        for name in crate::maps::NAMES {
            let _ = fs::remove_file(self.map(name));
        }
    }

    /// Removes everything; what is attached by a pinned link is detached.
    pub(crate) fn remove(&self) -> Result<(), Fault> {
        fs::remove_dir_all(&self.folder).map_err(|why| Fault::pins(&self.folder, why))?;
        // Somebody else's if it is not empty.
        let _ = fs::remove_dir(&self.all);
        Ok(())
    }
}

fn is_version(path: &Path) -> bool {
    let number = path.file_name().and_then(|name| name.to_str()?.strip_prefix('v'));
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}

fn link_of(name: &str) -> Option<(Mode, u32)> {
    let (mode, interface) = name.strip_prefix("link-")?.split_once('-')?;
    let mode = [Mode::Native, Mode::Generic].into_iter().find(|known| known.to_string() == mode)?;
    Some((mode, interface.parse().ok()?))
}

/// Of the nearest folder above that is there.
fn on_bpf_file_system(path: &Path) -> bool {
    let there = path.ancestors().find(|folder| folder.exists());
    there.is_some_and(|folder| {
        rustix::fs::statfs(folder).is_ok_and(|found| found.f_type as u32 == BPF_FS_MAGIC)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_elsewhere_is_refused_with_the_remedy() {
        let folder = std::env::temp_dir().join(format!("pins-{}", std::process::id()));
        let fault = Pins::prepare(&folder).unwrap_err();
        assert!(matches!(fault, Fault::NoBpfFileSystem(_)), "{fault}");
        assert!(fault.to_string().contains("mount -t bpf bpf"), "{fault}");
        let _ = fs::remove_dir_all(&folder);
    }

    #[test]
    fn links_are_told_by_their_names() {
        assert_eq!(link_of("link-native-3"), Some((Mode::Native, 3)));
        assert_eq!(link_of("link-generic-12"), Some((Mode::Generic, 12)));
        assert_eq!(link_of("link-offload-3"), None);
        assert_eq!(link_of("FLOWS"), None);
        assert!(is_version(Path::new("/x/v12")));
        assert!(!is_version(Path::new("/x/vx")));
    }
}
