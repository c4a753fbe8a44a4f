//! portcullis: the command line.
