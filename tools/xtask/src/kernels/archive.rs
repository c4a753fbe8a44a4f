//! The file system that an emulated machine starts with: an archive in cpio's `newc` format, which
//! the kernel unpacks (its `Documentation/driver-api/early-userspace/buffer-format.rst`).
//!
//! Written here, so that no machine needs `cpio`, nor root for the console's device node.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

const FOLDER: u32 = 0o040_755;
const EXECUTABLE: u32 = 0o100_755;
const CHARACTERS: u32 = 0o020_600;

/// An archive that is being written.
pub(super) struct Archive {
    bytes: Vec<u8>,
    names: BTreeSet<String>,
}

impl Archive {
    /// With the console, which the first process speaks on.
    pub(super) fn new() -> Self {
        let mut archive = Self { bytes: Vec::new(), names: BTreeSet::new() };
        archive.folders("dev/console");
        archive.entry("dev/console", CHARACTERS, (5, 1), &[]);
        archive
    }

    /// A file at an absolute path, once.
    pub(super) fn file(&mut self, at: &str, content: &[u8]) {
        let name = at.trim_start_matches('/');
        self.folders(name);
        if self.names.insert(name.to_owned()) {
            self.entry(name, EXECUTABLE, (0, 0), content);
        }
    }

    /// A program of this machine, without what a debugger reads, and the libraries that it needs.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub(super) fn program(&mut self, at: &str, from: &Path) -> anyhow::Result<()> {
        self.file(at, &read(from)?);
        for library in libraries(from)? {
            self.file(&library.display().to_string(), &read(&library)?);
        }
        Ok(())
    }

    /// The whole archive.
    pub(super) fn end(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    /// The folders above a name, outermost first.
    fn folders(&mut self, name: &str) {
        for (at, _) in name.match_indices('/') {
            let folder = name.get(..at).unwrap_or_default();
            if self.names.insert(folder.to_owned()) {
                self.entry(folder, FOLDER, (0, 0), &[]);
            }
        }
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        let number = self.names.len();
        let (major, minor) = device;
        let (size, name_size) = (content.len(), name.len() + 1);
        // Magic, inode, mode, owner, group, links, time, size, device twice, name's size, checksum.
        let header = format!(
            "070701{number:08x}{mode:08x}{0:08x}{0:08x}{1:08x}{0:08x}{size:08x}\
             {0:08x}{0:08x}{major:08x}{minor:08x}{name_size:08x}{0:08x}",
            0, 1
        );
        self.bytes.extend(header.as_bytes());
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| path.display().to_string())
}

/// Takes what a debugger reads out of programs of our own: an emulated machine reads slowly.
///
/// # Errors
/// When neither a stripped nor a whole copy can be made.
pub(super) fn strip(from: &Path, to: &Path) -> anyhow::Result<()> {
    let stripped = Command::new("strip").arg("-o").arg(to).arg(from).status();
    if !stripped.is_ok_and(|status| status.success()) {
        std::fs::copy(from, to).with_context(|| from.display().to_string())?;
    }
    Ok(())
}

fn libraries(program: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("ldd")?;
    ensure!(output.status.success(), "ldd {} failed", program.display());
    Ok(library_paths(&String::from_utf8_lossy(&output.stdout)))
}

/// `NAME => PATH (ADDRESS)`, and the loader's own `PATH (ADDRESS)`.
fn library_paths(listing: &str) -> Vec<PathBuf> {
    let words =
        |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    listing.lines().filter_map(words).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_own_libraries_are_found() {
        let listing = "\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x2)\n\t/lib64/ld.so.2 (0x3)\n";
        assert_eq!(
            library_paths(listing),
            ["/lib/x/libc.so.6", "/lib64/ld.so.2"].map(PathBuf::from)
        );
    }

    #[test]
    fn an_archive_is_what_the_format_says() {
        let mut archive = Archive::new();
        archive.file("/a/b/c", b"five5");
        archive.file("/a/b/c", b"again");
        let bytes = archive.end();
        assert_eq!(bytes.len() % 4, 0);
        let mut found = Vec::new();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let field = |at: usize| {
                let text = std::str::from_utf8(&rest[6 + at * 8..14 + at * 8]).unwrap();
                usize::from_str_radix(text, 16).unwrap()
            };
            assert_eq!(&rest[..6], b"070701");
            let name = std::str::from_utf8(&rest[110..110 + field(11) - 1]).unwrap();
            let begin = (110 + field(11)).next_multiple_of(4);
            found.push((name.to_owned(), field(1) as u32, (field(9), field(10)), field(6)));
            rest = &rest[(begin + field(6)).next_multiple_of(4)..];
        }
        let entry = |name: &str, mode, device, size| (name.to_owned(), mode, device, size);
        let wanted = [
            entry("dev", FOLDER, (0, 0), 0),
            entry("dev/console", CHARACTERS, (5, 1), 0),
            entry("a", FOLDER, (0, 0), 0),
            entry("a/b", FOLDER, (0, 0), 0),
            entry("a/b/c", EXECUTABLE, (0, 0), 5),
            entry("TRAILER!!!", 0, (0, 0), 0),
        ];
        assert_eq!(found, wanted);
    }
}
