//! One audit entry, as canonical bytes.
//!
//! All integers are little-endian; a text is a `u16` length and UTF-8. `decode` accepts exactly what
//! `encode` writes, so equal records have equal bytes and equal leaf hashes. A text that is too long
//! is cut at a character's boundary and its bit in [`Truncated`] is set: a record always fits, and
//! never hides that it was cut. Raw arguments are not here, only their keyed digest.
//!
//! Layout: version `u8`, kind `u8` (1 call, 2 control), truncated `u16`, stamp (boot id `[16]`, lane
//! `u16`, wall `u64`, mono `u64`), the body's fields in the order of their declaration, extra.

use dataplane_telemetry::{Nanos, WallNanos};

use crate::codec::{Extra, Malformed, Sink, Source, Truncated};
use crate::control::Control;
use crate::digest::ArgumentsDigest;

/// A record's length must fit the `uint16` of C2SP tlog-tiles entry bundles.
pub const RECORD_BYTES_MAX: usize = 65_535;

/// The layout that this program writes, and the only one that it reads.
pub const RECORD_VERSION: u8 = 1;

const KIND_CALL: u8 = 1;
const KIND_CONTROL: u8 = 2;

/// How many bytes of each text are kept.
#[derive(Clone, Copy, Debug)]
pub struct TextLimits {
    pub tenant: usize,
    pub user: usize,
    pub agent: usize,
    pub client: usize,
    pub method: usize,
    pub server: usize,
    pub tool: usize,
    pub request_id: usize,
    pub rule: usize,
    pub quota: usize,
    pub kill: usize,
    pub reason: usize,
}

/// Names of 255 bytes cover what identity providers issue (RFC 5321 §4.5.3.1 allows 254 for an
/// address); a request id has the length that our own parser accepts from a client.
pub const TEXT_LIMITS: TextLimits = TextLimits {
    tenant: 255,
    user: 255,
    agent: 255,
    client: 255,
    method: 128,
    server: 128,
    tool: 255,
    request_id: 256,
    rule: 512,
    quota: 128,
    kill: 128,
    reason: 512,
};

/// One entry of the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Record<'a> {
    pub stamp: Stamp,
    /// Which texts were cut. `encode` adds those that it cuts itself.
    pub truncated: Truncated,
    pub body: Body<'a>,
    /// Tagged values that later versions add, such as salted commitments. Empty today.
    pub extra: Extra<'a>,
}

/// Where and when a record was made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stamp {
    pub boot: BootId,
    /// The core that made it.
    pub lane: u16,
    pub wall: WallNanos,
    pub mono: Nanos,
}

/// One start of the gateway: 16 random bytes, drawn at that start. With [`CallId`] it names a call.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct BootId(pub [u8; 16]);

/// A call of one boot. Its intent and its outcome carry the same.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CallId(pub u64);

/// What the record says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Body<'a> {
    Call(Call<'a>),
    Control(Control<'a>),
}

/// A call before it is forwarded, after it ended, or as it was refused.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Call<'a> {
    pub phase: Phase,
    pub call: CallId,
    pub caller: CallerNames<'a>,
    pub era: Era,
    pub method: &'a str,
    /// Empty where a method names none.
    pub server: &'a str,
    /// The tool's own name, without `server__`.
    pub tool: &'a str,
    /// As it was sent: a number's digits, or a string with its quotes.
    pub request_id: &'a str,
    /// W3C trace id; zero when there is none.
    pub trace_id: [u8; 16],
    pub arguments: Option<ArgumentsDigest>,
    pub decision: Decision<'a>,
    /// All zero in an intent.
    pub ending: Ending,
}

/// Who calls, as verified. Empty where the credential names none.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CallerNames<'a> {
    pub tenant: &'a str,
    pub user: &'a str,
    pub agent: &'a str,
    /// The OAuth client or API key.
    pub client: &'a str,
}

