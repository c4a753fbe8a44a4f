//! What is in force in a simulated box, and since when: the judge's side of each check.

use std::collections::BTreeMap;

use dataplane_bundle::{Kill, KillTarget};
use dataplane_telemetry::Now;
use serde_json::Value;

use crate::asked::{Asked, Call, What};
use crate::core_sim::CoreSim;
use crate::model::{May, Policy, TOOLS, is_gated, may, secret, visible};
use crate::{Compiled, Mix, Seed};

/// The world as the simulation changed it.
pub(crate) struct Scene<'c> {
    pub(crate) seed: Seed,
    pub(crate) mix: Mix,
    pub(crate) now: Now,
    pub(crate) step: u64,
    pub(crate) policy: Policy,
    pub(crate) compiled: &'c [Compiled; 2],
    pub(crate) kills: Vec<Kill>,
    pub(crate) is_draining: bool,
    /// The last steps at which these were so.
    pub(crate) swapped: u64,
    pub(crate) killed: u64,
    pub(crate) log_trouble: u64,
    pub(crate) session_ended: u64,
    /// How often the call with a canary may be forwarded, and was.
    pub(crate) may_send: BTreeMap<String, u64>,
    pub(crate) sent: BTreeMap<String, u64>,
    /// Open legacy sessions: whose, where, and their ids. Connections share them.
    pub(crate) sessions: Vec<(&'static str, Option<&'static str>, String)>,
    pub(crate) trace: u64,
    pub(crate) seen: Seen,
}

/// How much of what happened, so that a run that tests nothing is seen.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Seen {
    pub answered: u64,
    pub denied: u64,
    pub killed: u64,
    pub unrecorded: u64,
    pub server_faults: u64,
    pub streams: u64,
    pub forwarded: u64,
    pub lists: u64,
    pub cancelled: u64,
}

