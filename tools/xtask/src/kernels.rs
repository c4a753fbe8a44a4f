//! `cargo xtask kernels`: the network card's program on Debian's kernels, in machines that QEMU
//! emulates, and on the drivers of the cards that it emulates.
//!
//! Each kernel runs the tests of `tests-xdp`: every packet that the model knows (one in some where the
//! processor is emulated, too), the tables' limits, floods, and real connections over a virtual pair
//! and over two cards of each driver. What a packet costs is asserted on real processors only.

mod archive;
mod console;
mod emulator;
mod package;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::machine;
use crate::outcome::{Counts, Outcome};
use crate::plan::Invocation;
use archive::Archive;
use console::Report;
use emulator::{Emulator, Machine};
use package::Kernel;

/// The kernels of Debian 12 and 13.
const SERIES: &[&str] = &["6.1", "6.12"];

/// A driver, and the card that it drives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Driver {
    pub name: &'static str,
    /// QEMU's name of the card.
    pub device: &'static str,
    /// The first kernel whose driver runs programs itself; none does where it says `None`.
    pub native_since: Option<(u32, u32)>,
}

const DRIVERS: &[Driver] = &[
    Driver { name: "virtio_net", device: "virtio-net-pci", native_since: Some((4, 10)) },
    // QEMU 8.0 and newer.
    Driver { name: "igb", device: "igb", native_since: Some((5, 10)) },
    Driver { name: "vmxnet3", device: "vmxnet3", native_since: Some((6, 6)) },
    Driver { name: "e1000e", device: "e1000e", native_since: None },
];

/// The test binaries that run there. Not `nat`: it wants half of a firewall's modules, and the card does
/// with its packets what it does with others.
const TESTS: &[&str] = &[
    "table",
    "limits",
    "truncated",
    "hosts",
    "places",
    "prefixes",
    "cost",
    "namespaces",
    "floods",
    "load",
    "steering",
];
/// The first process there.
const FIRST: &str = "xdp-guest";
/// What the tests and the first process start.
const PROGRAMS: &[&str] = &["ip", "mount", "umount"];
/// Of `namespaces`, and shows nothing of a driver: once, over the virtual pair, is enough.
const OF_NO_DRIVER: &str = "the_card_is_fed_without_capabilities";
/// The one of `cost` that is no measurement.
const VERIFIED: &str = "the_kernel_verifies_it_quickly";

/// An emulated processor tries one packet in so many. A prime, so that no length and no shape is
/// left out.
const ONE_IN: u32 = 7;
/// For a machine, from its start to its end.
const DEADLINE: Duration = Duration::from_secs(600);

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// One series.
    pub only: Option<String>,
    /// Another QEMU than Debian's.
    pub emulator: Option<String>,
    /// Emulate the processor, though this one could do better.
    pub software: bool,
}

/// Runs the tests on each kernel, and says what they came to.
pub(crate) fn run(wanted: &Wanted) -> Outcome {
    if std::env::consts::ARCH != "x86_64" {
        return Outcome::Skipped("the kernels are those of 64-bit PCs".to_owned());
    }
    match Emulator::find(wanted.emulator.as_deref(), wanted.software) {
        Ok(emulator) => match all(wanted, &emulator) {
            Ok(outcome) => outcome,
            Err(why) => Outcome::Failed(Counts::default(), format!("{why:#}")),
        },
        Err(why) => Outcome::Skipped(format!("{why:#}")),
    }
}

