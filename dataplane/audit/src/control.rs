//! Records about the gateway and the log itself.
//!
//! Whoever reads the log learns from it alone when the gateway ran, what decided, what was killed,
//! and where the log itself was interrupted. Codes are never reused; a new kind takes a new code.

use crate::codec::{Malformed, Sink, Source};

/// How many bytes of each text of a control record are kept.
pub const CONTROL_TEXT_BYTES_MAX: usize = 1_024;

/// A value of a control record.
trait Value<'a>: Sized {
    fn encode(&self, sink: &mut Sink<'_>);
    fn decode(source: &mut Source<'a>, field: &'static str) -> Result<Self, Malformed>;
}

impl<'a> Value<'a> for u32 {
    fn encode(&self, sink: &mut Sink<'_>) {
        sink.u32(*self);
    }

    fn decode(source: &mut Source<'a>, _: &'static str) -> Result<Self, Malformed> {
        source.u32()
    }
}

impl<'a> Value<'a> for i32 {
    fn encode(&self, sink: &mut Sink<'_>) {
        sink.i32(*self);
    }

    fn decode(source: &mut Source<'a>, _: &'static str) -> Result<Self, Malformed> {
        source.i32()
    }
}

impl<'a> Value<'a> for u64 {
    fn encode(&self, sink: &mut Sink<'_>) {
        sink.u64(*self);
    }

    fn decode(source: &mut Source<'a>, _: &'static str) -> Result<Self, Malformed> {
        source.u64()
    }
}

impl<'a> Value<'a> for i64 {
    fn encode(&self, sink: &mut Sink<'_>) {
        sink.array(&self.to_le_bytes());
    }

    fn decode(source: &mut Source<'a>, _: &'static str) -> Result<Self, Malformed> {
        source.array().map(Self::from_le_bytes)
    }
}

impl<'a, const N: usize> Value<'a> for [u8; N] {
    fn encode(&self, sink: &mut Sink<'_>) {
        sink.array(self);
    }

    fn decode(source: &mut Source<'a>, _: &'static str) -> Result<Self, Malformed> {
        source.array()
    }
}

impl<'a> Value<'a> for &'a str {
    fn encode(&self, sink: &mut Sink<'_>) {
        sink.text(self, CONTROL_TEXT_BYTES_MAX);
    }

    fn decode(source: &mut Source<'a>, field: &'static str) -> Result<Self, Malformed> {
        source.text(field, CONTROL_TEXT_BYTES_MAX)
    }
}

macro_rules! controls {
    ($($(#[$doc:meta])* $code:literal $variant:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty,)* })*) => {
        /// What happened, other than a call.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Control<'a> {
            $($(#[$doc])* $variant { $($(#[$field_doc])* $field: $kind,)* },)*
        }

        impl<'a> Control<'a> {
            /// The variant's name, for tables and filters.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => stringify!($variant),)*
                }
            }

            pub(crate) fn encode(&self, sink: &mut Sink<'_>) {
                match self {
                    $(Self::$variant { $($field,)* } => {
                        sink.u8($code);
                        $(Value::encode($field, sink);)*
                    })*
                }
            }

            pub(crate) fn decode(source: &mut Source<'a>) -> Result<Self, Malformed> {
                match source.u8()? {
                    $($code => Ok(Self::$variant {
                        $($field: Value::decode(source, stringify!($field))?,)*
                    }),)*
                    _ => Err(Malformed::Value("control kind")),
                }
            }
        }
    };
}

controls! {
    /// The gateway serves.
    1 Started {
        version: &'a str,
        /// The bundle that it started with.
        revision: u64,
    }
    /// The gateway ends in order.
    2 Stopped {
        reason: &'a str,
    }
    /// The wall clock went another way than the monotonic one. The order stays the index.
    3 ClockStep {
        /// Positive when it was set forward.
        by_ns: i64,
    }
    4 BundleActivated {
        revision: u64,
        digest: [u8; 32],
        author: &'a str,
    }
    5 BundleRefused {
        revision: u64,
        reason: &'a str,
    }
    6 KillListApplied {
        serial: u64,
        kills: u32,
        digest: [u8; 32],
    }
    /// A log begins, or goes on after a clean end.
    7 LogOpened {
        size: u64,
        root: [u8; 32],
        segment: u64,
    }
    /// A log goes on after a crash.
    8 LogRecovered {
        size: u64,
        root: [u8; 32],
        segment: u64,
        /// Bytes after the last whole group: writes that nobody was told were done.
        disowned_bytes: u64,
    }
    /// A log ends in order.
    9 LogClosed {
        size: u64,
    }
    /// A log goes on in a new segment after it could not be written.
    10 LogResumed {
        segment: u64,
        /// The operating system's error; zero for a short write.
        errno: i32,
        /// How long calls were refused.
        refused_ns: u64,
    }
    /// The key that signs checkpoints changed. Both keys sign the new one's note key.
    11 LogKeyChanged {
        old_key: [u8; 32],
        new_key: [u8; 32],
        old_signature: [u8; 64],
        new_signature: [u8; 64],
    }
    /// The key of the arguments' digests changed.
    12 DigestKeyChanged {
        key: u32,
    }
    /// An operator lets a log grow that is shorter than a checkpoint says.
    13 LossAccepted {
        expected_size: u64,
        found_size: u64,
        operator: &'a str,
        reason: &'a str,
    }
    /// Revocations took effect.
    14 RevocationsApplied {
        serial: u64,
        entries: u32,
    }
    /// Anything else that somebody may have to prove later.
    15 Noted {
        topic: &'a str,
        text: &'a str,
    }
    /// Somebody was slowed, or the network card told to drop, longer or no more.
    16 LadderStep {
        what: &'a str,
        why: &'a str,
        /// Tenant, user and agent, in words.
        who: &'a str,
        /// The quota whose refusals were ignored, or the kill.
        cause: &'a str,
        /// What is dropped; empty for who is slowed.
        target: &'a str,
        /// Entries of one drop have one number.
        drop: u64,
        /// When it ends by itself, in nanoseconds since 1970.
        until: u64,
    }
}
