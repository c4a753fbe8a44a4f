//! Every verb of this repository: `cargo xtask VERB`.
//!
//! A verb makes a plan (steps are values), prints it, carries it out, and ends with one line that
//! counts what passed and what failed. Nothing here knows how the product works; it knows what to
//! run, in what order, and what a machine needs for it.

mod arguments;
mod ebpf;
mod fuzz;
mod kernels;
mod machine;
mod outcome;
mod plan;
mod run;
mod verbs;

use std::process::ExitCode;

use arguments::Arguments;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let name = words.next().unwrap_or_else(|| "--help".to_owned());
    if matches!(name.as_str(), "--help" | "-h" | "help") {
        print!("{}", verbs::help());
        return ExitCode::SUCCESS;
    }
    let Some(verb) = verbs::find(&name) else {
        eprintln!("xtask: no verb `{name}`; `cargo xtask --help` lists them");
        return ExitCode::from(2);
    };
    let arguments = Arguments::new(words);
    if arguments.flag("help") {
        print!("{}", verbs::usage(verb));
        return ExitCode::SUCCESS;
    }
    if let Err(unknown) = arguments.only(verb.options) {
        eprintln!("xtask {name}: {unknown}\n{}", verbs::usage(verb));
        return ExitCode::from(2);
    }
    match (verb.run)(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            eprintln!("xtask {name}: {fault:#}");
            ExitCode::FAILURE
        }
    }
}