fn all(wanted: &Wanted, emulator: &Emulator) -> anyhow::Result<Outcome> {
    let folder = machine::target_folder().join("kernels");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let binaries = binaries(&folder)?;
    let accelerator = if emulator.accelerated { "KVM" } else { "TCG" };
    println!("QEMU {}, {accelerator}", emulator.version);
    println!("SKIPPED: a_packet_costs_what_is_promised: no processor of its own to measure");
    for driver in DRIVERS.iter().filter(|driver| !emulator.has(driver)) {
        println!("SKIPPED: {}: this QEMU emulates no such card", driver.name);
    }
    let mut missing = Vec::new();
    let mut kernels = Vec::new();
    for series in SERIES {
        if wanted.only.as_deref().is_none_or(|only| only == *series) {
            match package::fetch(series, &folder) {
                Ok(kernel) => kernels.push(kernel),
                Err(why) => missing.push(format!("Linux {series}: {why:#}")),
            }
        }
    }
    ensure!(!kernels.is_empty() || !missing.is_empty(), "there is no such kernel here");
    for why in &missing {
        println!("SKIPPED: {why}");
    }
    // Side by side: a machine waits for its timers most of the time.
    let reports: Vec<_> = std::thread::scope(|scope| {
        let start = |kernel| {
            let (folder, binaries) = (&folder, &binaries);
            scope.spawn(move || boot(emulator, kernel, folder, binaries))
        };
        let machines: Vec<_> = kernels.iter().map(start).collect();
        machines.into_iter().map(|machine| machine.join()).collect()
    });
    let mut total = Counts::default();
    let mut faults = Vec::new();
    let mut tables = (String::new(), String::new());
    for (kernel, report) in kernels.iter().zip(reports) {
        match report.unwrap_or_else(|_| Err(anyhow::anyhow!("the thread died"))) {
            Ok(report) => {
                total.add(report.counts());
                tables.0.push_str(&report.row(&kernel.version));
                tables.1.push_str(&report.drivers(kernel.series));
                faults.extend(report.fault().map(|why| format!("Linux {}: {why}", kernel.series)));
            }
            Err(why) => faults.push(format!("Linux {}: {why:#}", kernel.series)),
        }
    }
    println!("\n{}{}\n{}{}", console::HEAD, tables.0, console::DRIVERS_HEAD, tables.1);
    if !faults.is_empty() {
        return Ok(Outcome::Failed(total, faults.join("; ")));
    }
    Ok(match missing.is_empty() || (!machine::in_ci() && !kernels.is_empty()) {
        true => Outcome::Passed(total),
        false => Outcome::Skipped(missing.join("; ")),
    })
}

/// One machine, from its start to its end.
fn boot(
    emulator: &Emulator,
    kernel: &Kernel,
    folder: &Path,
    binaries: &[(String, PathBuf)],
) -> anyhow::Result<Report> {
    let drivers: Vec<Driver> =
        DRIVERS.iter().copied().filter(|driver| emulator.has(driver)).collect();
    let initial = folder.join(format!("{}.cpio", kernel.series));
    let runs = runs(kernel.series, &drivers, emulator.accelerated);
    std::fs::write(&initial, file_system(kernel, binaries, &runs)?)?;
    let machine = Machine {
        name: kernel.series,
        image: &kernel.image,
        initial: &initial,
        log: folder.join(format!("{}.log", kernel.series)),
        drivers: &drivers,
        deadline: DEADLINE,
    };
    let begun = Instant::now();
    let ended = emulator.run(&machine);
    println!(
        "{}: {:.0} s, all of it in {}",
        machine.name,
        begun.elapsed().as_secs_f64(),
        machine.log.display()
    );
    let report = ended.map(|lines| Report::read(&lines, runs.len()));
    if !report.as_ref().is_ok_and(|report| report.fault().is_none()) {
        console::show_tail(machine.name, &machine.log);
    }
    report
}

/// A line for each run: settings, program, arguments.
fn runs(series: &str, drivers: &[Driver], accelerated: bool) -> Vec<String> {
    // Nothing is skipped in there without a word.
    let always = "CI=1 RUST_BACKTRACE=0";
    let thinned = if accelerated { String::new() } else { format!("XDP_ONE_IN={ONE_IN} ") };
    let mut runs: Vec<String> = TESTS
        .iter()
        .map(|test| match *test {
            "cost" => format!("{always} /guest/cost --exact {VERIFIED}"),
            test => format!("{always} {thinned}/guest/{test}"),
        })
        .collect();
    runs.extend(drivers.iter().map(|driver| {
        let cards = format!("PORTCULLIS_XDP_CARDS={}/{}", driver.name, driver.mode(series));
        format!(
            "{always} {thinned}{cards} /guest/namespaces --test-threads=1 --skip {OF_NO_DRIVER}"
        )
    }));
    runs
}

impl Driver {
    /// What it should come to on a kernel.
    fn mode(&self, series: &str) -> &'static str {
        let mut numbers = series.split('.').map(|part| part.parse().unwrap_or(0));
        let series = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        match self.native_since.is_some_and(|since| since <= series) {
            true => "native",
            false => "generic",
        }
    }
}

