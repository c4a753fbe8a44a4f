//! `cargo xtask ebpf`: builds the kernel's programs, and stamps their objects.
//!
//! The compiler is Debian's, which has a `core` for BPF; the linker is built against the same LLVM.
//! Sources and dependencies are remapped, so that the same sources give the same object wherever
//! they are built. The stamp is a section of its own: ABI version, hash of the sources, compiler and
//! linker. A test here fails when the committed object is of other sources.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::machine;

/// Where the committed objects are.
const COMMITTED: &str = "ebpf/object";
/// The objects: at the network card, and where new connections are spread.
const OBJECTS: [&str; 2] = ["portcullis", "steering"];
/// What they are built of. Folders are walked.
const SOURCES: &[&str] = &[
    "ebpf/abi/Cargo.toml",
    "ebpf/abi/src",
    "ebpf/programs/.cargo/config.toml",
    "ebpf/programs/Cargo.lock",
    "ebpf/programs/Cargo.toml",
    "ebpf/programs/src",
];

const TARGET: &str = "bpfel-unknown-none";
/// Debian's, never rustup's: that one has no `core` for the target.
const RUSTC: &str = "/usr/bin/rustc";
const CARGO: &str = "/usr/bin/cargo";
const CORE: &str = "/usr/lib/rustlib/bpfel-unknown-none/lib";
const LLVM: &str = "/usr/lib/llvm-22";
const PACKAGES: &[&str] = &["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf", "llvm-22-dev"];
const LINKER_VERSION: &str = "0.13.0";
const LINKER_FEATURE: &str = "llvm-22";

/// Builds the objects; writes them, or with `check` compares them with the committed ones. Whether all is
/// well.
pub(crate) fn run(check: bool) -> anyhow::Result<bool> {
    ensure_toolchain()?;
    compile()?;
    let mut is_well = true;
    for name in OBJECTS {
        let built = finish(name)?;
        if check {
            is_well &= compare(name, &built)?;
        } else {
            std::fs::copy(&built, committed(name)).context(name)?;
            println!("{COMMITTED}/{name}.o: {}", stamp()?.trim_end());
        }
    }
    Ok(is_well)
}

/// Whether the committed object is what was built just now, or cannot be held against it.
fn compare(name: &str, built: &Path) -> anyhow::Result<bool> {
    let shown = format!("{COMMITTED}/{name}.o");
    let (fresh, known) = (std::fs::read(built)?, std::fs::read(committed(name))?);
    if fresh == known {
        println!("{shown} is what its sources give");
        return Ok(true);
    }
    let with = format!(" with={}\n", built_with()?);
    if !holds(&known, with.as_bytes()) {
        println!("{shown} was built with others than{}: not compared", with.trim_end());
        return Ok(holds(&known, sources_part()?.as_bytes()));
    }
    println!("{shown} is not what its sources give: cargo xtask ebpf");
    Ok(false)
}

fn committed(name: &str) -> PathBuf {
    machine::root().join(COMMITTED).join(format!("{name}.o"))
}

/// Where fresh objects are.
pub(crate) fn fresh_objects() -> PathBuf {
    machine::target_folder().join("ebpf")
}

/// Installs what is missing.
///
/// # Errors
/// What to install by hand.
pub(crate) fn ensure_toolchain() -> anyhow::Result<()> {
    let there = [RUSTC, CARGO, CORE, LLVM].iter().all(|path| Path::new(path).exists());
    if !there {
        let installed = machine::install(PACKAGES);
        ensure!(installed, "no BPF toolchain: apt-get install {}", PACKAGES.join(" "));
    }
    if linker_version().is_none_or(|version| !version.ends_with(LINKER_VERSION)) {
        println!("installing bpf-linker {LINKER_VERSION}");
        let status = machine::command("cargo")
            .args(["install", "--quiet", "--locked", "--force", "bpf-linker"])
            .args(["--version", LINKER_VERSION, "--no-default-features"])
            .args(["--features", LINKER_FEATURE, "--root"])
            .arg(tools())
            .env("LLVM_PREFIX", LLVM)
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_TARGET_DIR")
            .status()
            .context("cargo install")?;
        ensure!(status.success(), "bpf-linker {LINKER_VERSION} cannot be built");
    }
    Ok(())
}

fn compile() -> anyhow::Result<()> {
    let folder = fresh_objects();
    let path = std::env::join_paths(
        std::iter::once(tools().join("bin"))
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    )?;
    let mut command = machine::command(CARGO);
    command
        .args(["build", "--quiet", "--release", "--locked", "--config"])
        .arg(format!("target.{TARGET}.rustflags=[{}]", remaps()?.join(",")))
        .current_dir(machine::root().join("ebpf/programs"))
        .env("PATH", path)
        .env("CARGO_TARGET_DIR", folder.join("build"))
        .env("RUSTC", RUSTC)
        // The intrinsic of a compare-and-swap; the compiler is stable.
        .env("RUSTC_BOOTSTRAP", "1");
    for name in ["CARGO", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(name);
    }
    ensure!(command.status().context(CARGO)?.success(), "the programs do not compile");
    Ok(())
}

