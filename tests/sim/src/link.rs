//! One simulated client: its connection, its shell, its server, and what it waits for.

use std::collections::VecDeque;

use dataplane_pipeline::{Announcement, Connection, Fate, ServerTrouble, Step};

use crate::asked::{Asked, Asker, Call, What};
use crate::backend::{self, Answer};
use crate::core_sim::CoreSim;
use crate::http_reader::{Reader, Told};
use crate::model::{CALLERS, Policy, TOOLS};
use crate::scene::Scene;

/// Buffers of one connection: a request and an answer as long as may be, and room to grow.
const BUFFER_BYTES_MAX: usize = 160 << 10;

pub(crate) struct Link {
    pub(crate) machine: Connection,
    pub(crate) core: usize,
    caller: &'static str,
    is_modern: bool,
    is_hostile: bool,
    only: Option<&'static str>,
    session: Option<String>,
    pending: Vec<u8>,
    waiting: VecDeque<Asked>,
    reader: Reader,
    up: Option<Answer>,
    is_cancelled: bool,
    /// A request that the kernel is sending: meanwhile anything may come.
    sending: Option<Vec<u8>>,
    /// Where it goes.
    server: String,
    number: u64,
}

impl Link {
    #[must_use]
    pub(crate) fn new(scene: &mut Scene<'_>, number: u64) -> Self {
        let seed = &mut scene.seed;
        let is_hostile = seed.per_mille(scene.mix.hostile);
        let is_modern = seed.per_mille(600);
        let servers: &[_] = if is_modern { &["aaa", "crm"] } else { &["old"] };
        let only = seed.per_mille(300).then(|| servers[seed.below(servers.len() as u64) as usize]);
        let caller = CALLERS[[0, 0, 0, 1, 2][seed.below(5) as usize]];
        let caller = if is_hostile { "bob" } else { caller };
        let shares = seed.per_mille(700) && !is_modern;
        let mut open = scene.sessions.iter();
        let open = open.find(|(whose, at, _)| shares && *whose == caller && *at == only);
        let session = open.map(|(.., session)| session.clone());
        Self {
            machine: Connection::new(crate::FLOW, scene.now.mono),
            core: seed.below(scene.mix.cores as u64) as usize,
            caller,
            is_modern,
            is_hostile,
            only,
            session,
            pending: Vec::new(),
            waiting: VecDeque::new(),
            reader: Reader::default(),
            up: None,
            is_cancelled: false,
            sending: None,
            server: String::new(),
            number: number * 1_000_000,
        }
    }

    /// Whether nothing is under way.
    #[must_use]
    pub(crate) fn is_quiet(&self, core: &CoreSim) -> bool {
        match self.machine.step(&core.core) {
            Step::ReadClient => self.pending.is_empty() && self.waiting.is_empty(),
            Step::Close => true,
            _ => false,
        }
    }

    /// The shell's next turn. False: the connection is over.
    ///
    /// # Panics
    /// When an invariant does not hold.
    pub(crate) fn turn(&mut self, scene: &mut Scene<'_>, core: &mut CoreSim, asks: bool) -> bool {
        if let Some(request) = self.sending.take() {
            match scene.seed.per_mille(500) {
                true => self.sending = Some(request),
                false => self.sent(scene, core, request),
            }
            self.settle(scene, core);
            return true;
        }
        let step = self.machine.step(&core.core);
        let goes_on = match step {
            Step::ReadClient => self.read_client(scene, core, asks),
            Step::AwaitRecord(record) => {
                if core.core.is_durable(record) {
                    self.machine.on_recorded(&mut core.core, true, scene.now);
                } else if core.is_lost {
                    self.machine.on_recorded(&mut core.core, false, scene.now);
                }
                true
            }
            Step::WriteClient => self.write_client(scene, core),
            Step::Forward(server) => {
                let servers = core.core.configuration().unwrap().servers();
                let server = servers[usize::from(server.0)].name.to_string();
                self.forward(scene, core, &server);
                true
            }
            Step::ReadUpstream => {
                self.read_upstream(scene, core);
                true
            }
            Step::Close => {
                assert!(!self.machine.is_calling(), "closed with a call");
                false
            }
        };
        self.settle(scene, core);
        goes_on
    }

    fn settle(&mut self, scene: &mut Scene<'_>, core: &mut CoreSim) {
        if let Some(fate) = self.machine.take_fate() {
            let left = self.up.take().map_or(0, |answer| answer.bytes.len());
            assert!(fate == Fate::Close || left == 0, "reused with {left} bytes of another answer");
            self.is_cancelled = false;
        }
        let bytes = core.hand_over();
        scene.note("records", &bytes);
        let held = self.machine.inbox().capacity()
            + self.machine.outbox().capacity()
            + self.machine.answer().capacity();
        assert!(held <= BUFFER_BYTES_MAX, "{held} bytes are held");
    }