/// What was decided, and by what.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Decision<'a> {
    pub verdict: Verdict,
    /// The policy's id; empty when no policy decided.
    pub rule: &'a str,
    /// The bundle that decided; zero when none was asked.
    pub revision: u64,
    /// The quota that refused.
    pub quota: &'a str,
    /// The kill that refused.
    pub kill: &'a str,
    /// One sentence, where the fields above do not tell.
    pub reason: &'a str,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Ending {
    pub end: End,
    /// The HTTP status that the client got; zero when it got none.
    pub status: u16,
    /// The HTTP status that the server gave; zero when it gave none.
    pub upstream_status: u16,
    /// The JSON-RPC error's code; zero when there was none.
    pub rpc_code: i32,
    /// From the request's last byte to the answer's.
    pub latency_ns: u64,
    /// Of that, how long the server had the call.
    pub upstream_ns: u64,
    /// The request's body.
    pub bytes_in: u64,
    /// The answer's body.
    pub bytes_out: u64,
}

/// A fieldless enum with a stable code for each variant; zero is the default.
macro_rules! coded {
    ($(#[$meta:meta])* $name:ident, $field:literal { $($(#[$doc:meta])* $variant:ident = $code:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
        #[repr(u8)]
        pub enum $name { #[default] $($(#[$doc])* $variant = $code,)* }

        impl $name {
            fn decode(source: &mut Source<'_>) -> Result<Self, Malformed> {
                match source.u8()? {
                    $($code => Ok(Self::$variant),)*
                    _ => Err(Malformed::Value($field)),
                }
            }

            /// For tests over all of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];
        }
    };
}

coded! {
    /// Which of a call's records this is.
    Phase, "phase" {
        /// Before it is forwarded.
        Intent = 0,
        /// After its end; an intent with the same call id came before.
        Outcome = 1,
        /// The only record of a call that was not forwarded.
        Refused = 2,
    }
}

coded! {
    /// The client's era.
    Era, "era" {
        /// Not yet known, for a request that was refused early.
        Unknown = 0,
        Modern = 1,
        Legacy = 2,
    }
}

coded! {
    Verdict, "verdict" {
        /// It was refused before anything was decided.
        Undecided = 0,
        Allowed = 1,
        /// By policy.
        Denied = 2,
        OverQuota = 3,
        Killed = 4,
        Unauthenticated = 5,
        /// The request broke the protocol.
        Malformed = 6,
        /// The server, its secret or the log was not to be had.
        Unavailable = 7,
    }
}

coded! {
    End, "end" {
        /// An intent has not ended.
        Pending = 0,
        /// A result that is no tool error.
        Answered = 1,
        /// A result with `isError`.
        ToolError = 2,
        /// A JSON-RPC error of the server.
        RpcError = 3,
        /// Not what the protocol asks, or none.
        ServerFault = 4,
        /// It may have run.
        TimedOut = 5,
        /// By the client's notification.
        Cancelled = 6,
        /// The client went away. It may have run.
        CallerGone = 7,
        /// Refused by us.
        Refused = 8,
    }
}

impl<'a> Record<'a> {
    /// A record with nothing cut and nothing extra.
    #[must_use]
    pub const fn new(stamp: Stamp, body: Body<'a>) -> Self {
        Self { stamp, truncated: Truncated::NONE, body, extra: Extra::NONE }
    }

    /// Appends the canonical bytes, at most [`RECORD_BYTES_MAX`]. Allocates only when `out` is too
    /// small.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut sink = Sink::new(out, self.truncated);
        sink.u8(RECORD_VERSION);
        sink.u8(match self.body {
            Body::Call(_) => KIND_CALL,
            Body::Control(_) => KIND_CONTROL,
        });
        let truncated = sink.reserve_truncated();
        sink.array(&self.stamp.boot.0);
        sink.u16(self.stamp.lane);
        sink.u64(self.stamp.wall.0);
        sink.u64(self.stamp.mono.0);
        match &self.body {
            Body::Call(call) => call.encode(&mut sink),
            Body::Control(control) => control.encode(&mut sink),
        }
        sink.extra(self.extra);
        sink.finish(truncated);
    }

    /// Reads canonical bytes, without copying.
    ///
    /// # Errors
    /// Another version, a value that this version does not know, or bytes that `encode` would not
    /// have written.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(Malformed::Value("length"));
        }
        let mut source = Source::new(bytes);
        match source.u8()? {
            RECORD_VERSION => (),
            other => return Err(Malformed::Version(other)),
        }
        let kind = source.u8()?;
        let truncated = source.truncated()?;
        let stamp = Stamp {
            boot: BootId(source.array()?),
            lane: source.u16()?,
            wall: WallNanos(source.u64()?),
            mono: Nanos(source.u64()?),
        };
        let body = match kind {
            KIND_CALL => Body::Call(Call::decode(&mut source)?),
            KIND_CONTROL => Body::Control(Control::decode(&mut source)?),
            _ => return Err(Malformed::Value("kind")),
        };
        let extra = source.extra()?;
        source.finish(truncated)?;
        Ok(Self { stamp, truncated, body, extra })
    }

    /// The call, unless this is a control record.
    #[must_use]
    pub const fn call(&self) -> Option<&Call<'a>> {
        match &self.body {
            Body::Call(call) => Some(call),
            Body::Control(_) => None,
        }
    }
}

