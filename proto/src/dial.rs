//! Connects to a coordinator: by its URL, with TLS if the URL begins with `https`.

use std::error::Error;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use tonic::Status;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, Uri};
use trawl_domain::secret::Secret;

/// The user's choices for TLS, all optional.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsChoice {
    /// Authorities that must have signed the coordinator's certificate; by default the public ones of the web.
    pub ca: Option<PathBuf>,
    /// The certificate for a coordinator that requires one, and its private key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name in the coordinator's certificate, if it differs from the URL's.
    pub server_name: Option<String>,
    /// True if a token may go to another machine without TLS.
    pub insecure: bool,
}

/// Why no endpoint could be made.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The URL is malformed.
    #[error("{url} is no URL such as http://127.0.0.1:50051 or https://trawl.example.org:50051")]
    NoUrl {
        /// The URL as given.
        url: String,
    },
    /// The token would go where others may read it.
    #[error(
        "{url} is reached without TLS, and who sees the token on its way has it: an https:// URL keeps it secret, --insecure \
         (TRAWL_INSECURE) sends it all the same"
    )]
    Clear {
        /// The URL as given.
        url: String,
    },
    /// A file is unreadable or invalid.
    #[error("{flag} {file}: {reason}")]
    File {
        /// The flag that names it.
        flag: &'static str,
        /// Its path.
        file: String,
        /// The fault.
        reason: String,
    },
    /// The files do not fit together.
    #[error("TLS: {0}")]
    Tls(String),
}

/// The endpoint at a URL, for calls with this token. Without a scheme, it is `http`.
///
/// # Errors
/// A malformed URL, a token that would leave this machine in the clear, or an unreadable file.
pub fn endpoint(url: &str, tls: &TlsChoice, token: Option<&Secret>) -> Result<Endpoint, DialError> {
    let no_url = || DialError::NoUrl { url: url.to_owned() };
    let full = match url.split_once("://") {
        Some(("http" | "https", _)) => url.to_owned(),
        Some(_) => return Err(no_url()),
        None => format!("http://{url}"),
    };
    let endpoint = Endpoint::from_shared(full.clone()).map_err(|_| no_url())?;
    if !full.starts_with("https://") {
        return if token.is_some() && !tls.insecure && !is_loopback(endpoint.uri()) {
            Err(DialError::Clear { url: url.to_owned() })
        } else {
            Ok(endpoint)
        };
    }
    let mut config = match &tls.ca {
        None => ClientTlsConfig::new().with_webpki_roots(),
        Some(file) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read("--tls-ca", file)?)),
    };
    if let Some((cert, key)) = &tls.identity {
        config = config.identity(Identity::from_pem(read("--tls-cert", cert)?, read("--tls-key", key)?));
    }
    if let Some(name) = &tls.server_name {
        config = config.domain_name(name);
    }
    endpoint
        .tls_config(config)
        .map_err(|error| DialError::Tls(innermost(&error)))
}

/// True if data sent there stays on this machine.
fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

fn read(flag: &'static str, file: &Path) -> Result<Vec<u8>, DialError> {
    let failed = |reason: String| DialError::File {
        flag,
        file: file.display().to_string(),
        reason,
    };
    let content = std::fs::read(file).map_err(|error| failed(error.to_string()))?;
    // TLS would treat a file without certificates as an empty one, and fail only much later.
    if content.windows(11).any(|window| window == b"-----BEGIN ") {
        Ok(content)
    } else {
        Err(failed("there is nothing in PEM in it".to_owned()))
    }
}

/// Why a connection was not made or broke: the first cause, because tonic's own message is a bare "transport error".
pub fn reason(error: &(dyn Error + 'static)) -> String {
    let cause = innermost(error);
    if cause.contains("InvalidContentType") {
        return format!("{cause}; does it speak TLS? if not, its URL begins with http://");
    }
    cause
}

/// The message of a failed call: the peer's, or the reason why the peer was not reached.
pub fn status_message(status: &Status) -> String {
    match status.source() {
        // Only a status made on this side carries its cause.
        Some(cause) => reason(cause),
        // The first bytes of a page are none of gRPC's.
        None if status.message().contains("invalid compression flag") => {
            "what answers speaks HTTP and no gRPC; is this the web address? gRPC has one of its own".to_owned()
        }
        None => status.message().to_owned(),
    }
}

fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_be_named_without_a_scheme() {
        let uri = |url: &str| endpoint(url, &TlsChoice::default(), None).map(|endpoint| endpoint.uri().to_string());
        assert_eq!(uri("10.0.0.1:50051").unwrap(), "http://10.0.0.1:50051/");
        assert_eq!(uri("http://[::1]:50051").unwrap(), "http://[::1]:50051/");
        assert_eq!(uri("https://trawl.example.org").unwrap(), "https://trawl.example.org/");
        assert!(matches!(uri("ftp://x"), Err(DialError::NoUrl { .. })));
        assert!(matches!(uri("http://a b"), Err(DialError::NoUrl { .. })));
    }

    #[test]
    fn a_file_of_tls_is_looked_at_before_anything_is_sent() {
        let tls = TlsChoice {
            ca: Some("/nonexistent/ca.pem".into()),
            ..TlsChoice::default()
        };
        let error = endpoint("https://x", &tls, None).expect_err("no such file").to_string();
        assert!(error.starts_with("--tls-ca /nonexistent/ca.pem: "), "{error}");
        // Without TLS the files are unused, and do no harm.
        endpoint("http://x", &tls, None).unwrap();
    }
    #[test]
    fn a_token_leaves_this_machine_encrypted_or_by_the_users_word() {
        let token = Secret::new("trawl_1");
        let goes = |url: &str, insecure| {
            let tls = TlsChoice {
                insecure,
                ..TlsChoice::default()
            };
            endpoint(url, &tls, Some(&token)).map(drop)
        };
        for near in [
            "127.0.0.1:1",
            "http://127.9.9.9:1",
            "http://[::1]:1",
            "http://LocalHost:1",
        ] {
            goes(near, false).unwrap();
        }
        for far in [
            "10.0.0.1:1",
            "http://coordinator:50051",
            "http://0.0.0.0:1",
            "http://[2001:db8::1]:1",
            "http://localhost.example.org",
            "http://127.0.0.1.example.org",
            "http://localhost@example.org",
        ] {
            let error = goes(far, false).expect_err(far);
            assert!(matches!(error, DialError::Clear { .. }), "{error}");
            assert!(!error.to_string().contains("trawl_1"), "{error}");
            goes(far, true).unwrap();
            // Without a token there is nothing to keep secret.
            endpoint(far, &TlsChoice::default(), None).unwrap();
        }
        goes("https://example.org", false).unwrap();
    }
}