/// Takes out what is not needed and adds the stamp; where the object is.
fn finish(name: &str) -> anyhow::Result<PathBuf> {
    let folder = fresh_objects();
    let bare = folder.join("bare.o");
    let linked = folder.join("build").join(TARGET).join("release").join(name);
    // Neither DWARF nor lines; BTF stays, which maps and the verifier's log need.
    llvm("llvm-strip", &["-g".as_ref(), "-o".as_ref(), bare.as_ref(), linked.as_ref()])?;
    let stamp_file = folder.join("stamp");
    std::fs::write(&stamp_file, stamp()?)?;
    let section = format!("--add-section=portcullis={}", stamp_file.display());
    let built = folder.join(format!("{name}.o"));
    llvm("llvm-objcopy", &[section.as_ref(), bare.as_ref(), built.as_ref()])?;
    Ok(built)
}

/// BTF keeps the names of files: they become the same everywhere.
fn remaps() -> anyhow::Result<Vec<String>> {
    let mut remaps = vec![format!("'--remap-path-prefix={}=/src'", machine::root().display())];
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let home = home.context("neither CARGO_HOME nor HOME")?;
    // One folder a registry, named after its host: all become one.
    for folder in std::fs::read_dir(home.join("registry/src")).into_iter().flatten() {
        remaps.push(format!("'--remap-path-prefix={}=/deps'", folder?.path().display()));
    }
    Ok(remaps)
}

fn llvm(program: &str, arguments: &[&std::ffi::OsStr]) -> anyhow::Result<()> {
    let program = Path::new(LLVM).join("bin").join(program);
    let status = Command::new(&program).args(arguments).status();
    let status = status.with_context(|| program.display().to_string())?;
    ensure!(status.success(), "{} failed", program.display());
    Ok(())
}

fn tools() -> PathBuf {
    machine::target_folder().join("ebpf/tools")
}

/// As `ebpf-loader` reads it.
fn stamp() -> anyhow::Result<String> {
    Ok(format!("{}{}\n", sources_part()?, built_with()?))
}

/// The stamp up to what depends on this machine.
fn sources_part() -> anyhow::Result<String> {
    let digest = digest(&machine::root())?;
    Ok(format!("portcullis-object abi={} sources={digest} with=", ebpf_abi::ABI_VERSION))
}

fn built_with() -> anyhow::Result<String> {
    let rustc = Command::new(RUSTC).arg("--version").output().context(RUSTC)?;
    let rustc = String::from_utf8_lossy(&rustc.stdout);
    let rustc = rustc.split(" (").next().unwrap_or_default().trim().to_owned();
    let linker = linker_version().context("no bpf-linker")?;
    Ok(format!("{rustc}, {linker}"))
}

fn linker_version() -> Option<String> {
    let output = Command::new(tools().join("bin/bpf-linker")).arg("--version").output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn holds(object: &[u8], words: &[u8]) -> bool {
    object.windows(words.len()).any(|window| window == words)
}

/// SHA-256 over the names, lengths and bytes of the sources, in the order of their names.
fn digest(root: &Path) -> anyhow::Result<String> {
    let mut files = Vec::new();
    for source in SOURCES {
        collect(root, Path::new(source), &mut files)?;
    }
    files.sort();
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for file in files {
        let bytes = std::fs::read(root.join(&file)).with_context(|| file.clone())?;
        context.update(format!("{file} {}\n", bytes.len()).as_bytes());
        context.update(&bytes);
    }
    Ok(context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn collect(root: &Path, at: &Path, files: &mut Vec<String>) -> anyhow::Result<()> {
    let full = root.join(at);
    if full.is_dir() {
        for entry in std::fs::read_dir(&full)? {
            collect(root, &at.join(entry?.file_name()), files)?;
        }
        return Ok(());
    }
    match at.to_str() {
        Some(path) => files.push(path.to_owned()),
        None => bail!("{}: no name that can be written down", at.display()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_objects_are_of_these_sources() {
        let wanted = sources_part().unwrap();
        for name in OBJECTS {
            let object = std::fs::read(committed(name)).unwrap();
            let is_of_these = holds(&object, wanted.as_bytes());
            assert!(is_of_these, "{name}.o is of other sources: cargo xtask ebpf");
        }
    }

    #[test]
    fn every_byte_and_name_of_the_sources_counts() {
        let root = std::env::temp_dir().join(format!("xtask-ebpf-{}", std::process::id()));
        for source in SOURCES {
            let path = root.join(source);
            let file = if source.ends_with("src") { path.join("lib.rs") } else { path };
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, source).unwrap();
        }
        let mut seen = vec![digest(&root).unwrap()];
        for source in ["ebpf/abi/src/lib.rs", "ebpf/programs/Cargo.lock"] {
            std::fs::write(root.join(source), "other").unwrap();
            seen.push(digest(&root).unwrap());
        }
        std::fs::rename(root.join("ebpf/abi/src/lib.rs"), root.join("ebpf/abi/src/new.rs"))
            .unwrap();
        seen.push(digest(&root).unwrap());
        std::fs::remove_dir_all(&root).unwrap();
        let count = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), count);
    }
}
