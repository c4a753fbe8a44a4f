//! Properties that the fuzz targets check.

use crate::{Kind, Limits, Message, Node, Parser, StaticNode};

/// Any bytes: no panic, and what is accepted is exactly described by its byte ranges: the text
/// between them is separators, strings begin and end with quotes, and every value read by itself is
/// accepted again and is the same value.
pub fn message(bytes: &[u8]) {
    let mut parser = Parser::new(Limits::REQUEST);
    let accepted = parser.with(bytes, |message| {
        described(message);
        message.document.tape.len()
    });
    // The buffers of the first reading change nothing about the second.
    assert_eq!(accepted, parser.with(bytes, |message| message.document.tape.len()));
}

fn described(message: &Message<'_>) {
    let document = message.document;
    assert_eq!(document.tape.len(), document.extents.len());
    let mut again = Parser::new(Limits::REQUEST);
    for (index, node) in document.tape.iter().enumerate() {
        let raw = document.raw(index);
        let ends = (raw.first(), raw.last());
        match node {
            Node::String(text) => {
                assert_eq!(ends, (Some(&b'"'), Some(&b'"')));
                let same = again.with_document(raw, |inner| inner.text(0) == Some(text));
                assert_eq!(same, Ok(true));
            }
            Node::Object { .. } => assert_eq!(ends, (Some(&b'{'), Some(&b'}'))),
            Node::Array { .. } => assert_eq!(ends, (Some(&b'['), Some(&b']'))),
            Node::Static(StaticNode::Null) => assert_eq!(raw, b"null"),
            Node::Static(StaticNode::Bool(value)) => assert_eq!(raw == b"true", *value),
            Node::Static(number) => {
                let same =
                    again.with_document(raw, |inner| inner.node(0) == Some(Node::Static(*number)));
                assert_eq!(same, Ok(true));
            }
        }
    }
    if message.kind != Kind::Batch {
        assert!(message.kind == Kind::Response || message.method_raw.len() == message.method.len());
    }
}
