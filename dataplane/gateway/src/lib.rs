//! portcullis-gateway: the dataplane process.
