//! Flags about access: which coordinator is asked, as whom and how encrypted; and the tokens that it is told to make.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use trawl_domain::secret::Secret;
use trawl_proto::credential;
use trawl_proto::dial::TlsChoice;

use super::FormatArgs;
use crate::error::Error;

/// Which coordinator is asked, and as whom.
///
/// Whether flags go together is checked here and not by clap, which looks at each half of a command line for itself: these
/// may stand before a subcommand and after it.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServerArgs {
    /// The coordinator's gRPC address; https:// for one that speaks TLS. Several of one database are separated by commas: the first
    /// that answers is asked.
    #[arg(
        long = "server",
        value_name = "URL",
        env = "TRAWL_SERVER",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:50051",
        global = true
    )]
    pub(crate) servers: Vec<String>,
    /// The credential, sent as `authorization: Bearer …`. For experiments: other users see arguments, so prefer the variable
    /// or --token-file.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "TRAWL_TOKEN",
        hide_env_values = true,
        global = true
    )]
    token: Option<Secret>,
    /// File with the credential, instead.
    #[arg(long, value_name = "FILE", env = "TRAWL_TOKEN_FILE", global = true)]
    token_file: Option<PathBuf>,
    /// Authorities, in PEM, that the coordinator's certificate has to come from; the public ones where left out.
    #[arg(long, value_name = "FILE", env = "TRAWL_TLS_CA", global = true)]
    tls_ca: Option<PathBuf>,
    /// Certificate, in PEM, for a coordinator that asks for one; for `trawl up`, that of its coordinator.
    #[arg(long, value_name = "FILE", env = "TRAWL_TLS_CERT", global = true)]
    tls_cert: Option<PathBuf>,
    /// Its private key, in PEM.
    #[arg(long, value_name = "FILE", env = "TRAWL_TLS_KEY", global = true)]
    tls_key: Option<PathBuf>,
    /// Name that the coordinator's certificate is for, where the URL has another.
    #[arg(long, value_name = "NAME", env = "TRAWL_TLS_SERVER_NAME", global = true)]
    tls_server_name: Option<String>,
    /// Send the token without TLS to a coordinator on another machine, too; for `trawl up`, let its coordinator listen beyond
    /// loopback without a token or without TLS.
    #[arg(long, env = "TRAWL_INSECURE", global = true)]
    insecure: bool,
}

impl ServerArgs {
    /// The credential.
    ///
    /// # Errors
    /// Two of them, or a file without one.
    pub(crate) fn token(&self) -> Result<Option<Secret>, Error> {
        if self.token.as_ref().is_some_and(|token| !token.is_empty()) && self.token_file.is_some() {
            return Err(Error::Usage(
                "there are two tokens, of --token or TRAWL_TOKEN and of --token-file or TRAWL_TOKEN_FILE".into(),
            ));
        }
        credential::token(self.token.as_ref(), self.token_file.as_deref())
            .map_err(|error| Error::Usage(error.to_string()))
    }

    /// What of TLS the user decided.
    ///
    /// # Errors
    /// Half of a pair.
    pub(crate) fn tls(&self) -> Result<TlsChoice, Error> {
        let identity = match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => Some((cert.clone(), key.clone())),
            (None, None) => None,
            (Some(_), None) => return Err(Error::Usage("--tls-cert needs --tls-key".into())),
            (None, Some(_)) => return Err(Error::Usage("--tls-key needs --tls-cert".into())),
        };
        Ok(TlsChoice {
            ca: self.tls_ca.clone(),
            identity,
            server_name: self.tls_server_name.clone(),
            insecure: self.insecure,
        })
    }
}

#[derive(Subcommand, Debug)]
pub(crate) enum TokenCommand {
    /// Make a token; prints it alone, as in TOKEN=$(trawl token create …). It is shown this once.
    Create(TokenCreateArgs),
    /// List the tokens, the newest first; prints their names, roles and states, never the tokens.
    List(FormatArgs),
    /// End a token; calls with it are refused from then on. Prints `token NAME revoked`.
    Revoke(TokenRevokeArgs),
}

#[derive(Args, Debug)]
pub(crate) struct TokenCreateArgs {
    /// A name for it, of a-z, 0-9 and '-'.
    pub(crate) name: String,
    /// What it is for. admin: everything; user: submits, steers and reads studies; worker: trains; reader: reads studies.
    #[arg(long, env = "TRAWL_ROLE", value_parser = ["admin", "user", "worker", "reader"])]
    pub(crate) role: String,
    /// When it ends by itself, from now: a number with s, m, h, d or w, such as 30d; never where left out.
    #[arg(long, value_name = "TIME", env = "TRAWL_EXPIRES", value_parser = seconds)]
    pub(crate) expires: Option<u64>,
}

#[derive(Args, Debug)]
pub(crate) struct TokenRevokeArgs {
    /// Name or id.
    #[arg(value_name = "NAME")]
    pub(crate) which: String,
}

/// Seconds of a time such as `30d`.
fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || "is no time such as 90s, 30m, 12h, 30d or 4w".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let length = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 24 * 3_600,
        'w' => 7 * 24 * 3_600,
        _ => return Err(wrong()),
    };
    let number = text.strip_suffix(unit).unwrap_or_default();
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(length))
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_number_and_a_unit() {
        for (text, wanted) in [
            ("90s", 90),
            ("2m", 120),
            ("1h", 3_600),
            ("30d", 2_592_000),
            ("1w", 604_800),
        ] {
            assert_eq!(seconds(text), Ok(wanted), "{text}");
        }
        for wrong in [
            "",
            "30",
            "d",
            "-1d",
            "+1d",
            "1.5h",
            "1 d",
            "1y",
            "99999999999999999999d",
            "9999999999999999999w",
            "1ü",
        ] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
