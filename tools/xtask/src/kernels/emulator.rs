//! A machine in QEMU: a kernel, what it starts with, and two cards of each kind on a wire of their own.
//!
//! What it writes on its console goes to a file as it comes, and what matters of it to the terminal.
//! A machine that does not end in time is stopped.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::{Driver, said};
use crate::machine;

pub(super) const PROGRAM: &str = "qemu-system-x86_64";
const PACKAGE: &str = "qemu-system-x86";

/// What runs the machines.
#[derive(Debug)]
pub(super) struct Emulator {
    program: String,
    /// As it tells it.
    pub version: String,
    /// The processor's own virtualisation, or everything in software.
    pub accelerated: bool,
    /// As `-device help` lists them.
    devices: String,
}

/// A machine.
pub(super) struct Machine<'m> {
    /// What its lines begin with on the terminal.
    pub name: &'m str,
    pub image: &'m Path,
    pub initial: &'m Path,
    pub log: PathBuf,
    pub drivers: &'m [Driver],
    pub deadline: Duration,
}

impl Emulator {
    /// `program`, or Debian's, which is installed where it is missing.
    ///
    /// # Errors
    /// What to install by hand.
    pub(super) fn find(program: Option<&str>, software: bool) -> anyhow::Result<Self> {
        if program.is_none() && !machine::succeeds(PROGRAM, &["--version"]) {
            ensure!(machine::install(&[PACKAGE]), "no QEMU: apt-get install {PACKAGE}");
        }
        let program = program.unwrap_or(PROGRAM).to_owned();
        let version = said(&program, &["--version"])?;
        let version = version.split_whitespace().nth(3).unwrap_or("?").to_owned();
        let devices = said(&program, &["-device", "help"])?;
        Ok(Self { program, version, accelerated: !software && accelerates(), devices })
    }

    /// Whether it emulates the card of a driver.
    pub(super) fn has(&self, driver: &Driver) -> bool {
        self.devices.contains(&format!("name \"{}\"", driver.device))
    }

    /// Runs a machine until it stops. What was on its console.
    ///
    /// # Errors
    /// When it cannot be started, or does not end in time.
    pub(super) fn run(&self, machine: &Machine<'_>) -> anyhow::Result<Vec<String>> {
        let mut log = File::create(&machine.log).context("the log")?;
        // What QEMU itself says, too.
        let stderr = log.try_clone().context("the log")?;
        let mut child = self.command(machine).stderr(stderr).spawn().context(PROGRAM)?;
        let console = child.stdout.take().context("the console")?;
        let (to, lines) = channel();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(console);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                if to.send(text).is_err() {
                    break;
                }
                line.clear();
            }
        });
        let begun = Instant::now();
        let end = begun + machine.deadline;
        let mut console = Vec::new();
        let timely = loop {
            match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let at = begun.elapsed().as_secs_f64();
                    writeln!(log, "{at:>7.2} {line}").context("the log")?;
                    if is_progress(&line) {
                        println!("{}: {}", machine.name, line.trim());
                    }
                    console.push(line);
                }
                Err(RecvTimeoutError::Disconnected) => break true,
                Err(RecvTimeoutError::Timeout) => break false,
            }
        };
        if !timely {
            child.kill().context(PROGRAM)?;
        }
        let status = child.wait().context(PROGRAM)?;
        match timely {
            true if status.success() => Ok(console),
            true => bail!("{PROGRAM}: {status}"),
            false => bail!("did not end within {} s", machine.deadline.as_secs()),
        }
    }

    fn command(&self, machine: &Machine<'_>) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["-machine", "q35", "-m", "1024", "-smp", "2", "-nodefaults", "-no-reboot"]);
        command.args(["-display", "none", "-monitor", "none", "-serial", "stdio"]);
        // Emulated, the two take turns. The kernel patches the code that runs a program while packets come;
        // with a thread for each, it panicked there once: as if one had run what the other was patching.
        match self.accelerated {
            true => command.args(["-accel", "kvm", "-cpu", "host"]),
            false => command.args(["-accel", "tcg,thread=single", "-cpu", "max"]),
        };
        command.arg("-kernel").arg(machine.image).arg("-initrd").arg(machine.initial);
        command.args([
            "-append",
            "console=ttyS0 loglevel=3 mitigations=off panic=-1 rdinit=/guest/init",
        ]);
        for (wire, driver) in machine.drivers.iter().enumerate() {
            for end in 0..2 {
                let net = format!("net{wire}{end}");
                command.args(["-netdev", &format!("hubport,id={net},hubid={wire}")]);
                let address = format!("52:54:00:00:{wire:02x}:{end:02x}");
                // Each igb has virtual functions 16 places behind it, and they take two.
                let place = 2 + 4 * wire + 2 * end;
                let device = driver.device;
                let device =
                    format!("{device},netdev={net},mac={address},romfile=,addr={place:#x}");
                command.args(["-device", &device]);
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }
}

/// A device is not enough: where the processor lends nothing it runs only kernels that know of it.
fn accelerates() -> bool {
    let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let lends = about.split_whitespace().any(|word| word == "vmx" || word == "svm");
    lends && File::options().read(true).write(true).open("/dev/kvm").is_ok()
}

/// What a person who waits wants to see.
fn is_progress(line: &str) -> bool {
    let words =
        ["instructions verified", "packets,", "FAILED", "panicked", "SKIPPED", "Kernel panic"];
    ["guest:", "test result:"].iter().any(|begin| line.starts_with(begin))
        || words.iter().any(|word| line.contains(word))
}
