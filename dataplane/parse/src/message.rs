//! A JSON-RPC message, with all that later stages judge by, and where it stands in the text.
//!
//! Every field was read from the same bytes that are forwarded. `Field` keeps "absent" and "of the
//! wrong type" apart, because the protocol answers them differently and policy must never take one
//! for the other.

use crate::document::{Document, Extent};

/// What kind of message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A method with an id, acceptable or not.
    Request,
    /// A method without an id.
    Notification,
    /// A result or an error.
    Response,
    /// An array. Nothing in it was read beyond strict JSON.
    Batch,
}

/// A member that may be missing or of another type than the protocol's.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Field<T> {
    #[default]
    Absent,
    WrongType,
    Value(T),
}

impl<T> Field<T> {
    /// The value, if it is there and of the right type.
    pub fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::WrongType => None,
        }
    }

    /// Whether nothing was sent.
    pub const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

/// A string.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Text<'p> {
    /// Unescaped.
    pub value: &'p str,
    /// Between the quotes.
    pub raw: Extent,
}

/// Any value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Value {
    /// On the tape.
    pub index: usize,
    /// Brackets and quotes included.
    pub raw: Extent,
}

/// A request's id.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Id {
    #[default]
    Absent,
    /// Null, a fraction, an exponent, beyond 2^53, a boolean, an array or an object.
    Invalid,
    /// An integer, or a string with its quotes, as it was sent. Type and text are the identity.
    Value(Extent),
}

/// What `params._meta` says that we act upon.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meta<'p> {
    /// `io.modelcontextprotocol/protocolVersion`. `WrongType` as well when `_meta` is no object.
    pub protocol_version: Field<&'p str>,
    /// `io.modelcontextprotocol/clientCapabilities`: the index of the object.
    pub client_capabilities: Field<usize>,
    /// `name` and `version` of `io.modelcontextprotocol/clientInfo`.
    pub client_name: Option<&'p str>,
    pub client_version: Option<&'p str>,
    /// A string or an integer, as it was sent.
    pub progress_token: Field<Extent>,
    pub traceparent: Option<&'p str>,
    /// The index of `_meta`, when it is an object.
    pub index: Option<usize>,
}

/// What `initialize` brings along.
#[derive(Clone, Copy, Debug, Default)]
pub struct Initialize<'p> {
    /// `params.protocolVersion`.
    pub protocol_version: Field<&'p str>,
    /// `params.capabilities`, an object.
    pub capabilities: Field<Value>,
    /// `params.clientInfo.name`.
    pub client_name: Option<&'p str>,
    /// `params.clientInfo.version`.
    pub client_version: Option<&'p str>,
}

/// One message. Only the members that its kind can have are filled.
#[derive(Clone, Copy, Debug)]
pub struct Message<'p> {
    pub document: Document<'p>,
    pub kind: Kind,
    pub id: Id,
    /// Empty for a response and a batch.
    pub method: &'p str,
    /// The method between its quotes.
    pub method_raw: Extent,
    /// The index of `params`, an object.
    pub params: Option<usize>,
    /// `params.name`. Never escaped, so that its text is the bytes at `raw`.
    pub name: Field<Text<'p>>,
    /// `params.uri`. Never escaped.
    pub uri: Field<Text<'p>>,
    /// `params.taskId`. Never escaped.
    pub task_id: Field<Text<'p>>,
    /// `params.arguments`, an object.
    pub arguments: Option<Value>,
    /// `params.cursor`.
    pub cursor: Field<Text<'p>>,
    /// `params.requestId` of `notifications/cancelled`: a string or an integer.
    pub request_id: Id,
    /// `params.task`, `params.inputResponses`, `params.requestState`.
    pub task: Option<Value>,
    pub input_responses: Option<Value>,
    pub request_state: Option<Value>,
    pub meta: Meta<'p>,
    pub initialize: Initialize<'p>,
    /// `result` of a response.
    pub result: Option<Value>,
    /// `error` of a response.
    pub error: Option<Value>,
}

impl<'p> Message<'p> {
    /// The text as it was sent.
    #[must_use]
    pub const fn body(&self) -> &'p [u8] {
        self.document.body
    }

    /// The id's bytes, to be echoed as they are. None when there is none that may be echoed.
    #[must_use]
    pub fn id_text(&self) -> Option<&'p [u8]> {
        match self.id {
            Id::Value(raw) => Some(raw.of(self.body())),
            Id::Absent | Id::Invalid => None,
        }
    }

    /// The arguments' bytes, for a digest. Empty when there are none.
    #[must_use]
    pub fn arguments_text(&self) -> &'p [u8] {
        self.arguments.map_or(&[], |arguments| arguments.raw.of(self.body()))
    }
}
