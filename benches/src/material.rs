//! The bytes of one ordinary call: token, request, answer.
//!
//! Sizes as in `tools/bench`: a token of about 1,030 bytes, a head of about 1.3 kB, a body of 282
//! bytes, an answer of 488.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::json;

/// The server and its tools that have a part here.
pub const SERVER: &str = "orders";
/// A plain cell that allows.
pub const ALLOWED: &str = "get_orders";
/// A plain cell that denies.
pub const DENIED: &str = "delete_orders";
/// A cell with a condition over an argument.
pub const CONDITIONAL: &str = "refund_order";

pub const ISSUER: &str = "https://idp.test/agents";
pub const AUDIENCE: &str = "https://gateway.test/mcp";
/// When everything here happens, in seconds.
pub const NOW_S: u64 = 1_790_000_000;

const TOKEN_BYTES: usize = 1_028;
const BODY_BYTES: usize = 282;

/// An access token and the key set that verifies it.
#[derive(Clone, Debug)]
pub struct Credential {
    pub token: String,
    pub jwks: String,
}

impl Credential {
    /// # Panics
    /// Never: the seed has its length.
    #[must_use]
    pub fn fixed() -> Self {
        let Ok(pair) = Ed25519KeyPair::from_seed_unchecked(&[9; 32]) else {
            unreachable!("32 bytes are a seed")
        };
        let head = json!({"alg": "EdDSA", "kid": "fixed", "typ": "at+jwt"}).to_string();
        let mut groups = vec!["eu-support".to_owned()];
        let token = loop {
            let claims = json!({
                "iss": ISSUER, "aud": AUDIENCE, "sub": "jane.doe@example.test", "org": "acme-eu",
                "azp": "claude-desktop", "jti": "b0f3c3a0-5f37-4a44-9d8f-2f1d5f9b6a10",
                "iat": NOW_S - 60, "exp": NOW_S + 86_400, "roles": ["support", "reader"],
                "groups": groups,
            });
            let signed = [&head, &claims.to_string()].map(|part| URL_SAFE_NO_PAD.encode(part));
            let signed = signed.join(".");
            let signature = URL_SAFE_NO_PAD.encode(pair.sign(signed.as_bytes()));
            let token = format!("{signed}.{signature}");
            if token.len() >= TOKEN_BYTES {
                break token;
            }
            groups.push(format!("team-{:03}", groups.len()));
        };
        let key = URL_SAFE_NO_PAD.encode(pair.public_key());
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "fixed", "x": key});
        Self { token, jwks: json!({"keys": [jwk]}).to_string() }
    }
}

/// The body of a modern `tools/call`.
#[must_use]
pub fn call_body(tool: &str) -> Vec<u8> {
    let body = |sort: &str| {
        json!({
            "jsonrpc": "2.0", "id": 1_000_000_007, "method": "tools/call",
            "params": {
                "name": tool,
                "arguments": {"customer_id": "C-4711", "status": "open", "limit": 10, "sort": sort},
                "_meta": {
                    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                    "io.modelcontextprotocol/clientCapabilities": {},
                },
            },
        })
        .to_string()
    };
    let short = body("date").len();
    body(&format!("date{}", "x".repeat(BODY_BYTES.saturating_sub(short)))).into_bytes()
}

/// The head of a request with a body of this length.
#[must_use]
pub fn head(path: &str, token: &str, method: &str, name: Option<&str>, body_len: usize) -> Vec<u8> {
    let name = name.map_or(String::new(), |name| format!("Mcp-Name: {name}\r\n"));
    format!(
        "POST {path} HTTP/1.1\r\nHost: gateway.test\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\n\
         Mcp-Method: {method}\r\n{name}Authorization: Bearer {token}\r\n\
         Content-Length: {body_len}\r\n\r\n"
    )
    .into_bytes()
}

/// A whole call of `tool` at `path`.
#[must_use]
pub fn call(path: &str, token: &str, tool: &str) -> Vec<u8> {
    let body = call_body(tool);
    [head(path, token, "tools/call", Some(tool), body.len()), body].concat()
}

/// A whole `tools/list` at `path`.
#[must_use]
pub fn list(path: &str, token: &str) -> Vec<u8> {
    let body = json!({
        "jsonrpc": "2.0", "id": 1_000_000_007, "method": "tools/list",
        "params": {"_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        }},
    })
    .to_string()
    .into_bytes();
    [head(path, token, "tools/list", None, body.len()), body].concat()
}

/// What the server answers to a call with this id, as it was sent: its body has 488 bytes.
#[must_use]
pub fn answer_body(id: &str) -> Vec<u8> {
    let orders = json!({
        "orders": [
            {"id": "O-100231", "customer": "C-4711", "status": "open", "total": 129.9, "currency": "EUR"},
            {"id": "O-100240", "customer": "C-4711", "status": "open", "total": 58.0, "currency": "EUR"},
            {"id": "O-100266", "customer": "C-4711", "status": "open", "total": 7.45, "currency": "EUR"},
        ],
        "next": null, "note": "ok, complete list",
    });
    let text = serde_json::Value::String(orders.to_string());
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[{{"type":"text","text":{text}}}],"isError":false,"resultType":"complete"}}}}"#
    )
    .into_bytes()
}

/// The same with its head.
#[must_use]
pub fn answer(id: &str) -> Vec<u8> {
    let body = answer_body(id);
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_that_are_quoted() {
        let credential = Credential::fixed();
        assert!((TOKEN_BYTES..TOKEN_BYTES + 16).contains(&credential.token.len()));
        assert_eq!(credential.token, Credential::fixed().token);
        for tool in [ALLOWED, DENIED, CONDITIONAL] {
            assert_eq!(call_body(tool).len(), BODY_BYTES);
        }
        let head = head("/servers/orders/mcp", &credential.token, "tools/call", Some(ALLOWED), 282);
        assert!((1_250..1_400).contains(&head.len()), "{}", head.len());
        assert_eq!(answer_body("1000000007").len(), 488);
    }
}
