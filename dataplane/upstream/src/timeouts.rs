//! How long each step towards a server may take.

/// Milliseconds each; zero refuses at once. The shell measures, this only names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timeouts {
    /// TCP and TLS together: two lost SYNs (1 s, then 2 s) still pass.
    pub connect_ms: u64,
    /// From the last byte of the request to the answer's head. A server that answers in JSON sends it
    /// when the tool is done, so this is what the MCP SDKs give a whole request: 60 s.
    pub response_head_ms: u64,
    /// Between two bytes of a body.
    pub idle_ms: u64,
    /// The whole call, however many events keep it alive.
    pub call_ms: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect_ms: 3_500, response_head_ms: 60_000, idle_ms: 60_000, call_ms: 300_000 }
    }
}
