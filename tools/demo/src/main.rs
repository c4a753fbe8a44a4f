//! The whole system on this machine, shown in eight scenes.
//!
//! Control plane, gateway, two MCP servers and an OpenID provider run as real processes; the clients
//! are the official Rust SDK's. Every line that is shown was just measured or answered. With
//! `--keep` everything stays up until Ctrl-C.

mod agent;
mod dropped;
mod scenes;
mod stage;

use std::process::ExitCode;

use stage::Stage;

fn main() -> ExitCode {
    let keep = std::env::args().skip(1).any(|argument| argument == "--keep");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let shown =
        runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(show(keep)));
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("\nthe demo failed: {fault:#}");
            ExitCode::FAILURE
        }
    }
}

async fn show(keep: bool) -> anyhow::Result<()> {
    let mut stage = Stage::set_up()?;
    scenes::play(&mut stage).await?;
    stage.farewell(keep);
    if keep {
        tokio::signal::ctrl_c().await?;
    }
    Ok(())
}
