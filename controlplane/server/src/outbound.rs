//! Requests that we make ourselves: to MCP servers and identity providers, nowhere else.
//!
//! No redirect is followed, no proxy of the environment is used: what is asked is what was
//! configured.

use std::time::Duration;

/// A client's beginning: TLS by rustls over ring, times bounded, nothing followed.
pub(crate) fn builder(connect: Duration) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(connect)
        .user_agent(concat!("portcullis-control/", env!("CARGO_PKG_VERSION")))
}

/// An error with all its causes, for people; never a header.
pub(crate) fn plain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
