//! Which path leads where: the only entry points that exist.
//!
//! Paths match as exact bytes; whatever a proxy or a client might read another way (`//`, `%2e`, `;`)
//! was refused with the request head or is simply another path, which is not found. The table
//! [`ENTRY_POINTS`] is what tests enumerate, and [`route`] is driven by it.

use dataplane_bundle::is_name;

/// Where a request for `/mcp` or one of its documents points.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Endpoint<'a> {
    /// `/mcp`: the tools of all servers that the caller may see, named `server__tool`.
    Federated,
    /// `/servers/NAME/mcp`: one server, names untouched. Whether it exists is told to nobody who is
    /// not admitted.
    Server(&'a str),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// MCP over Streamable HTTP.
    Mcp,
    /// RFC 9728 protected resource metadata, without a token.
    Metadata,
}

/// One entry point: what stands before and after the endpoint's own path.
#[derive(Clone, Copy, Debug)]
pub struct EntryPoint {
    pub purpose: Purpose,
    pub is_federated: bool,
    prefix: &'static str,
    suffix: &'static str,
}

impl EntryPoint {
    /// The path, with `server` where the entry point names one.
    #[must_use]
    pub fn path(&self, server: &str) -> String {
        let server = if self.is_federated { "" } else { server };
        format!("{}{server}{}", self.prefix, self.suffix)
    }
}

const fn entry(
    purpose: Purpose,
    is_federated: bool,
    prefix: &'static str,
    suffix: &'static str,
) -> EntryPoint {
    EntryPoint { purpose, is_federated, prefix, suffix }
}

/// RFC 9728 §3.1: the well-known path goes between host and resource path.
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
const WELL_KNOWN_MCP: &str = "/.well-known/oauth-protected-resource/mcp";
const WELL_KNOWN_SERVER: &str = "/.well-known/oauth-protected-resource/servers/";

pub const ENTRY_POINTS: &[EntryPoint] = &[
    entry(Purpose::Mcp, true, "/mcp", ""),
    entry(Purpose::Mcp, false, "/servers/", "/mcp"),
    entry(Purpose::Metadata, true, WELL_KNOWN, ""),
    entry(Purpose::Metadata, true, WELL_KNOWN_MCP, ""),
    entry(Purpose::Metadata, false, WELL_KNOWN_SERVER, "/mcp"),
];

/// The entry point of a path, if there is one.
#[must_use]
pub fn route(path: &[u8]) -> Option<(Purpose, Endpoint<'_>)> {
    let path = std::str::from_utf8(path).ok()?;
    ENTRY_POINTS.iter().find_map(|point| {
        let name = path.strip_prefix(point.prefix)?.strip_suffix(point.suffix)?;
        if point.is_federated {
            return name.is_empty().then_some((point.purpose, Endpoint::Federated));
        }
        is_name(name).then_some((point.purpose, Endpoint::Server(name)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_point_routes_to_itself() {
        for point in ENTRY_POINTS {
            let path = point.path("crm-2");
            let (purpose, endpoint) = route(path.as_bytes()).unwrap();
            assert_eq!(purpose, point.purpose, "{path}");
            let expected =
                if point.is_federated { Endpoint::Federated } else { Endpoint::Server("crm-2") };
            assert_eq!(endpoint, expected, "{path}");
        }
    }

    #[test]
    fn nothing_near_an_entry_point_is_one() {
        for path in [
            "/",
            "",
            "/mcp/",
            "//mcp",
            "/MCP",
            "/mcp?x=1",
            "/mcp;a",
            "/%6dcp",
            "/servers//mcp",
            "/servers/a_b/mcp",
            "/servers/A/mcp",
            "/servers/a-/mcp",
            "/servers/-a/mcp",
            "/servers/a--b/mcp",
            "/servers/a/b/mcp",
            "/servers/../mcp",
            "/servers/a/mcp/",
            "/.well-known/oauth-protected-resource/",
            "/servers/mcp",
            "/mcp\u{e9}",
        ] {
            assert_eq!(route(path.as_bytes()), None, "{path}");
        }
        let long = format!("/servers/{}/mcp", "a".repeat(64));
        assert_eq!(route(long.as_bytes()), None);
        assert_eq!(route(b"/mcp\xff"), None);
    }
}
