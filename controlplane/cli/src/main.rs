//! portcullis: the command line of the control plane.
//!
//! It sends what the operator wrote and shows what came back: tables that fit a terminal, or the
//! answer itself with `--output json`. Nothing is decided here. Exit codes: 0 done, 1 refused or not
//! as it should be, 2 the command line is wrong, 3 the control plane cannot be reached, 4 there are
//! differences (`diff`, `apply --dry-run`).

#[macro_use]
mod say;

mod arguments;
mod audit;
mod client;
mod commands;
mod fault;
mod folder;
mod screen;
mod show;

use std::process::ExitCode;

use clap::Parser;

use arguments::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match commands::run(&arguments) {
        Ok(code) => ExitCode::from(code),
        Err(fault) => {
            eprintln!("{}", fault.told());
            ExitCode::from(fault.exit_code())
        }
    }
}
