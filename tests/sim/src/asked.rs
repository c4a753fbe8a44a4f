//! What clients of the simulation ask, and what is needed to judge the answer.

use dataplane_audit::ArgumentsDigest;
use serde_json::{Value, json};

use crate::model::TOOLS;
use crate::{Seed, digest_key, http};

/// One request on its way, or waiting for its answer.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) bytes: Vec<u8>,
    pub(crate) id: Value,
    pub(crate) what: What,
    /// The step at which it was made.
    pub(crate) at: u64,
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = String::from_utf8_lossy(&self.bytes);
        write!(out, "{:?} asked at step {} as {bytes:?}", self.what, self.at)
    }
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    Call(Call),
    /// `tools/list`, at `/mcp` or at one server.
    List,
    /// Answered here, with the request's id.
    Other,
    /// Answered with a session.
    Initialize,
    /// Answered without a body.
    Quiet,
    /// A credential that nobody has.
    Stranger,
}

#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) server: &'static str,
    pub(crate) tool: &'static str,
    pub(crate) arguments: Value,
    pub(crate) canary: String,
    pub(crate) digest: ArgumentsDigest,
}

/// Who asks, and where.
#[derive(Clone, Debug)]
pub(crate) struct Asker<'a> {
    pub(crate) key: &'a str,
    pub(crate) is_modern: bool,
    /// One server's endpoint, or `/mcp`.
    pub(crate) only: Option<&'static str>,
    pub(crate) session: Option<&'a str>,
}

impl Asker<'_> {
    fn path(&self) -> String {
        self.only.map_or("/mcp".into(), |server| format!("/servers/{server}/mcp"))
    }

    /// Any request, as the seed has it.
    #[must_use]
    pub(crate) fn ask(&self, number: u64, at: u64, seed: &mut Seed) -> Asked {
        // Equal ids on purpose: only the connection tells whose answer it is.
        let id = if seed.per_mille(700) { json!(1) } else { json!(format!("n-{number}")) };
        if !self.is_modern && self.session.is_none() {
            let body = http::initialize();
            let bytes = http::legacy(&self.path(), self.key, None, &body);
            return Asked { bytes, id: json!(0), what: What::Initialize, at };
        }
        match seed.below(20) {
            0..=13 => self.call(number, id, at, seed),
            14..=16 => self.method(id, "tools/list", What::List, at),
            17 if self.is_modern => self.method(id, "server/discover", What::Other, at),
            17 => self.method(id, "ping", What::Other, at),
            18 if !self.is_modern => {
                let note = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
                self.note(&note, at)
            }
            _ => {
                let bytes = http::post(&self.path(), "pck_0000_wrong", &[], "{}");
                Asked { bytes, id, what: What::Stranger, at }
            }
        }
    }

    fn method(&self, id: Value, method: &str, what: What, at: u64) -> Asked {
        let bytes = match self.is_modern {
            true => http::modern(&self.path(), self.key, id.clone(), method, json!({})),
            false => {
                let body = json!({"jsonrpc": "2.0", "id": id, "method": method});
                http::legacy(&self.path(), self.key, self.session, &body)
            }
        };
        Asked { bytes, id, what, at }
    }

    fn note(&self, note: &Value, at: u64) -> Asked {
        let bytes = http::legacy(&self.path(), self.key, self.session, note);
        Asked { bytes, id: Value::Null, what: What::Quiet, at }
    }

    /// `notifications/cancelled` for the request with this id.
    #[must_use]
    pub(crate) fn cancel(&self, id: &Value, at: u64) -> Asked {
        let params = json!({"requestId": id});
        let note = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params});
        self.note(&note, at)
    }

    /// The session's end.
    #[must_use]
    pub(crate) fn end(&self, at: u64) -> Asked {
        let bytes = format!(
            "DELETE {} HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer {}\r\n\
             Mcp-Session-Id: {}\r\n\r\n",
            self.path(),
            self.key,
            self.session.unwrap_or_default(),
        );
        Asked { bytes: bytes.into_bytes(), id: Value::Null, what: What::Quiet, at }
    }

    fn call(&self, number: u64, id: Value, at: u64, seed: &mut Seed) -> Asked {
        // Calls across eras are refused and say little: most stay in theirs.
        let any_era = seed.per_mille(150);
        let here = |(server, _, modern): &&(&str, &str, bool)| {
            self.only.map_or(any_era || *modern == self.is_modern, |only| only == *server)
        };
        let tools: Vec<_> = TOOLS.iter().filter(here).collect();
        let (server, tool, _) = *tools[seed.below(tools.len() as u64) as usize];
        let canary = format!("canary-{number};");
        let mut arguments = json!({"customer": canary});
        if tool == "refund" {
            arguments["amount"] = match seed.below(4) {
                0 => json!("500"),
                1 => json!(501),
                _ => json!(seed.below(501)),
            };
        }
        let name = match self.only {
            Some(_) => tool.to_owned(),
            None => format!("{server}__{tool}"),
        };
        let mut bytes = match self.is_modern {
            true => http::call(&self.path(), self.key, id.clone(), &name, arguments.clone()),
            false => {
                let params = json!({"name": name, "arguments": arguments});
                let body =
                    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
                http::legacy(&self.path(), self.key, self.session, &body)
            }
        };
        if seed.per_mille(200) {
            bytes = http::in_chunks(&bytes, seed);
        }
        let digest = digest_key().digest(arguments.to_string().as_bytes());
        let call = Call { server, tool, arguments, canary, digest };
        Asked { bytes, id, what: What::Call(call), at }
    }
}
