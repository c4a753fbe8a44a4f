//! The life of a call, as one state machine without IO.
