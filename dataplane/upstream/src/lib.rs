//! Requests to MCP servers and the framing, health and pooling of their answers.
