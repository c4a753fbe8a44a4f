//! A scene on a whole system: what fails prints every log, what cannot run says so aloud.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use tests_fixtures::stack::{System, SystemSpec, wait_until};

/// Starts a system, runs the scene, and on failure prints the end of every process's log.
///
/// # Panics
/// When the system does not come up, or the scene fails.
#[expect(clippy::panic, reason = "how a test fails")]
pub fn play(spec: &SystemSpec, scene: impl FnOnce(&mut System) -> anyhow::Result<()>) {
    let mut system = match System::start(spec) {
        Ok(system) => system,
        Err(fault) => panic!("the system does not start: {fault:#}"),
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| scene(&mut system)));
    if !matches!(outcome, Ok(Ok(()))) {
        eprintln!("---- logs\n{}---- end of logs", system.logs());
    }
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(fault)) => panic!("{fault:#}"),
        Err(panic) => resume_unwind(panic),
    }
}

/// Waits until the gateway has told the control plane that it enforces, and has kept, what is in
/// force.
///
/// # Errors
/// When it does not within a minute.
pub fn acknowledged(system: &System) -> anyhow::Result<()> {
    wait_until(Duration::from_secs(60), "an acknowledgement", || {
        let (_, page) = system.api("GET", "/v1/appliances", None).ok()?;
        (page["items"][0]["state"] == "current").then_some(())
    })
}

/// Says that a test does not run here. In CI that is a failure.
///
/// # Panics
/// Where `CI` is set.
pub fn skip(test: &str, why: &str) {
    let in_ci =
        std::env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"));
    assert!(!in_ci, "{test} cannot be skipped in CI: {why}");
    told(&format!("SKIPPED: {test}: {why}"));
}

/// Says something that is seen also when the test passes: a figure, a skip.
pub fn told(text: &str) {
    // Not `eprintln!`, which the test runner keeps to itself.
    let _ = writeln!(std::io::stderr(), "    {text}");
}

/// Runs the same work on some threads and hands back what each gave.
///
/// # Errors
/// The first that failed.
pub fn in_parallel<T: Send>(
    count: usize,
    work: impl Fn(usize) -> anyhow::Result<T> + Sync,
) -> anyhow::Result<Vec<T>> {
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..count).map(|number| scope.spawn(move || work(number))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}
