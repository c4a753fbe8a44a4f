//! The control plane's state in SQL: revisions, objects, sealed secrets.
