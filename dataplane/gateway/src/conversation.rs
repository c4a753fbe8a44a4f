//! One client connection, carried out: the machine says the step, this does it.
//!
//! The kernel owns a buffer while an operation is in flight, so buffers leave the machine for as
//! long as they wait. After each wait the machine is asked again what it wants: a deadline or a kill
//! may have changed its mind meanwhile.

use std::io;
use std::rc::Rc;

use dataplane_pipeline::{Connection, Fate, RecordNumber, ServerTrouble, Step};

use crate::clock;
use crate::registry::Entry;
use crate::serve::Shell;
use crate::stream::Stream;
use crate::upstreams::Upstreams;

/// The connection to the server that has this client's call.
struct Called {
    stream: Stream,
    server: usize,
    /// Of the deployment that it was made for.
    upstreams: Rc<Upstreams>,
}

/// Serves a client until it or the gateway closes.
pub(crate) async fn hold(shell: &Shell, entry: &Entry, mut client: Stream) {
    let mut called: Option<Called> = None;
    loop {
        let step = entry.machine.borrow().step(&shell.core.borrow());
        let goes_on = match step {
            Step::ReadClient => read_client(shell, entry, &mut client).await,
            Step::WriteClient => write_client(shell, entry, &mut client).await,
            Step::AwaitRecord(record) => await_record(shell, entry, record).await,
            Step::Forward(server) => {
                forward(shell, entry, &mut called, usize::from(server.0)).await;
                true
            }
            Step::ReadUpstream => read_upstream(shell, entry, &mut called).await,
            Step::Close => false,
        };
        settle(shell, entry, &mut called);
        if !goes_on {
            break;
        }
    }
    shell.watch_upstream(entry, None);
    entry.machine.borrow_mut().on_closed(&mut shell.core.borrow_mut());
    shell.tell_ladder();
    client.close().await;
}

async fn read_client(shell: &Shell, entry: &Entry, client: &mut Stream) -> bool {
    let is_idle = entry.machine.borrow().is_idle();
    if is_idle {
        if shell.is_draining.get() {
            return false;
        }
        client.rest();
    }
    let mut buffer = std::mem::take(entry.machine.borrow_mut().inbox());
    let read = client.fill(&mut buffer).await;
    let mut machine = entry.machine.borrow_mut();
    *machine.inbox() = buffer;
    if machine.step(&shell.core.borrow()) != Step::ReadClient {
        return true;
    }
    match read {
        Ok(count) if count > 0 => {
            machine.on_client_bytes(&mut shell.core.borrow_mut(), clock::now());
            drop(machine);
            shell.announce();
            shell.tell_ladder();
            true
        }
        Ok(_) => false,
        Err(error) => {
            if error.kind() == io::ErrorKind::InvalidData {
                shell.handshakes_failed.set(shell.handshakes_failed.get() + 1);
            }
            false
        }
    }
}

async fn write_client(shell: &Shell, entry: &Entry, client: &mut Stream) -> bool {
    let mut buffer = std::mem::take(entry.machine.borrow_mut().outbox());
    let sent = client.send(&mut buffer).await;
    let mut machine = entry.machine.borrow_mut();
    *machine.outbox() = buffer;
    let mut core = shell.core.borrow_mut();
    match sent {
        Ok(()) => machine.on_written(&mut core, clock::now()),
        Err(_) => machine.on_client_gone(&mut core, clock::now()),
    }
    true
}

async fn await_record(shell: &Shell, entry: &Entry, record: RecordNumber) -> bool {
    shell.flush.notify();
    let is_durable = shell.durable.reached(record.0).await;
    let mut machine = entry.machine.borrow_mut();
    machine.on_recorded(&mut shell.core.borrow_mut(), is_durable, clock::now());
    true
}

