//! What a name may look like, checked once and said plainly.
//!
//! Three alphabets: our own names (files, URLs and metrics carry them), servers (they become a part
//! of `server__tool`), and principals (whatever an identity provider writes, but for control
//! characters).

use crate::Problem;
use crate::bounds::{
    LABEL_BYTES_MAX, NAME_BYTES_MAX, PRINCIPAL_BYTES_MAX, TEXT_BYTES_MAX, TOOL_NAME_BYTES_MAX,
};

/// A name of our own: letters, digits, `_`, `-` and `.`, beginning with a letter or digit.
///
/// # Errors
/// Says which rule `name` breaks and what to write.
pub fn check_name(what: &str, name: &str) -> Result<(), Problem> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if begins && name.len() <= NAME_BYTES_MAX && name.bytes().all(plain) {
        return Ok(());
    }
    Err(Problem::invalid(format!("{what} name `{}` is not usable", shown(name))).help(format!(
        "use 1 to {NAME_BYTES_MAX} letters, digits, `_`, `-` or `.`, beginning with a letter or digit"
    )))
}

/// A DNS label: names of servers, quotas, providers, secrets and appliances. They stand in URLs, file
/// names and metrics, and `server__tool` must split one way.
///
/// # Errors
/// Says which rule `name` breaks and what to write.
pub fn check_label(what: &str, name: &str) -> Result<(), Problem> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let edges = name.starts_with('-') || name.ends_with('-') || name.contains("--");
    if !name.is_empty() && name.len() <= LABEL_BYTES_MAX && name.bytes().all(plain) && !edges {
        return Ok(());
    }
    Err(Problem::invalid(format!("{what} name `{}` is not usable", shown(name))).help(format!(
        "use 1 to {LABEL_BYTES_MAX} lower-case letters and digits, with single `-` between them"
    )))
}

/// A server's name.
///
/// # Errors
/// As [`check_label`].
pub fn check_server(name: &str) -> Result<(), Problem> {
    check_label("server", name)
}

/// A tenant, user, agent, role or group as an identity provider spells it.
///
/// # Errors
/// Says which rule `name` breaks and what to write.
pub fn check_principal(what: &str, name: &str) -> Result<(), Problem> {
    if !name.is_empty() && name.len() <= PRINCIPAL_BYTES_MAX && !name.chars().any(char::is_control)
    {
        return Ok(());
    }
    Err(Problem::invalid(format!("{what} `{}` is not usable", shown(name)))
        .help(format!("use 1 to {PRINCIPAL_BYTES_MAX} bytes without control characters")))
}

/// A tenant's name: as a principal, but without `/`, which separates it from its users and agents.
///
/// # Errors
/// Says which rule `name` breaks and what to write.
pub fn check_tenant(name: &str) -> Result<(), Problem> {
    check_principal("tenant", name)?;
    if name.contains('/') {
        return Err(Problem::invalid(format!("tenant `{}` holds a `/`", shown(name)))
            .help("use a name without `/`: it separates a tenant from its users and agents"));
    }
    Ok(())
}

/// `tenant/user` or `tenant/agent`, split at the first slash.
///
/// # Errors
/// When a part is missing or not usable.
pub fn split_member(what: &str, text: &str) -> Result<(String, String), Problem> {
    let Some((tenant, member)) = text.split_once('/') else {
        return Err(Problem::invalid(format!("{what} `{}` has no tenant", shown(text)))
            .help(format!("write `tenant/{what}`, for example `acme/ann`")));
    };
    check_tenant(tenant)?;
    check_principal(what, member)?;
    Ok((tenant.to_owned(), member.to_owned()))
}

/// `server/tool`, split at the first slash.
///
/// # Errors
/// When a part is missing or not usable.
pub fn split_tool(text: &str) -> Result<(String, String), Problem> {
    let Some((server, tool)) = text.split_once('/') else {
        return Err(Problem::invalid(format!("tool `{}` has no server", shown(text)))
            .help("write `server/tool`, for example `crm/refund`")
            .next("portcullis tools"));
    };
    check_server(server)?;
    check_tool_name(tool)?;
    Ok((server.to_owned(), tool.to_owned()))
}

/// A tool's own name: the alphabet of MCP 2025-11-25, "Tool Names".
///
/// # Errors
/// When it is empty, too long, or holds anything else.
pub fn check_tool_name(name: &str) -> Result<(), Problem> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    if !name.is_empty() && name.len() <= TOOL_NAME_BYTES_MAX && name.bytes().all(plain) {
        return Ok(());
    }
    Err(Problem::invalid(format!("tool name `{}` is not usable", shown(name)))
        .help(format!("use 1 to {TOOL_NAME_BYTES_MAX} letters, digits, `_`, `-` or `.`")))
}

/// A sentence of a person: a reason, a message, a description.
///
/// # Errors
/// When it is too long or holds control characters other than line ends and tabs.
pub fn check_text(field: &str, text: &str) -> Result<(), Problem> {
    let odd = |letter: char| letter.is_control() && letter != '\n' && letter != '\t';
    if text.len() <= TEXT_BYTES_MAX && !text.contains(odd) {
        return Ok(());
    }
    Err(Problem::invalid(format!("`{field}` is too long or holds control characters"))
        .field(field)
        .help(format!("use at most {TEXT_BYTES_MAX} bytes of plain text")))
}

/// What of an unusable name may be repeated in an answer: short, and nothing that moves a cursor.
#[must_use]
pub fn shown(name: &str) -> String {
    let clean = |letter: char| if letter.is_control() { '\u{fffd}' } else { letter };
    let short: String = name.chars().take(80).map(clean).collect();
    if short.chars().count() < name.chars().count() { format!("{short}…") } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_names_split_one_way() {
        for good in ["crm", "crm-2", "0x", &"a".repeat(63)] {
            assert_eq!(check_server(good), Ok(()), "{good}");
        }
        for bad in ["", "CRM", "a__b", "a_b", "-a", "a-", "a--b", "a/b", "a.b", &"a".repeat(64)] {
            assert!(check_server(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_past_the_longest_name_is_refused() {
        assert!(check_name("quota", &"a".repeat(NAME_BYTES_MAX)).is_ok());
        assert!(check_name("quota", &"a".repeat(NAME_BYTES_MAX + 1)).is_err());
        assert!(check_principal("user", &"a".repeat(PRINCIPAL_BYTES_MAX)).is_ok());
        assert!(check_principal("user", &"a".repeat(PRINCIPAL_BYTES_MAX + 1)).is_err());
        assert!(check_text("reason", &"a".repeat(TEXT_BYTES_MAX)).is_ok());
        assert!(check_text("reason", &"a".repeat(TEXT_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn a_hostile_name_cannot_move_the_cursor() {
        let problem = check_name("quota", "a\u{1b}[2J").unwrap_err();
        assert!(!problem.to_text().contains('\u{1b}'));
    }

    #[test]
    fn tools_and_members_split_at_the_first_slash() {
        assert_eq!(split_tool("crm/a.b"), Ok(("crm".into(), "a.b".into())));
        assert!(split_tool("crm/a/b").is_err());
        assert_eq!(split_member("user", "acme/x/y"), Ok(("acme".into(), "x/y".into())));
        assert!(split_tool("crm").is_err());
        assert!(split_member("user", "ann").is_err());
    }
}
