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
