//! What one request may cost before anybody knows who sent it.

/// Bytes of a head, the empty line included. Node's default (`--max-http-header-size`); a token with
/// many groups has about 8 KiB.
pub const HEAD_BYTES_MAX: usize = 16_384;

/// Header lines of a head. Apache's default (`LimitRequestFields`).
pub const HEADERS_MAX: usize = 100;

/// RFC 9112 §3 recommends to support request lines of at least 8000 bytes.
pub const TARGET_BYTES_MAX: usize = 8_192;

/// Bytes of a body. The MCP TypeScript SDK's default (`MAXIMUM_MESSAGE_SIZE`, 4 MB).
pub const BODY_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// `Mcp-Param-*` headers of a request, each an argument that its tool mirrors. **Ours.**
pub const MCP_PARAMS_MAX: usize = 16;

/// Bytes of chunk extensions in a whole body. They mean nothing to MCP; Go and hyper allow 16 KiB,
/// which is what the attack of CVE-2023-39326 spends. **Ours.**
pub const CHUNK_EXTENSION_BYTES_MAX: usize = 256;

/// Hexadecimal digits of a chunk's size, leading zeros included: 4 GiB, past every body limit. **Ours.**
pub const CHUNK_SIZE_DIGITS_MAX: usize = 8;

/// The limits that an operator may lower. Raising `headers` past [`HEADERS_MAX`] has no effect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    pub head_bytes: usize,
    pub headers: usize,
    pub target_bytes: usize,
    pub body_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: HEAD_BYTES_MAX,
            headers: HEADERS_MAX,
            target_bytes: TARGET_BYTES_MAX,
            body_bytes: BODY_BYTES_MAX,
        }
    }
}