impl Scene<'_> {
    /// Folds into the trace's hash (FNV-1a).
    pub(crate) fn note(&mut self, what: &str, bytes: &[u8]) {
        for byte in what.bytes().chain(self.step.to_le_bytes()).chain(bytes.iter().copied()) {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    #[must_use]
    pub(crate) fn key(&self, caller: &str) -> String {
        let keys = &self.compiled[0].keys;
        keys.iter().find(|(name, _)| name == caller).unwrap().1.clone()
    }

    /// Policies that were in force since a step.
    fn policies(&self, since: u64) -> impl Iterator<Item = Policy> {
        let current = self.policy;
        let both = self.swapped >= since;
        [Policy::A, Policy::B].into_iter().filter(move |policy| both || *policy == current)
    }

    fn could(&self, caller: &str, call: &Call, since: u64, wanted: May) -> bool {
        let of = |policy| may(policy, caller, call.server, call.tool, &call.arguments);
        self.policies(since).any(|policy| of(policy) == wanted)
    }

    fn is_killed(&self, caller: &str, server: &str, tool: &str) -> bool {
        self.kills.iter().any(|kill| match &kill.target {
            KillTarget::Tool { server: s, tool: t } => s == server && t == tool,
            KillTarget::Server { server: s } => s == server,
            KillTarget::Tenant { tenant } => tenant == "acme",
            KillTarget::User { user, .. } => caller != "bot" && user == caller,
            KillTarget::Agent { agent, .. } => caller == "bot" && agent == caller,
            KillTarget::Client { .. } | KillTarget::Token { .. } => false,
        })
    }

    /// What leaves towards a server.
    ///
    /// # Panics
    /// When it may not.
    pub(crate) fn check_forward(
        &mut self,
        core: &CoreSim,
        caller: &str,
        call: Option<&Call>,
        (server, request): (&str, &[u8]),
    ) {
        let text = String::from_utf8_lossy(request);
        assert_eq!(text.matches("sekrit").count(), 1, "one secret: {text}");
        assert!(text.contains(&format!("Bearer {}\r\n", secret(server))), "{server}'s: {text}");
        let keys = &self.compiled[0].keys;
        assert!(keys.iter().all(|(_, key)| !text.contains(key)), "a client's credential: {text}");
        let message = crate::http::message(request);
        if message["method"] != "tools/call" {
            assert_eq!(server, "old", "a handshake with a modern server: {text}");
            return;
        }
        let tool = message["params"]["name"].as_str().unwrap();
        let arguments = &message["params"]["arguments"];
        let verdict = may(self.policy, caller, server, tool, arguments);
        assert_eq!(verdict, May::Call, "{caller} reached {server}/{tool} with {arguments}");
        assert!(!self.is_killed(caller, server, tool), "{server}/{tool} is off, and was reached");
        let trace = trace_of(&text);
        let intents = core.intents(trace);
        assert_eq!(intents.len(), 1, "intents of a forwarded call");
        if is_gated(self.policy, server, tool) {
            assert!(core.durable >= intents[0], "{server}/{tool} before its intent is durable");
        }
        self.seen.forwarded += 1;
        let Some(call) = call else { return };
        assert_eq!((server, tool), (call.server, call.tool), "another tool than was asked for");
        assert_eq!(arguments, &call.arguments);
        let sent = self.sent.entry(call.canary.clone()).or_default();
        *sent += 1;
        let allowed = 1 + self.may_send.get(&call.canary).copied().unwrap_or(0);
        assert!(*sent <= allowed, "sent {sent} times, and may have run");
    }

    /// What leaves towards a client, as bytes.
    ///
    /// # Panics
    /// When a secret or a credential is among them.
    pub(crate) fn check_bytes(&self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        assert!(!text.contains("sekrit"), "a secret leaves: {text}");
        assert!(!text.contains("Bearer pck_"), "a credential leaves: {text}");
    }

    /// A whole answer, or the last event of a stream.
    ///
    /// # Panics
    /// When it is not what this request may be answered with.
    pub(crate) fn check_answer(
        &mut self,
        core: &CoreSim,
        caller: &str,
        only: Option<&str>,
        asked: &Asked,
        (status, body): (u16, Option<&Value>),
    ) {
        let code = body.and_then(|body| body["error"]["code"].as_i64());
        let said = format!("{status} {body:?} to {asked:?}");
        if let Some(id) = body.and_then(|body| body.get("id")) {
            assert!(*id == asked.id || (id.is_null() && status != 200), "another's id: {said}");
        }
        self.check_canaries(asked, body);
        let kind = body.and_then(|body| body["result"]["resultType"].as_str());
        assert!(matches!(kind, None | Some("complete")), "what would have to be redeemed: {said}");
        match status {
            401 => return assert!(matches!(asked.what, What::Stranger), "{said}"),
            404 => return assert!(self.session_ended >= asked.at, "{said}"),
            503 if code == Some(-31_509) => return assert!(self.is_draining, "{said}"),
            408 => return assert_eq!(code, Some(-31_400), "{said}"),
            _ => {}
        }
        if code == Some(-31_410) && !matches!(asked.what, What::Call(_)) {
            self.seen.killed += 1;
            assert_eq!(status == 403, matches!(asked.what, What::Quiet), "{said}");
            return assert!(self.killed >= asked.at, "{said}");
        }
        match &asked.what {
            What::Call(call) => self.check_call(core, caller, asked.at, call, code, &said),
            What::List => self.check_list(caller, only, asked, body, &said),
            What::Other | What::Initialize => {
                let is_hidden = only.is_some_and(|only| self.sees_nothing(caller, only, asked.at));
                assert!(code.is_none() || (is_hidden && code == Some(-32_602)), "{said}");
            }
            What::Quiet => assert!(status == 202 || status == 200, "{said}"),
            What::Stranger => panic!("a stranger was served: {said}"),
        }
    }

    fn sees_nothing(&self, caller: &str, only: &str, since: u64) -> bool {
        self.policies(since).any(|policy| visible(policy, caller, Some(only)).is_empty())
    }

    /// Whatever a client is told, it holds nobody else's canary.
    ///
    /// # Panics
    /// When it does.
    pub(crate) fn check_canaries(&self, asked: &Asked, body: Option<&Value>) {
        let text = body.map(Value::to_string).unwrap_or_default();
        let own = match &asked.what {
            What::Call(call) => text.matches(&call.canary).count(),
            _ => 0,
        };
        assert_eq!(text.matches("canary-").count(), own, "another's canary: {text}");
    }

    fn check_call(
        &mut self,
        core: &CoreSim,
        caller: &str,
        since: u64,
        call: &Call,
        code: Option<i64>,
        said: &str,
    ) {
        if code == Some(-31_507) {
            self.seen.unrecorded += 1;
            return assert!(self.log_trouble >= since, "{said}");
        }
        assert!(core.has_durable_end(call.digest), "answered without its record: {said}");
        let is_modern = TOOLS.iter().any(|(server, _, modern)| *server == call.server && *modern);
        let (counter, holds) = match code {
            None => (&mut self.seen.answered, May::Call),
            Some(-32_602) => (&mut self.seen.denied, May::NotSee),
            Some(-31_403) => (&mut self.seen.denied, May::NotCall),
            Some(-31_410) => {
                self.seen.killed += 1;
                return assert!(self.killed >= since, "{said}");
            }
            Some(-31_505) => {
                let is_other = said.contains("server aaa") || said.contains("server crm");
                assert_eq!(is_other, is_modern, "{said}");
                (&mut self.seen.denied, May::Call)
            }
            Some(_) => (&mut self.seen.server_faults, May::Call),
        };
        *counter += 1;
        assert!(self.could(caller, call, since, holds), "{said}");
    }

    fn check_list(
        &mut self,
        caller: &str,
        only: Option<&str>,
        asked: &Asked,
        body: Option<&Value>,
        said: &str,
    ) {
        self.seen.lists += 1;
        let tools = body.and_then(|body| body["result"]["tools"].as_array());
        let Some(tools) = tools else {
            let only = only.unwrap_or_else(|| panic!("{said}"));
            return assert!(self.sees_nothing(caller, only, asked.at), "{said}");
        };
        let mut names: Vec<_> =
            tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        let right = |policy| {
            let mut visible = visible(policy, caller, only);
            visible.sort();
            visible == names
        };
        assert!(self.policies(asked.at).any(right), "a list for {caller}: {said}");
    }
}

/// The trace id of a forwarded request.
fn trace_of(request: &str) -> [u8; 16] {
    let line = request.lines().find_map(|line| line.strip_prefix("traceparent: ")).unwrap();
    dataplane_telemetry::TraceContext::parse(line.as_bytes()).unwrap().trace_id
}