    fn read_client(&mut self, scene: &mut Scene<'_>, core: &mut CoreSim, asks: bool) -> bool {
        if scene.is_draining && self.machine.is_idle() && self.pending.is_empty() {
            return false;
        }
        if scene.seed.per_mille(scene.mix.client_goes) {
            return false;
        }
        if self.pending.is_empty() {
            let all_answered = self.waiting.is_empty() || self.is_hostile;
            assert!(all_answered && !self.reader.is_within(), "unanswered: {:?}", self.waiting);
            if asks {
                self.ask(scene);
            }
        }
        let len = self.pending.len();
        if len == 0 {
            return true;
        }
        let is_cut = scene.seed.per_mille(scene.mix.cut);
        let cut = if is_cut { 1 + scene.seed.below(len as u64) as usize } else { len };
        self.machine.inbox().extend(self.pending.drain(..cut));
        self.machine.on_client_bytes(&mut core.core, scene.now);
        true
    }

    fn ask(&mut self, scene: &mut Scene<'_>) {
        let key = scene.key(self.caller);
        let more = u64::from(scene.seed.per_mille(scene.mix.pipelines)) * scene.seed.below(3);
        for _ in 0..=more {
            self.number += 1;
            let asker = Asker {
                key: &key,
                is_modern: self.is_modern,
                only: self.only,
                session: self.session.as_deref(),
            };
            let asked = match asker.session {
                Some(_) if scene.seed.per_mille(scene.mix.session_ends) => {
                    scene.session_ended = u64::MAX;
                    asker.end(scene.step)
                }
                Some(_) if scene.seed.per_mille(scene.mix.cancels) => {
                    asker.cancel(&serde_json::json!(1), scene.step)
                }
                _ => asker.ask(self.number, scene.step, &mut scene.seed),
            };
            self.pending.extend_from_slice(&asked.bytes);
            let opens = matches!(asked.what, What::Initialize);
            self.waiting.push_back(asked);
            if opens {
                break;
            }
        }
        if self.is_hostile {
            for _ in 0..=scene.seed.below(3) {
                let place = scene.seed.below(self.pending.len() as u64) as usize;
                let byte = [b'\r', b'\n', b'0', b'"', 0, b' ', b':'][scene.seed.below(7) as usize];
                self.pending[place] = byte;
            }
        }
    }

    fn write_client(&mut self, scene: &mut Scene<'_>, core: &mut CoreSim) -> bool {
        if scene.seed.per_mille(scene.mix.slow_reader) {
            return true;
        }
        if scene.seed.per_mille(scene.mix.client_goes) {
            self.machine.on_client_gone(&mut core.core, scene.now);
            return true;
        }
        let bytes = std::mem::take(self.machine.outbox());
        scene.note("answer", &bytes);
        scene.check_bytes(&bytes);
        if !self.is_hostile {
            self.reader.push(&bytes);
            while let Some(told) = self.reader.next() {
                self.hear(scene, core, &told);
            }
        }
        self.machine.on_written(&mut core.core, scene.now);
        true
    }

    fn hear(&mut self, scene: &mut Scene<'_>, core: &CoreSim, told: &Told) {
        let asked = self.waiting.front();
        let front = || asked.unwrap_or_else(|| panic!("an answer to nothing: {told:?}"));
        let (caller, only) = (self.caller, self.only);
        match told {
            Told::Answer { status, session, body } => {
                scene.check_answer(core, caller, only, front(), (*status, body.as_ref()));
                if session.is_some() {
                    self.session.clone_from(session);
                    scene.sessions.extend(session.clone().map(|id| (caller, only, id)));
                }
                if *status == 404 {
                    let over = self.session.take();
                    scene.sessions.retain(|(.., id)| Some(id) != over.as_ref());
                }
                self.waiting.pop_front();
            }
            Told::Event(event) if event.get("id").is_some() => {
                scene.seen.streams += 1;
                scene.check_answer(core, caller, only, front(), (200, Some(event)));
                self.waiting.pop_front();
            }
            Told::Event(event) => {
                let What::Call(call) = &front().what else { panic!("events of no call: {event}") };
                scene.check_canaries(front(), Some(event));
                let mut noted = core.records.iter().take(core.durable as usize);
                let is_noted = noted.any(|record| record.digest == Some(call.digest));
                assert!(is_noted, "a stream before its intent is durable");
            }
            Told::StreamEnd => {}
        }
    }

