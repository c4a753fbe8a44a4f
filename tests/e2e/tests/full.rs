//! No space left for the audit log: calls are refused with the cause, lists stay, and calls come back
//! with the space. Nothing is answered that is not on record.

use std::ffi::CString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::json;
use tests_e2e::{Agent, Door, Era, code_of, play, records, skip};
use tests_fixtures::stack::{Place, SystemSpec, get, wait_until};

/// Room for the log's first, small segment and the next, large one.
const BYTES: u64 = 100 << 20;
/// What is left to the log when the disk is called full: less than any segment.
const LEFT_BYTES: u64 = 1 << 20;
const UNRECORDED: i64 = -31_507;
const LIMIT: Duration = Duration::from_secs(60);

/// A file system of its own where the log will be.
struct Small(PathBuf);

impl Small {
    fn new(folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let options = CString::new(format!("size={BYTES},mode=700"))?;
        mount("e2e-audit", folder, "tmpfs", MountFlags::empty(), options.as_c_str())?;
        Ok(Self(folder.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

#[test]
fn a_full_disk_refuses_calls_by_name_and_heals() {
    let place = Place::new("portcullis-full").expect("a folder");
    let small = match Small::new(&place.path("run/gateway/audit")) {
        Ok(small) => small,
        Err(why) => {
            return skip(
                "a_full_disk_refuses_calls_by_name_and_heals",
                &format!("no mount: {why:#}"),
            );
        }
    };
    let mut spec = SystemSpec::usual();
    spec.at = Some(place.path("run"));
    play(&spec, |system| {
        let token = system.token_of("ann", &["support"])?;
        let call = |agent: &mut Agent| agent.call("crm__get_orders", json!({"customer": "c"}));
        let mut ann = Agent::connect(&Door::of(system)?, Era::Modern, "/mcp", &token)?;
        ensure!(code_of(&call(&mut ann)?).is_none(), "with space, calls go");

        // As if somebody else had filled the disk, and the prepared segment were not there.
        system.gateway.kill().context("it ran")?;
        let folder = records::folder(system);
        let newest = segments(&folder)?.pop().context("a prepared segment")?;
        std::fs::remove_file(newest)?;
        let ballast = folder.join("ballast");
        let disk = statvfs(&folder)?;
        let free = disk.f_bavail * disk.f_frsize;
        fallocate(File::create(&ballast)?, FallocateFlags::empty(), 0, free - LEFT_BYTES)?;
        let before = records::each(&folder, |_, _| {})?;
        let calls = servers_calls(system)?;

        system.gateway.restart()?;
        wait_until(LIMIT, "the management listener", || get(&system.admin, "/healthz").ok())?;
        let mut ann = Agent::connect(&Door::of(system)?, Era::Modern, "/mcp", &token)?;
        ensure!(ann.list()?.contains(&"crm__get_orders".to_owned()), "lists stay");
        wait_until(LIMIT, "the refusal", || {
            (system.metric("portcullis_audit_writable").ok()? == 0).then_some(())
        })?;
        for _ in 0..20 {
            // A refusal of this kind may close.
            let mut ann = Agent::connect(&Door::of(system)?, Era::Modern, "/mcp", &token)?;
            let answer = call(&mut ann)?;
            ensure!(code_of(&answer) == Some(UNRECORDED), "{answer}");
            let message = answer["error"]["message"].as_str().context("a message")?;
            ensure!(message.contains("space"), "{message}");
        }
        ensure!(get(&system.admin, "/readyz")?.status == 503, "ready without a log");
        ensure!(servers_calls(system)? == calls, "a call was made that cannot be recorded");
        ensure!(ann.list()?.contains(&"crm__get_orders".to_owned()), "lists stay");

        std::fs::remove_file(&ballast)?;
        wait_until(LIMIT, "calls, when there is space", || {
            let mut ann =
                Agent::connect(&Door::of(system).ok()?, Era::Modern, "/mcp", &token).ok()?;
            code_of(&call(&mut ann).ok()?).is_none().then_some(())
        })?;
        ensure!(get(&system.admin, "/readyz")?.status == 200);
        system.gateway.terminate();
        records::sound(&folder)?;
        ensure!(records::each(&folder, |_, _| {})? > before);
        Ok(())
    });
    drop(small);
    let _ = std::fs::remove_dir_all(place.path("run"));
}

fn segments(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            dataplane_audit::segment_number(name).is_some()
        })
        .collect();
    found.sort();
    Ok(found)
}

fn servers_calls(system: &tests_fixtures::stack::System) -> anyhow::Result<String> {
    let url = system.filled_in("{url:crm}");
    Ok(get(url.trim_start_matches("http://").trim_end_matches("/mcp"), "/calls")?.body)
}
