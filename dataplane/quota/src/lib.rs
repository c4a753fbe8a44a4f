//! Quotas: how often a caller may call.
