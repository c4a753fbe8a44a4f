//! End to end: real processes, sockets and SDKs.
