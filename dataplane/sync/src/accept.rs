//! What may reach the dataplane, and what is kept: the channel's rules in one place.
//!
//! A bundle has to be newer than every one accepted before, and not below the floor. The floor rises
//! when a bundle has been in service for a while: until then the box may still fall back to the
//! previous one, afterwards nothing older is ever active again. Until then, too, it is marked as
//! being tried, so that a start after a death knows by what ([`crate::marks`]).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dataplane_bundle::{ApplianceId, Bundle, KillList, PublicKey, Refused, Revision, content};
use tokio::sync::Notify;

use crate::files::{self, Dirs, Floor, KILLS};
use crate::handle::{Config, Shared, held};
use crate::identity::Identity;
use crate::marks::Marks;
use crate::sink::Sink;
use crate::stored::Standing;

pub(crate) struct Acceptor {
    dirs: Dirs,
    appliance: ApplianceId,
    trusted: Vec<PublicKey>,
    good_after: Duration,
    state: Mutex<State>,
    /// One bundle at a time; held while the dataplane tries it.
    trying: Mutex<Trying>,
    /// Kills reach the sink in the order of their serials.
    killing: Mutex<()>,
    /// Kill lists reach the disk in the order of their serials; the floor is written under it too.
    writing: Mutex<()>,
    /// A bundle was activated: its good mark is due in a while.
    activated: Notify,
}

struct State {
    standing: Standing,
    floor: Floor,
    active_since: Instant,
}

/// What is on trial, as it is on disk.
struct Trying {
    marks: Marks,
    /// The process stops in order: nothing new is tried.
    is_stopping: bool,
}

impl Acceptor {
    pub(crate) fn new(config: &Config, identity: &Identity, floor: Floor, marks: Marks) -> Self {
        let state = State { standing: config.standing, floor, active_since: Instant::now() };
        Self {
            dirs: config.dirs.clone(),
            appliance: identity.appliance.clone(),
            trusted: identity.signing_keys.clone(),
            good_after: Duration::from_millis(config.good_after_ms),
            state: Mutex::new(state),
            trying: Mutex::new(Trying { marks, is_stopping: false }),
            killing: Mutex::new(()),
            writing: Mutex::new(()),
            activated: Notify::new(),
        }
    }

    pub(crate) fn standing(&self) -> Standing {
        held(&self.state).standing
    }

    /// Opens, tries, keeps. Blocks: on the dataplane and on the disk. Returns the revision that the
    /// result is about.
    pub(crate) fn bundle(&self, sealed: &[u8], sink: &dyn Sink) -> (Revision, Result<(), String>) {
        let mut trying = held(&self.trying);
        let (standing, floor) = {
            let state = held(&self.state);
            (state.standing, state.floor)
        };
        let opened = Bundle::open(sealed, &self.trusted, &self.appliance, floor.revision);
        let bundle = match opened {
            Ok(bundle) => bundle,
            Err(Refused::Older { found, floor }) => {
                return (found, Err(Refused::Older { found, floor }.to_string()));
            }
            Err(refused) => return (Revision(0), Err(refused.to_string())),
        };
        let revision = bundle.revision;
        if revision == standing.revision && content(sealed) == standing.content {
            return (revision, Ok(()));
        }
        if revision <= standing.revision {
            let floor = standing.revision.next();
            return (revision, Err(Refused::Older { found: revision, floor }.to_string()));
        }
        let backed_out = trying.marks.backed_out().filter(|found| revision <= found.revision);
        if let Some(backed_out) = backed_out {
            return (revision, Err(backed_out.to_string()));
        }
        if trying.is_stopping {
            return (revision, Err("the box is stopping".to_owned()));
        }
        let taken = Standing { revision, content: bundle.content, ..standing };
        trying.marks.on_run(revision, bundle.content);
        self.keep_marks(&trying.marks);
        // A panic that unwinds to here has killed nobody: it is a refusal.
        let tried = catch_unwind(AssertUnwindSafe(|| sink.on_bundle(bundle)));
        if let Err(reason) = tried.unwrap_or_else(|_| Err("trying the bundle panicked".to_owned()))
        {
            trying.marks.on_refused(&taken.content);
            if standing.revision > held(&self.state).floor.revision {
                trying.marks.on_run(standing.revision, standing.content);
            }
            self.keep_marks(&trying.marks);
            return (revision, Err(reason));
        }
        {
            let mut state = held(&self.state);
            state.standing = Standing { kill_serial: state.standing.kill_serial, ..taken };
            state.active_since = Instant::now();
        }
        self.activated.notify_one();
        let is_current_good = standing.revision <= held(&self.state).floor.revision;
        let kept = files::rotate(&self.dirs, sealed, is_current_good);
        (revision, kept.map_err(|fault| format!("active, but not kept on disk: {fault}")))
    }

