//! benches: builds the stages as they are shipped, counts their instructions, compares.
//!
//! `check` fails past the budget, `check --bless` rewrites it, `time` prints nanoseconds instead.
//! The policy table is compiled here and handed over as a file, so that the release build of what is
//! counted needs no policy compiler.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use benches::budget::Counts;
use benches::{callgrind, policy};

const USAGE: &str = "usage: cargo run -p benches -- check [--bless] | time";

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["check"] => check(std::env::var_os("BLESS").is_some()),
        ["check", "--bless"] => check(true),
        ["time"] => time(),
        _ => bail!(USAGE),
    }
}

fn check(bless: bool) -> anyhow::Result<()> {
    let place = Place::new()?;
    let counts = callgrind::count(&place.stages, &place.table, &place.folder)?;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("budget.csv");
    let budget = match fs::read_to_string(&file) {
        Ok(text) => Counts::parse(&text).with_context(|| file.display().to_string())?,
        Err(_) => Counts::default(),
    };
    print!("{}", counts.table(&budget));
    if bless {
        fs::write(&file, counts.text()).with_context(|| file.display().to_string())?;
        println!("blessed: now read `git diff benches/budget.csv`");
        return Ok(());
    }
    let faults = counts.against(&budget);
    ensure!(faults.is_empty(), "past the budget:\n{}", faults.join("\n"));
    Ok(())
}

fn time() -> anyhow::Result<()> {
    let place = Place::new()?;
    let status = Command::new(&place.stages).arg("time").arg(&place.table).status()?;
    ensure!(status.success(), "stages: {status}");
    Ok(())
}

/// The program that is counted, its table, and a folder for what callgrind writes.
struct Place {
    stages: PathBuf,
    table: PathBuf,
    folder: PathBuf,
}

impl Place {
    fn new() -> anyhow::Result<Self> {
        let target = target_folder()?;
        let folder = target.join("benches");
        fs::create_dir_all(&folder)?;
        let table = folder.join("table.bin");
        fs::write(&table, policy::table()?)?;
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args(["build", "--release", "--quiet", "--package", "benches", "--bin", "stages"])
            .arg("--no-default-features")
            .arg("--target-dir")
            .arg(&target)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .context("cargo")?;
        ensure!(status.success(), "the stages do not build");
        Ok(Self { stages: target.join("release/stages"), table, folder })
    }
}

/// Where this program was built: `target/PROFILE/benches`.
fn target_folder() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own.ancestors().nth(2).context("this program lies in no target folder")?;
    Ok(folder.to_owned())
}
