//! Request targets: origin form, and spelled in the one way that nobody normalises.

use crate::fault::TargetRule;

/// Checks a target as it was sent, its query included.
///
/// # Errors
/// The first rule that it breaks.
pub(crate) fn check(target: &[u8]) -> Result<(), TargetRule> {
    if target.first() != Some(&b'/') {
        return Err(TargetRule::NotAPath);
    }
    let mut segment = Segment::Start;
    for byte in target.iter().skip(1) {
        segment = match (byte, segment) {
            (b'/', Segment::Start) => return Err(TargetRule::DoubleSlash),
            (b'/' | b'?', Segment::Dot | Segment::Dots) => return Err(TargetRule::DotSegment),
            (b'/', _) => Segment::Start,
            (b'.', Segment::Start) => Segment::Dot,
            (b'.', Segment::Dot) => Segment::Dots,
            (b'%', _) => return Err(TargetRule::Percent),
            (b';', _) => return Err(TargetRule::Semicolon),
            (b'#' | b'\\' | b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}', _) => {
                return Err(TargetRule::Byte);
            }
            (0x21..=0x7e, _) => Segment::Other,
            _ => return Err(TargetRule::Byte),
        };
    }
    match segment {
        Segment::Dot | Segment::Dots => Err(TargetRule::DotSegment),
        Segment::Start | Segment::Other => Ok(()),
    }
}

/// What the segment so far is made of.
#[derive(Clone, Copy)]
enum Segment {
    Start,
    Dot,
    Dots,
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_paths_pass() {
        for path in [
            "/",
            "/mcp",
            "/servers/crm/mcp",
            "/.well-known/oauth-protected-resource/servers/crm/mcp",
            "/a...b/..c/.d.",
            "/mcp?cursor=1",
            "/mcp/",
        ] {
            assert_eq!(check(path.as_bytes()), Ok(()), "{path}");
        }
    }

    #[test]
    fn absolute_form_is_refused() {
        for target in ["http://gateway/mcp", "https://gateway/mcp", "*", "gateway:443", "mcp", ""] {
            assert_eq!(check(target.as_bytes()), Err(TargetRule::NotAPath), "{target}");
        }
    }

    #[test]
    fn double_slash_is_refused() {
        for target in ["//mcp", "/mcp//", "/servers//mcp", "//"] {
            assert_eq!(check(target.as_bytes()), Err(TargetRule::DoubleSlash), "{target}");
        }
    }

    #[test]
    fn percent_is_refused() {
        for target in ["/%2e%2e/mcp", "/mc%70", "/mcp%00", "/mcp?a=%20"] {
            assert_eq!(check(target.as_bytes()), Err(TargetRule::Percent), "{target}");
        }
    }

    #[test]
    fn semicolon_is_refused() {
        assert_eq!(check(b"/mcp;v=1"), Err(TargetRule::Semicolon));
    }

    #[test]
    fn dot_segments_are_refused() {
        for target in ["/./mcp", "/a/../mcp", "/mcp/.", "/mcp/..", "/..?x", "/.?x"] {
            assert_eq!(check(target.as_bytes()), Err(TargetRule::DotSegment), "{target}");
        }
    }

    #[test]
    fn bytes_that_servers_rewrite_are_refused() {
        for byte in (0..=0x20_u8).chain(*b"#\\\"<>^`{|}").chain(0x7f..=0xff) {
            assert_eq!(check(&[b'/', byte]), Err(TargetRule::Byte), "{byte:#x}");
        }
    }
}
