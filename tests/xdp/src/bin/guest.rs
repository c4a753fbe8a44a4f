//! The first process of a machine that `cargo xtask kernels` emulates.
//!
//! It mounts what tests need, loads the modules that `/guest/modules` lists, carries out each line of
//! `/guest/runs` and says on the console how it ended, for the host to read. The last line is
//! `guest: all N runs ended`; then the machine stops. Whatever goes wrong is said, and stops it too.

use std::fmt::Display;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, ExitStatus};

use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, finit_module, reboot, uname};

/// `MODULE_INIT_COMPRESSED_FILE` of the kernel's `module.h`.
const COMPRESSED: i32 = 4;

fn main() {
    // Anywhere else it would mount, load and stop what is not its own.
    if std::process::id() != 1 {
        eprintln!("guest: only for the first process of an emulated machine");
        std::process::exit(2);
    }
    if let Err(why) = work() {
        println!("guest: {why}");
    }
    // A kernel whose first process ends panics; the host takes both for an end.
    let _ = reboot(RebootCommand::Restart);
}

fn work() -> Result<(), String> {
    let kernel = uname();
    println!(
        "guest: Linux {} {}",
        kernel.release().to_string_lossy(),
        kernel.version().to_string_lossy()
    );
    for (kind, at) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/tmp"),
        ("tmpfs", "/run"),
        ("bpf", "/sys/fs/bpf"),
        ("cgroup2", "/sys/fs/cgroup"),
    ] {
        fs::create_dir_all(at).map_err(|why| told(at, why))?;
        mount(kind, at, kind, MountFlags::empty(), None).map_err(|why| told(at, why))?;
    }
    for module in read("/guest/modules")?.lines() {
        load(Path::new(module)).map_err(|why| told(&format!("loading {module}"), why))?;
    }
    let loopback = carry_out(&["ip", "link", "set", "lo", "up"]).map_err(|why| told("ip", why))?;
    if !loopback.success() {
        return Err("the loopback interface stays down".to_owned());
    }
    let runs = read("/guest/runs")?;
    for line in runs.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        println!("guest: begin {line}");
        let status = carry_out(&words).map_err(|why| told(line, why))?;
        println!("guest: end {line}: {}", status.code().unwrap_or(-1));
    }
    println!("guest: all {} runs ended", runs.lines().count());
    Ok(())
}

/// `NAME=VALUE ... PROGRAM ARGUMENT ...`
fn carry_out(words: &[&str]) -> std::io::Result<ExitStatus> {
    let settings = words.iter().take_while(|word| word.contains('=')).count();
    let (settings, words) = words.split_at(settings);
    let (program, arguments) = words.split_first().unwrap_or((&"", &[]));
    let mut command = Command::new(program);
    command.args(arguments).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.envs(settings.iter().filter_map(|word| word.split_once('=')));
    command.status()
}

fn load(module: &Path) -> std::io::Result<()> {
    let compressed = module.extension().is_some_and(|extension| extension != "ko");
    let flags = if compressed { COMPRESSED } else { 0 };
    Ok(finit_module(File::open(module)?, c"", flags)?)
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|why| told(path, why))
}

fn told(what: &str, why: impl Display) -> String {
    format!("{what}: {why}")
}
