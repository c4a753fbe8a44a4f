//! Where a server is: its URL, taken apart once and kept ready for each request.
//!
//! `http` and `https` only. No user or password (secrets are injected from the vault), no fragment,
//! and no spelling of a host that resolvers read in several ways (`0x7f.1`, `127.1`).

use core::net::{Ipv4Addr, Ipv6Addr};

use thiserror::Error;

use crate::limits::URL_BYTES_MAX;

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin {
    scheme: Scheme,
    host: String,
    port: u16,
    authority: String,
    path: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    Http,
    Https,
}

/// What is wrong with a server's URL.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum OriginFault {
    #[error("the URL is longer than {URL_BYTES_MAX} bytes")]
    TooLong,
    #[error("the URL must start with http:// or https://")]
    Scheme,
    #[error(
        "the URL holds a user or a password; store it with `portcullis secrets set` and inject it"
    )]
    UserInfo,
    #[error("the URL holds a fragment (`#`), which is never sent to a server; remove it")]
    Fragment,
    #[error("the host is neither a DNS name, an IPv4 address of four decimal numbers, nor [IPv6]")]
    Host,
    #[error("the port is not a number from 1 to 65535")]
    Port,
    #[error("the path holds a character that must be escaped, a bad escape, or a `.` segment")]
    Path,
}

impl Origin {
    /// Takes a URL apart. The host becomes lower case; an absent path is `/`; a query is kept.
    ///
    /// # Errors
    /// The part that is wrong.
    pub fn parse(url: &str) -> Result<Self, OriginFault> {
        if url.len() > URL_BYTES_MAX {
            return Err(OriginFault::TooLong);
        }
        let (scheme, rest) = url.split_once("://").ok_or(OriginFault::Scheme)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(OriginFault::Scheme),
        };
        if rest.contains('#') {
            return Err(OriginFault::Fragment);
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(OriginFault::UserInfo);
        }
        let (host, port) = split_port(authority)?;
        let (host, shown) = check_host(host)?;
        let port = port.unwrap_or(scheme.default_port());
        let authority =
            if port == scheme.default_port() { shown } else { format!("{shown}:{port}") };
        Ok(Self { scheme, host, port, authority, path: check_path(path)? })
    }

    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// For resolving and for the server's certificate: lower case, an IPv6 address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// For `Host`: brackets around IPv6, the port only when it is not the scheme's.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// For the request line: starts with `/`, has the query.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl Scheme {
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), OriginFault> {
    let after_host = if authority.starts_with('[') {
        authority.find(']').ok_or(OriginFault::Host)? + 1
    } else {
        authority.find(':').unwrap_or(authority.len())
    };
    let (host, port) = authority.split_at(after_host);
    let Some(digits) = port.strip_prefix(':') else {
        return if port.is_empty() { Ok((host, None)) } else { Err(OriginFault::Host) };
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(OriginFault::Port);
    }
    match digits.parse() {
        Ok(port) if port > 0 => Ok((host, Some(port))),
        _ => Err(OriginFault::Port),
    }
}

/// The host as it is resolved, and as it is written in `Host`.
fn check_host(host: &str) -> Result<(String, String), OriginFault> {
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        let address: Ipv6Addr = address.parse().map_err(|_| OriginFault::Host)?;
        return Ok((address.to_string(), format!("[{address}]")));
    }
    let name = host.to_ascii_lowercase();
    let label = |label: &str| {
        let inner = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        (1..=63).contains(&label.len())
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    let numeric = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    if name.len() > 253
        || !name.split('.').all(label)
        || (numeric && name.parse::<Ipv4Addr>().is_err())
    {
        return Err(OriginFault::Host);
    }
    Ok((name.clone(), name))
}

fn check_path(path: &str) -> Result<String, OriginFault> {
    let allowed = |byte: u8| {
        matches!(byte, 0x21..=0x7e)
            && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
    };
    let escapes = path.split('%').skip(1).all(|rest| {
        rest.as_bytes().get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
    });
    let plain = path.split('?').next().unwrap_or_default();
    let dots = plain.split('/').any(|segment| segment == "." || segment == "..");
    if !path.bytes().all(allowed) || !escapes || dots {
        return Err(OriginFault::Path);
    }
    Ok(if path.starts_with('/') { path.to_owned() } else { format!("/{path}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        for (url, scheme, host, port, authority, path) in [
            (
                "http://crm.internal:8000/mcp",
                Scheme::Http,
                "crm.internal",
                8000,
                "crm.internal:8000",
                "/mcp",
            ),
            (
                "HTTPS://CRM.Example.com",
                Scheme::Https,
                "crm.example.com",
                443,
                "crm.example.com",
                "/",
            ),
            ("https://h:443/a%20b?c=d/..", Scheme::Https, "h", 443, "h", "/a%20b?c=d/.."),
            ("http://h?x", Scheme::Http, "h", 80, "h", "/?x"),
            ("http://10.0.0.7/", Scheme::Http, "10.0.0.7", 80, "10.0.0.7", "/"),
            ("http://[2001:DB8::1]:81/", Scheme::Http, "2001:db8::1", 81, "[2001:db8::1]:81", "/"),
            ("http://my_server/", Scheme::Http, "my_server", 80, "my_server", "/"),
        ] {
            let origin = Origin::parse(url).unwrap();
            let found = (origin.scheme(), origin.host(), origin.port(), origin.authority());
            assert_eq!(found, (scheme, host, port, authority), "{url}");
            assert_eq!(origin.path(), path, "{url}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (fault, urls) in [
            (OriginFault::Scheme, &["", "h", "ftp://h", "//h", "http:/h", "unix:///run/x"][..]),
            (OriginFault::UserInfo, &["http://u@h/", "http://u:p@h/", "http://h:80@evil/"]),
            (OriginFault::Fragment, &["http://h/#", "http://h#x", "http://h/a#b"]),
            (OriginFault::Port, &["http://h:/", "http://h:0", "http://h:65536", "http://h:+80"]),
            (
                OriginFault::Host,
                &["http://", "http:///mcp", "http://a..b", "http://.", "http://h."],
            ),
            (
                OriginFault::Host,
                &["http://-h", "http://h-", "http://a b", "http://h\\x", "http://\u{e9}"],
            ),
            (
                OriginFault::Host,
                &["http://127.1", "http://0x7f.1", "http://2130706433", "http://1.2.3.256"],
            ),
            (OriginFault::Host, &["http://0177.0.0.1", "http://0x7f000001", "http://a.0x1"]),
            (
                OriginFault::Host,
                &["http://[::1", "http://[::1]x", "http://[fe80::1%25eth0]", "http://[1]"],
            ),
            (OriginFault::Path, &["http://h/a b", "http://h/%zz", "http://h/%2", "http://h/../x"]),
            (
                OriginFault::Path,
                &["http://h/\u{e9}", "http://h/a\\b", "http://h/\r\nX: y", "http://h/."],
            ),
        ] {
            for url in urls {
                assert_eq!(Origin::parse(url), Err(fault), "{url}");
            }
        }
    }

    #[test]
    fn one_byte_past_the_limit() {
        let url = |len: usize| format!("http://h/{}", "a".repeat(len - 9));
        assert!(Origin::parse(&url(URL_BYTES_MAX)).is_ok());
        assert_eq!(Origin::parse(&url(URL_BYTES_MAX + 1)), Err(OriginFault::TooLong));
    }
}