impl<'a> Call<'a> {
    fn encode(&self, sink: &mut Sink<'_>) {
        let most = &TEXT_LIMITS;
        sink.u8(self.phase as u8);
        sink.u64(self.call.0);
        sink.text(self.caller.tenant, most.tenant);
        sink.text(self.caller.user, most.user);
        sink.text(self.caller.agent, most.agent);
        sink.text(self.caller.client, most.client);
        sink.u8(self.era as u8);
        sink.text(self.method, most.method);
        sink.text(self.server, most.server);
        sink.text(self.tool, most.tool);
        sink.text(self.request_id, most.request_id);
        sink.array(&self.trace_id);
        sink.u8(u8::from(self.arguments.is_some()));
        if let Some(digest) = &self.arguments {
            sink.u32(digest.key);
            sink.array(&digest.mac);
        }
        self.decision.encode(sink);
        self.ending.encode(sink);
    }

    fn decode(source: &mut Source<'a>) -> Result<Self, Malformed> {
        let most = &TEXT_LIMITS;
        Ok(Self {
            phase: Phase::decode(source)?,
            call: CallId(source.u64()?),
            caller: CallerNames {
                tenant: source.text("tenant", most.tenant)?,
                user: source.text("user", most.user)?,
                agent: source.text("agent", most.agent)?,
                client: source.text("client", most.client)?,
            },
            era: Era::decode(source)?,
            method: source.text("method", most.method)?,
            server: source.text("server", most.server)?,
            tool: source.text("tool", most.tool)?,
            request_id: source.text("request id", most.request_id)?,
            trace_id: source.array()?,
            arguments: match source.u8()? {
                0 => None,
                1 => Some(ArgumentsDigest { key: source.u32()?, mac: source.array()? }),
                _ => return Err(Malformed::Value("arguments")),
            },
            decision: Decision::decode(source)?,
            ending: Ending::decode(source)?,
        })
    }
}

impl<'a> Decision<'a> {
    fn encode(&self, sink: &mut Sink<'_>) {
        let most = &TEXT_LIMITS;
        sink.u8(self.verdict as u8);
        sink.text(self.rule, most.rule);
        sink.u64(self.revision);
        sink.text(self.quota, most.quota);
        sink.text(self.kill, most.kill);
        sink.text(self.reason, most.reason);
    }

    fn decode(source: &mut Source<'a>) -> Result<Self, Malformed> {
        let most = &TEXT_LIMITS;
        Ok(Self {
            verdict: Verdict::decode(source)?,
            rule: source.text("rule", most.rule)?,
            revision: source.u64()?,
            quota: source.text("quota", most.quota)?,
            kill: source.text("kill", most.kill)?,
            reason: source.text("reason", most.reason)?,
        })
    }
}

impl Ending {
    fn encode(&self, sink: &mut Sink<'_>) {
        sink.u8(self.end as u8);
        sink.u16(self.status);
        sink.u16(self.upstream_status);
        sink.i32(self.rpc_code);
        sink.u64(self.latency_ns);
        sink.u64(self.upstream_ns);
        sink.u64(self.bytes_in);
        sink.u64(self.bytes_out);
    }

    fn decode(source: &mut Source<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            end: End::decode(source)?,
            status: source.u16()?,
            upstream_status: source.u16()?,
            rpc_code: source.i32()?,
            latency_ns: source.u64()?,
            upstream_ns: source.u64()?,
            bytes_in: source.u64()?,
            bytes_out: source.u64()?,
        })
    }
}
