//! The audit log's format: records, segments, tree, checkpoints, verification.
