//! JSON-RPC parsed once with SIMD, and the era that a request belongs to.