    /// Checks a kill list and gives it to the sink. Does not touch the disk.
    pub(crate) fn kills(&self, sealed: &[u8], sink: &dyn Sink) -> Result<u64, String> {
        let _one = held(&self.killing);
        let floor = {
            let state = held(&self.state);
            state.floor.kill_serial.max(state.standing.kill_serial)
        };
        let list =
            KillList::open(sealed, &self.trusted, floor).map_err(|refused| refused.to_string())?;
        sink.on_kills(&list);
        held(&self.state).standing.kill_serial = list.serial;
        Ok(list.serial)
    }

    /// Keeps a list that [`Acceptor::kills`] took. Blocks on the disk.
    pub(crate) fn keep_kills(&self, serial: u64, sealed: &[u8]) -> Result<(), String> {
        let _one = held(&self.writing);
        if serial < held(&self.state).floor.kill_serial {
            return Ok(()); // A newer one was quicker.
        }
        let floor = Floor { kill_serial: serial, ..held(&self.state).floor };
        files::write(&self.dirs.data.join(KILLS), sealed)
            .and_then(|()| floor.store(&self.dirs))
            .map_err(|fault| format!("in force, but not kept on disk: {fault}"))?;
        held(&self.state).floor = floor;
        Ok(())
    }

    /// When the active bundle is to be marked good; none if it is.
    fn mark_due(&self) -> Option<Instant> {
        let state = held(&self.state);
        let due = state.active_since + self.good_after;
        (state.standing.revision > state.floor.revision).then_some(due)
    }

    /// Marks the active bundle good, if it has served for long enough.
    fn mark(&self) -> Result<(), String> {
        let good = {
            let _one = held(&self.writing);
            if self.mark_due().is_none_or(|due| due > Instant::now()) {
                return Ok(());
            }
            let floor = {
                let state = held(&self.state);
                Floor { revision: state.standing.revision, ..state.floor }
            };
            let raised = floor.store(&self.dirs);
            raised.map_err(|fault| format!("the floor cannot be raised: {fault}"))?;
            held(&self.state).floor = floor;
            floor.revision
        };
        let mut trying = held(&self.trying);
        trying.marks.on_good(good);
        self.keep_marks(&trying.marks);
        Ok(())
    }

    /// The process stops in order: that is nobody's death.
    pub(crate) fn on_stop(&self) {
        let mut trying = held(&self.trying);
        trying.is_stopping = true;
        trying.marks.on_stop();
        self.keep_marks(&trying.marks);
    }

    /// A bundle is worth more than its mark: without one, a death by it is not noticed.
    fn keep_marks(&self, marks: &Marks) {
        if let Err(fault) = marks.store(&self.dirs) {
            tracing::warn!(%fault, "it cannot be kept which bundle is tried");
        }
    }
}

/// Marks each bundle good in its time, until the runtime ends.
pub(crate) async fn keep_marking(shared: Arc<Shared>) {
    /// Between attempts while the disk refuses.
    const RETRY_MS: u64 = 5_000;
    loop {
        let acceptor = &shared.acceptor;
        let Some(due) = acceptor.mark_due() else {
            acceptor.activated.notified().await;
            continue;
        };
        tokio::time::sleep_until(due.into()).await;
        let theirs = shared.clone();
        let marked = tokio::task::spawn_blocking(move || theirs.acceptor.mark()).await;
        if let Ok(Err(trouble)) = marked {
            shared.on_trouble(&trouble);
            tokio::time::sleep(Duration::from_millis(RETRY_MS)).await;
        }
    }
}
