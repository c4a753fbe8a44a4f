//! What this machine has, and how to get what it lacks.
//!
//! Versions of tools are pinned here. In CI a tool that cannot be had fails its step; elsewhere the
//! step is skipped, aloud.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A cargo subcommand that a step needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool {
    /// `cargo NAME`.
    pub name: &'static str,
    /// The package that brings it.
    pub package: &'static str,
    pub version: &'static str,
}

pub(crate) const DENY: Tool = Tool { name: "deny", package: "cargo-deny", version: "0.20.2" };
pub(crate) const FUZZ: Tool = Tool { name: "fuzz", package: "cargo-fuzz", version: "0.13.2" };

impl Tool {
    /// Installs the tool where it is missing.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub(crate) fn ensure(self) -> Result<(), String> {
        if succeeds("cargo", &[self.name, "--version"]) {
            return Ok(());
        }
        println!("installing {} {}", self.package, self.version);
        // Without optimisations: it runs for seconds, and would take minutes to build.
        let arguments = ["install", self.package, "--locked", "--debug", "--version", self.version];
        // Never our own flags or target folder: this is somebody else's crate.
        let status = command("cargo")
            .args(arguments)
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_TARGET_DIR")
            .status();
        match status {
            Ok(status) if status.success() => Ok(()),
            _ => Err(format!("{} is missing: cargo {}", self.package, arguments.join(" "))),
        }
    }
}

/// Installs Debian packages; whether they are there now.
pub(crate) fn install(packages: &[&str]) -> bool {
    // Waits for another apt rather than failing on its lock.
    let words =
        ["-o", "DPkg::Lock::Timeout=600", "-qq", "install", "-y", "--no-install-recommends"];
    let install = || {
        let mut command = command("apt-get");
        command.args(words).args(packages).env("DEBIAN_FRONTEND", "noninteractive");
        command.stdout(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    println!("installing {}", packages.join(" "));
    // A list of packages that is too old names none of them.
    install() || (update() && install())
}

/// Fetches the list of packages anew.
pub(crate) fn update() -> bool {
    let mut command = command("apt-get");
    command.args(["-o", "DPkg::Lock::Timeout=600", "-qq", "update"]);
    command.status().is_ok_and(|status| status.success())
}

/// Whether packages can be installed, and namespaces made.
pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Whether this run is the one that decides.
pub(crate) fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

/// Whether `cargo nextest` is there.
pub(crate) fn has_nextest() -> bool {
    succeeds("cargo", &["nextest", "--version"])
}

/// Whether rustup has a nightly toolchain.
pub(crate) fn has_nightly() -> bool {
    let listing = Command::new("rustup").args(["toolchain", "list"]).output();
    listing.is_ok_and(|found| String::from_utf8_lossy(&found.stdout).contains("nightly"))
}

/// How many things to run at once.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The repository's root: where the workspace's manifest is.
pub(crate) fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    here.canonicalize().unwrap_or(here)
}

/// Where cargo puts what it builds.
pub(crate) fn target_folder() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// A command without what `cargo run` told this process about its own package: build scripts of
/// others read these names, and would run again each time somebody else starts the build.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Whether a command runs and says yes; its output is not shown.
pub(crate) fn succeeds(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .current_dir(root())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