    fn call(&self) -> Option<&Call> {
        match self.waiting.front() {
            Some(Asked { what: What::Call(call), .. }) if !self.is_hostile => Some(call),
            _ => None,
        }
    }

    fn forward(&mut self, scene: &mut Scene<'_>, core: &mut CoreSim, server: &str) {
        let core_now = scene.now;
        if scene.seed.per_mille(scene.mix.unreachable) {
            let trouble = ServerTrouble::Unreachable;
            return self.machine.on_upstream_failed(&mut core.core, trouble, core_now);
        }
        let request = std::mem::take(self.machine.forward());
        scene.note(server, &request);
        scene.check_forward(core, self.caller, self.call(), (server, &request));
        self.server = server.to_owned();
        self.sending = Some(request);
    }

    /// The kernel gives the request back.
    fn sent(&mut self, scene: &mut Scene<'_>, core: &mut CoreSim, request: Vec<u8>) {
        if !matches!(self.machine.step(&core.core), Step::Forward(_)) {
            return;
        }
        let (now, server) = (scene.now, self.server.as_str());
        if scene.seed.per_mille(scene.mix.unreachable) {
            let trouble = ServerTrouble::Broken { maybe_ran: true };
            return self.machine.on_upstream_failed(&mut core.core, trouble, now);
        }
        let is_modern = TOOLS.iter().any(|(name, _, modern)| *name == server && *modern);
        let answer = backend::answer(&request, is_modern, &scene.mix, &mut scene.seed);
        if answer.is_no_session
            && let Some(call) = self.call()
        {
            *scene.may_send.entry(call.canary.clone()).or_default() += 1;
        }
        self.up = Some(answer);
        self.machine.on_forwarded(&core.core, now);
    }

    fn read_upstream(&mut self, scene: &mut Scene<'_>, core: &mut CoreSim) {
        let now = scene.now;
        if std::mem::take(&mut self.is_cancelled) {
            scene.seen.cancelled += 1;
            return self.machine.on_cancelled(&mut core.core, now);
        }
        if self.machine.ends_with_client() && scene.seed.per_mille(scene.mix.client_goes) {
            return self.machine.on_client_gone(&mut core.core, now);
        }
        let Some(answer) = &mut self.up else {
            return self.machine.on_upstream_closed(&mut core.core, now);
        };
        let len = answer.bytes.len();
        if len == 0 {
            if answer.closes {
                self.machine.on_upstream_closed(&mut core.core, now);
            }
            return;
        }
        let is_cut = scene.seed.per_mille(scene.mix.cut);
        let cut = if is_cut { 1 + scene.seed.below(len as u64) as usize } else { len };
        self.machine.answer().extend(answer.bytes.drain(..cut));
        self.machine.on_upstream_bytes(&mut core.core, now);
    }

    /// Kills or the configuration changed, as the shell tells it.
    pub(crate) fn on_change(&mut self, scene: &mut Scene<'_>, core: &mut CoreSim) {
        self.machine.on_change(&mut core.core, scene.now);
        let is_over = self.machine.is_over(&core.core, None, scene.now);
        if is_over && self.machine.step(&core.core) == Step::ReadUpstream {
            self.machine.on_upstream_closed(&mut core.core, scene.now);
        }
        self.settle(scene, core);
    }

    /// A session has ended, or a call was cancelled, on whichever core.
    pub(crate) fn on_announcement(
        &mut self,
        scene: &mut Scene<'_>,
        core: &mut CoreSim,
        news: &Announcement,
    ) {
        self.is_cancelled |= self.machine.is_over(&core.core, Some(news), scene.now);
    }

    pub(crate) fn on_time(&mut self, scene: &mut Scene<'_>, core: &mut CoreSim) {
        if self.machine.deadline() <= scene.now.mono {
            let step = self.machine.step(&core.core);
            let is_open = |record| !core.core.is_durable(record);
            if matches!(step, Step::AwaitRecord(record) if is_open(record)) {
                scene.log_trouble = scene.step;
            }
            self.machine.on_deadline(&mut core.core, scene.now);
            self.settle(scene, core);
        }
    }

    /// Whether this client's servers are all of a policy; for messages only.
    #[must_use]
    pub(crate) fn describe(&self, policy: Policy) -> String {
        format!(
            "{} (modern {}, policy {policy:?}) waits for {:?}",
            self.caller, self.is_modern, self.waiting
        )
    }
}
