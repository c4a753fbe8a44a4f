//! HTTP/1.1 request framing: what two parsers could read two ways is refused.
