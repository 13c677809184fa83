//! The web port, as programs read it.

use reqwest::{Client, StatusCode};

/// Fetches a page, with a token if there is one.
///
/// # Errors
/// There is no answer.
pub async fn fetched(url: &str, token: Option<&str>) -> anyhow::Result<(StatusCode, String)> {
    let mut request = browser(Client::builder())?.get(url);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await?;
    Ok((answer.status(), answer.text().await?))
}

/// A client of these settings.
///
/// # Errors
/// They do not fit each other.
pub fn browser(settings: reqwest::ClientBuilder) -> anyhow::Result<Client> {
    // The cryptography is set for the whole process, and may be there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(settings.build()?)
}