fn file_system(
    kernel: &Kernel,
    binaries: &[(String, PathBuf)],
    runs: &[String],
) -> anyhow::Result<Vec<u8>> {
    let mut archive = Archive::new();
    for (name, binary) in binaries {
        let at = if name == FIRST { "init" } else { name };
        archive.program(&format!("/guest/{at}"), binary)?;
    }
    for name in PROGRAMS {
        archive.program(&format!("/bin/{name}"), &program(name)?)?;
    }
    let mut modules = String::new();
    for module in &kernel.modules {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        let bytes = std::fs::read(module).with_context(|| module.display().to_string())?;
        archive.file(&format!("/guest/modules.d/{name}"), &bytes);
        modules.push_str(&format!("/guest/modules.d/{name}\n"));
    }
    archive.file("/guest/modules", modules.as_bytes());
    archive.file("/guest/runs", runs.join("\n").as_bytes());
    Ok(archive.end())
}

/// What a program says.
fn said(program: &str, words: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program).args(words).output().with_context(|| program.to_owned())?;
    ensure!(output.status.success(), "{program} {}: {}", words.join(" "), output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Where a program of this machine is.
fn program(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let mut found = folders.map(|folder| folder.join(name));
    found.find(|path| path.is_file()).with_context(|| format!("no program `{name}`"))
}

/// Builds the tests; each binary's name, and where its stripped copy is.
fn binaries(folder: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let build = Invocation::cargo("test --package tests-xdp --no-run --message-format=json");
    println!("$ {}", build.shown());
    let output = machine::command(&build.program)
        .args(&build.arguments)
        .current_dir(machine::root())
        .stderr(Stdio::inherit())
        .output()
        .context("cargo")?;
    ensure!(output.status.success(), "the tests do not compile");
    let built = executables(&String::from_utf8_lossy(&output.stdout));
    TESTS
        .iter()
        .chain([&FIRST])
        .map(|name| {
            let from = built.iter().find(|path| name_of(path) == *name);
            let from = from.with_context(|| format!("cargo has built no `{name}`"))?;
            let to = folder.join(name);
            archive::strip(from, &to)?;
            Ok(((*name).to_owned(), to))
        })
        .collect()
}

/// Cargo's messages, a line each.
fn executables(messages: &str) -> Vec<PathBuf> {
    let path = |line: &str| {
        let (_, rest) = line.split_once("\"executable\":\"")?;
        Some(PathBuf::from(rest.split('"').next()?))
    };
    messages.lines().filter_map(path).collect()
}

/// Without the hash that cargo gives a test's name.
fn name_of(path: &Path) -> &str {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match name.rsplit_once('-') {
        Some((name, hash)) if hash.len() == 16 => name,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_is_native_from_its_first_kernel_on() {
        let driver = |since| Driver { name: "x", device: "x", native_since: since };
        assert_eq!(driver(Some((6, 6))).mode("6.1"), "generic");
        assert_eq!(driver(Some((6, 6))).mode("6.12"), "native");
        assert_eq!(driver(Some((6, 1))).mode("6.1"), "native");
        assert_eq!(driver(None).mode("6.12"), "generic");
    }

    #[test]
    fn what_cargo_built_is_found() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
            {\"executable\":\"/t/debug/deps/table-0123456789abcdef\",\"fresh\":true}\n\
            {\"executable\":\"/t/debug/xdp-guest\",\"fresh\":true}";
        let found = executables(messages);
        let names: Vec<_> = found.iter().map(|path| name_of(path)).collect();
        assert_eq!(names, ["table", "xdp-guest"]);
    }

    #[test]
    fn every_test_but_one_runs_there() {
        let folder = machine::root().join("tests/xdp/tests");
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        let mut found: Vec<String> =
            files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
        let mut named = [TESTS, &["nat"]].concat();
        found.sort();
        named.sort();
        assert_eq!(named, found);
    }

    #[test]
    fn an_emulated_processor_tries_fewer_packets() {
        let runs = runs("6.1", &DRIVERS[..1], false);
        assert!(runs.iter().any(|run| run.contains("XDP_ONE_IN=7 /guest/truncated")));
        assert!(runs.iter().any(|run| run.contains("virtio_net/native /guest/namespaces")));
        assert!(!super::runs("6.1", &[], true).concat().contains("XDP_ONE_IN"));
    }
}
