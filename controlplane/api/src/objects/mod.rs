//! The objects that make up a revision: what people write, and what is kept beside it.
//!
//! Written by people (a folder or single requests): gateway, tenants, identity providers, servers,
//! roles, groups, policies, quotas, policy tests. Kept beside them, changed by requests of their own
//! and never by a folder or a rollback: pinned tools, fetched keys, API keys.
//!
//! Every object checks itself; a check names the field and what to write.

mod attribution;
mod gateway;
mod identity;
mod keys;
mod ladder;
mod own;
mod people;
mod policy;
mod quota;
mod server;

pub use attribution::Attribution;
pub use gateway::Gateway;
pub use identity::{Claims, Identity, Jwks};
pub use keys::ApiKey;
pub use ladder::{DropStep, Ladder};
pub(crate) use own::check_together;
pub use people::{Group, Role, Tenant};
pub(crate) use policy::check_path;
pub use policy::{Policy, PolicyTest};
pub use quota::{Per, Quota};
pub use server::{Era, Inject, PinnedTool, Pins, Server, Timeouts, ToolFlags};

use crate::Problem;
use crate::bounds::{LIST_MAX, URL_BYTES_MAX};
use crate::names::shown;

/// Refuses lists that are too long.
fn check_list<T>(field: &str, list: &[T], max: usize) -> Result<(), Problem> {
    if list.len() <= max {
        return Ok(());
    }
    Err(Problem::invalid(format!("`{field}` has {} entries", list.len()))
        .field(field)
        .help(format!("at most {max} are taken")))
}

/// Hosts as in a `Host` header: a name or an address, with an optional port.
fn check_host(field: &str, host: &str) -> Result<(), Problem> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    if !host.is_empty() && host.len() <= 255 && host.bytes().all(plain) {
        return Ok(());
    }
    Err(Problem::invalid(format!("`{}` is no host", shown(host))).field(field).help(
        "write a name or an address with an optional port, for example `gateway.example.com`",
    ))
}

/// An address that we connect to or announce: http(s), a host, no user, no fragment, no spaces.
fn check_url(field: &str, url: &str) -> Result<(), Problem> {
    let refused = |why: &str| {
        Err(Problem::invalid(format!("`{}` {why}", shown(url)))
            .field(field)
            .help("write an address like `https://host.example.com:8000/mcp`"))
    };
    if url.len() > URL_BYTES_MAX {
        return refused("is longer than 2,048 bytes");
    }
    if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return refused("holds spaces, control characters or letters beyond ASCII");
    }
    let Some(rest) = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")) else {
        return refused("does not begin with http:// or https://");
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return refused("holds a user name; put credentials into a secret");
    }
    if url.contains(['#', '"', '\\', '<', '>']) {
        return refused("holds a fragment or a character that no URL may hold");
    }
    if check_host(field, authority).is_err() || authority.starts_with(':') {
        return refused("has no usable host");
    }
    Ok(())
}

/// A list that people may write as a single text.
fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Visitor;
    impl<'de> serde::de::Visitor<'de> for Visitor {
        type Value = Vec<String>;
        fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            out.write_str("a text or a list of texts")
        }
        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<String>, E> {
            Ok(vec![text.to_owned()])
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(
            self,
            mut seq: A,
        ) -> Result<Vec<String>, A::Error> {
            let mut list = Vec::new();
            while let Some(text) = seq.next_element()? {
                if list.len() >= LIST_MAX {
                    return Err(serde::de::Error::custom(format!("more than {LIST_MAX} entries")));
                }
                list.push(text);
            }
            Ok(list)
        }
    }
    deserializer.deserialize_any(Visitor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for good in ["http://crm.internal:8000/mcp", "https://[::1]:8443/mcp", "http://a/?x=1"] {
            assert_eq!(check_url("url", good), Ok(()), "{good}");
        }
        let long = format!("https://a/{}", "a".repeat(URL_BYTES_MAX));
        for bad in [
            "",
            "ftp://a",
            "http://",
            "http://u:p@a/",
            "http://a/#x",
            "http://a b/",
            "http:///x",
            &long,
        ] {
            assert!(check_url("url", bad).is_err(), "{bad}");
        }
    }
}