async fn forward(shell: &Shell, entry: &Entry, called: &mut Option<Called>, server: usize) {
    if called.is_none() {
        let dialled = dial(shell, server).await;
        // Meanwhile a deadline, a kill or a new bundle may have changed what is to be sent, and where.
        if !is_still_to_send(shell, entry, server, dialled.as_ref().ok()) {
            return;
        }
        match dialled {
            Ok(found) => *called = Some(found),
            Err(error) => {
                tracing::debug!(server, %error, "a server cannot be reached");
                return fail(shell, entry, ServerTrouble::Unreachable);
            }
        }
    }
    let Some(Called { stream, .. }) = called else { return };
    shell.watch_upstream(entry, Some(stream));
    let mut buffer = std::mem::take(entry.machine.borrow_mut().forward());
    let sent = stream.send(&mut buffer).await;
    let mut machine = entry.machine.borrow_mut();
    *machine.forward() = buffer;
    if !matches!(machine.step(&shell.core.borrow()), Step::Forward(_)) {
        return;
    }
    match sent {
        Ok(()) => machine.on_forwarded(&shell.core.borrow(), clock::now()),
        Err(_) => {
            drop(machine);
            fail(shell, entry, ServerTrouble::Broken { maybe_ran: true });
        }
    }
}

fn is_still_to_send(shell: &Shell, entry: &Entry, server: usize, found: Option<&Called>) -> bool {
    let step = entry.machine.borrow().step(&shell.core.borrow());
    let is_asked = matches!(step, Step::Forward(asked) if usize::from(asked.0) == server);
    let upstreams = shell.upstreams.borrow();
    let is_current = |found: &Called| {
        upstreams.as_ref().is_some_and(|current| Rc::ptr_eq(current, &found.upstreams))
    };
    is_asked && found.is_none_or(is_current)
}

async fn dial(shell: &Shell, server: usize) -> io::Result<Called> {
    let upstreams = shell.upstreams.borrow().clone();
    let upstreams = upstreams.ok_or_else(|| io::Error::other("no bundle"))?;
    let idle = upstreams.idle(server, clock::now().mono);
    let stream = match idle {
        Some(stream) => stream,
        None => upstreams.connect(server).await?,
    };
    Ok(Called { stream, server, upstreams })
}

async fn read_upstream(shell: &Shell, entry: &Entry, called: &mut Option<Called>) -> bool {
    let Some(Called { stream, .. }) = called else {
        fail(shell, entry, ServerTrouble::Broken { maybe_ran: true });
        return true;
    };
    let mut buffer = std::mem::take(entry.machine.borrow_mut().answer());
    let read = stream.fill(&mut buffer).await;
    let mut machine = entry.machine.borrow_mut();
    *machine.answer() = buffer;
    if machine.step(&shell.core.borrow()) != Step::ReadUpstream {
        return true;
    }
    let now = clock::now();
    let core = &mut shell.core.borrow_mut();
    if entry.is_gone.get() {
        machine.on_client_gone(core, now);
    } else if entry.is_cancelled.replace(false) {
        machine.on_cancelled(core, now);
    } else {
        match read {
            Ok(count) if count > 0 => machine.on_upstream_bytes(core, now),
            _ => machine.on_upstream_closed(core, now),
        }
    }
    true
}

fn fail(shell: &Shell, entry: &Entry, trouble: ServerTrouble) {
    let mut machine = entry.machine.borrow_mut();
    machine.on_upstream_failed(&mut shell.core.borrow_mut(), trouble, clock::now());
}

/// Keeps or closes the server's connection once its exchange is over.
fn settle(shell: &Shell, entry: &Entry, called: &mut Option<Called>) {
    let fate = Connection::take_fate(&mut entry.machine.borrow_mut());
    if let Some(fate) = fate
        && let Some(Called { stream, server, upstreams }) = called.take()
    {
        // Its answer may have come whole before a kill ended it.
        let fate = if entry.has_shut_upstream() { Fate::Close } else { fate };
        shell.watch_upstream(entry, None);
        // What was to end was this call, not the next one.
        entry.is_cancelled.set(false);
        upstreams.settle(server, stream, fate, clock::now().mono);
    }
}
