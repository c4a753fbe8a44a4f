//! Answers on their way back: SSE events, tool lists, and what an answer says.
