//! The credential of a call: a token from a flag, a variable or a file, sent in a header. Other secrets are read from
//! files in the same way.

use std::path::Path;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};
use trawl_domain::secret::Secret;

/// Why there is no credential. No message quotes the secret.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The file cannot be read.
    #[error("{flag} {file}: {error}")]
    Unreadable {
        /// The flag that names it.
        flag: &'static str,
        /// Its path.
        file: String,
        /// Why.
        error: std::io::Error,
    },
    /// The file is empty: naming one means that there should be a secret.
    #[error("{flag} {file}: there is nothing in it")]
    Empty {
        /// The flag that names it.
        flag: &'static str,
        /// Its path.
        file: String,
    },
    /// No header can carry it.
    #[error("the token holds characters that no header takes: only visible ASCII can be sent")]
    Unsendable,
}

/// The token from `--token` or `TRAWL_TOKEN`, or from `--token-file`. An empty one counts as none.
///
/// # Errors
/// The file has none.
pub fn token(text: Option<&Secret>, file: Option<&Path>) -> Result<Option<Secret>, CredentialError> {
    match file {
        Some(file) => from_file("--token-file", file).map(Some),
        None => Ok(text.filter(|text| !text.is_empty()).cloned()),
    }
}

/// The secret in a file, trimmed. `flag` named the file.
///
/// # Errors
/// The file has none.
pub fn from_file(flag: &'static str, file: &Path) -> Result<Secret, CredentialError> {
    let shown = file.display().to_string();
    match std::fs::read_to_string(file) {
        Ok(content) if content.trim().is_empty() => Err(CredentialError::Empty { flag, file: shown }),
        Ok(content) => Ok(Secret::new(content.trim())),
        Err(error) => Err(CredentialError::Unreadable {
            flag,
            file: shown,
            error,
        }),
    }
}

/// Adds the token, if there is one, to every call.
#[derive(Clone, Debug, Default)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Bearer {
    /// With a token, or without.
    ///
    /// # Errors
    /// The token does not fit in a header.
    pub fn new(token: Option<&Secret>) -> Result<Self, CredentialError> {
        let Some(token) = token else { return Ok(Self(None)) };
        let mut header: MetadataValue<Ascii> = format!("Bearer {}", token.expose())
            .parse()
            .map_err(|_| CredentialError::Unsendable)?;
        // This keeps it out of logs and of tables of compressed headers.
        header.set_sensitive(true);
        Ok(Self(Some(header)))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(header) = &self.0 {
            request.metadata_mut().insert("authorization", header.clone());
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_no_header_can_carry_is_refused_without_being_told() {
        let error = Bearer::new(Some(&Secret::new("hun\nter2"))).expect_err("a line break");
        assert!(!error.to_string().contains("ter2"), "{error}");
        assert!(Bearer::new(None).unwrap().0.is_none());
        let bearer = Bearer::new(Some(&Secret::new("hunter2"))).unwrap();
        assert!(!format!("{bearer:?}").contains("hunter2"), "{bearer:?}");
    }

    #[test]
    fn a_file_holds_a_token_and_an_end_of_line() {
        let file = std::env::temp_dir().join(format!("trawl-token-{}", std::process::id()));
        std::fs::write(&file, "trawl_1\n").unwrap();
        let read = token(Some(&Secret::new("other")), Some(&file)).unwrap();
        assert_eq!(read, Some(Secret::new("trawl_1")));
        std::fs::write(&file, "\n").unwrap();
        assert!(matches!(token(None, Some(&file)), Err(CredentialError::Empty { .. })));
        std::fs::remove_file(&file).unwrap();
        assert!(matches!(
            token(None, Some(&file)),
            Err(CredentialError::Unreadable { .. })
        ));
        assert_eq!(token(Some(&Secret::new("")), None).unwrap(), None);
        assert_eq!(token(None, None).unwrap(), None);
    }
}
