//! New connections, spread evenly over the cores by a program of the kernel's.
//!
//! Loading it takes longer than a start may, so a thread of its own does, while the kernel spreads by its
//! hash; that thread alone still may load programs, and ends with it. Without the program nothing is
//! wrong but the evenness.

use std::net::TcpListener;
use std::thread::JoinHandle;

use ebpf_loader::{Fault, STEERING_OBJECT, Steering as Program};

use crate::snapshot::Snapshot;

/// The program on its way. Call before capabilities are given up.
pub(crate) struct Loading(Option<JoinHandle<Result<Program, Fault>>>);

impl Loading {
    /// Nothing where there is one core, which has them all.
    pub(crate) fn begin(cores: usize) -> Self {
        let load = || Program::load(STEERING_OBJECT);
        let thread = || std::thread::Builder::new().name("load-steering".into()).spawn(load);
        Self((cores > 1).then(thread).and_then(Result::ok))
    }

    /// Waits for the program, and has it choose among these listeners.
    pub(crate) fn attach(self, listeners: &[TcpListener]) -> Steering {
        let Some(thread) = self.0 else { return Steering(None) };
        let attached = thread.join().ok().map(|loaded| {
            let mut program = loaded?;
            program.attach(listeners)?;
            Ok::<_, Fault>(program)
        });
        match attached {
            Some(Ok(program)) => {
                tracing::info!(cores = listeners.len(), "connections go to each core in its turn");
                Steering(Some(program))
            }
            Some(Err(fault)) => {
                tracing::info!(%fault, "the kernel's hash spreads connections over the cores");
                Steering(None)
            }
            None => Steering(None),
        }
    }
}

/// The program at work, if it is.
pub(crate) struct Steering(Option<Program>);

impl Steering {
    pub(crate) fn is_at_work(&self) -> bool {
        self.0.is_some()
    }

    /// Tells it who has how many connections open.
    pub(crate) fn tell(&mut self, cores: &[Snapshot]) {
        let Some(program) = &mut self.0 else { return };
        let open = cores.iter().map(|core| u32::try_from(core.connections).unwrap_or(u32::MAX));
        if let Err(fault) = program.tell(open) {
            tracing::warn!(%fault, "connections are spread by old counts");
        }
    }
}
