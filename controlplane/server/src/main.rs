//! The `portcullis-control` process.
fn main() {}
