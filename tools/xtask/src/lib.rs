//! Every verb of this repository.
