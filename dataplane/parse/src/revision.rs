//! Revisions of the protocol, and the methods that this gateway carries in each era.
//!
//! A method that is not in these tables is answered with -32601, whether the specification knows it
//! or not: what we do not judge we do not carry.

/// A revision of the specification, oldest first.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Revision {
    V2024_11_05,
    V2025_03_26,
    V2025_06_18,
    V2025_11_25,
    V2026_07_28,
}

/// What `server/discover` and -32022 name: modern revisions only.
pub const SUPPORTED_MODERN: &[Revision] = &[Revision::V2026_07_28];

/// What `initialize` may agree on, newest first.
pub const SUPPORTED_LEGACY: &[Revision] =
    &[Revision::V2025_11_25, Revision::V2025_06_18, Revision::V2025_03_26, Revision::V2024_11_05];

impl Revision {
    /// Offered to a legacy client that asks for one we do not know.
    pub const NEWEST_LEGACY: Self = Self::V2025_11_25;

    /// As it stands in headers and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// Exact bytes; none for any other.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        [SUPPORTED_MODERN, SUPPORTED_LEGACY]
            .into_iter()
            .flatten()
            .find(|revision| revision.as_str().as_bytes() == text)
            .copied()
    }

    /// Stateless, as of 2026-07-28.
    #[must_use]
    pub const fn is_modern(self) -> bool {
        matches!(self, Self::V2026_07_28)
    }
}

/// A request's method that is carried or answered here.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Method {
    /// `server/discover`, modern.
    Discover,
    /// `initialize`, legacy.
    Initialize,
    /// `ping`, legacy.
    Ping,
    /// `tools/list`.
    ListTools,
    /// `tools/call`.
    CallTool,
}

impl Method {
    /// As it stands in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Discover => "server/discover",
            Self::Initialize => "initialize",
            Self::Ping => "ping",
            Self::ListTools => "tools/list",
            Self::CallTool => "tools/call",
        }
    }

    /// A request's method of the modern era; none is answered with 404 and -32601.
    #[must_use]
    pub fn modern(name: &str) -> Option<Self> {
        [Self::Discover, Self::ListTools, Self::CallTool].into_iter().find(|m| m.as_str() == name)
    }

    /// A request's method of the legacy era; none is answered with 200 and -32601.
    #[must_use]
    pub fn legacy(name: &str) -> Option<Self> {
        [Self::Initialize, Self::Ping, Self::ListTools, Self::CallTool]
            .into_iter()
            .find(|m| m.as_str() == name)
    }
}

/// Whether the specification defines this as a request, in any revision.
pub(crate) fn is_request_method(name: &str) -> bool {
    const OTHERS: &[&str] = &[
        "completion/complete",
        "elicitation/create",
        "logging/setLevel",
        "prompts/get",
        "prompts/list",
        "resources/list",
        "resources/read",
        "resources/subscribe",
        "resources/templates/list",
        "resources/unsubscribe",
        "roots/list",
        "sampling/createMessage",
        "subscriptions/listen",
        "tasks/cancel",
        "tasks/get",
        "tasks/list",
        "tasks/result",
        "tasks/update",
    ];
    Method::modern(name).or(Method::legacy(name)).is_some() || OTHERS.contains(&name)
}

/// The member of `params` that `Mcp-Name` repeats.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NameSource {
    None,
    Name,
    Uri,
    TaskId,
}

/// Which member `Mcp-Name` repeats for a method (row 8 of the era table).
pub(crate) fn name_source(method: &str) -> NameSource {
    match method {
        "tools/call" | "prompts/get" => NameSource::Name,
        "resources/read" => NameSource::Uri,
        _ if method.starts_with("tasks/") && method != "tasks/list" => NameSource::TaskId,
        _ => NameSource::None,
    }
}
