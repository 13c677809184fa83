//! Access: roles, tokens, and the ports that may be open.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::limits::{TOKEN_LIFETIME_SECONDS_MAX, TOKEN_NAME_CHARS_MAX};
use crate::secret::Secret;
use crate::violation::Violations;
use trawl_dataset::word::UnknownWord;
use trawl_dataset::words;

words!(
    /// The role of a token.
    Role {
        /// Everything.
        Admin = "admin",
        /// Submits, steers and reads studies.
        User = "user",
        /// Trains: leases jobs, reports, and fetches the datasets of its jobs; reads no study.
        Worker = "worker",
        /// Reads studies.
        Reader = "reader",
    }
);

/// Prefix of tokens, by which people and scanners for leaked secrets recognise them.
pub const TOKEN_PREFIX: &str = "trawl_";

/// A new token of 256 bits of entropy.
pub fn token_text(entropy: [u8; 32]) -> Secret {
    let digits = entropy.iter().map(|byte| format!("{byte:02x}"));
    Secret::new(
        std::iter::once(TOKEN_PREFIX.to_owned())
            .chain(digits)
            .collect::<String>(),
    )
}

/// SHA-256 of a token, which is stored in the token's place. One round without salt suffices: nobody guesses 256 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash(pub [u8; 32]);

impl TokenHash {
    /// The hash of a token.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hash of a token)")
    }
}

/// A requested token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRequest {
    /// Unique among tokens that are not revoked; [a-z0-9-].
    pub name: String,
    /// Its role.
    pub role: Role,
    /// Time until it expires; `None` if it never does.
    pub lifetime: Option<Duration>,
}

impl TokenRequest {
    /// Checks a request.
    ///
    /// # Errors
    /// Every broken rule.
    pub fn check(name: String, role: &str, lifetime_seconds: Option<u64>) -> Result<Self, Violations> {
        let mut v = Violations::new();
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > TOKEN_NAME_CHARS_MAX || !name.chars().all(allowed) {
            v.add(
                "name",
                format!("must be 1 to {TOKEN_NAME_CHARS_MAX} characters of a-z, 0-9 and '-'"),
            );
        }
        let role = role
            .parse()
            .map_err(|error: UnknownWord| v.add("role", error.to_string()))
            .ok();
        if lifetime_seconds.is_some_and(|seconds| !(1..=TOKEN_LIFETIME_SECONDS_MAX).contains(&seconds)) {
            v.add(
                "lifetime_seconds",
                format!("must be from 1 to {TOKEN_LIFETIME_SECONDS_MAX}"),
            );
        }
        v.into_result(role.map(|role| Self {
            name,
            role,
            lifetime: lifetime_seconds.map(Duration::from_secs),
        }))
    }
}

/// The protection of a coordinator's ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protection {
    /// Calls need a token.
    pub token: bool,
    /// Connections are encrypted.
    pub tls: bool,
    /// The operator wants open ports.
    pub insecure: bool,
}

impl Protection {
    /// Why a port may not be opened, if it may not: a port is closed unless a setting opens it.
    pub fn refuses(self, flag: &str, addr: SocketAddr) -> Option<String> {
        if addr.ip().is_loopback() || self.insecure || (self.token && self.tls) {
            return None;
        }
        let missing = match (self.token, self.tls) {
            (false, false) => "a token (--token-file) and TLS (--tls-cert, --tls-key)",
            (false, true) => "a token (--token-file)",
            (true, _) => "TLS (--tls-cert, --tls-key)",
        };
        Some(format!(
            "{flag} {addr} is reached from other machines, which needs {missing}, or --insecure if an open port is meant"
        ))
    }

    /// The same for a port that never needs a token or TLS, whatever the other ports do.
    pub fn refuses_without_token(self, flag: &str, addr: SocketAddr) -> Option<String> {
        if addr.ip().is_loopback() || self.insecure {
            return None;
        }
        Some(format!(
            "{flag} {addr} is reached from other machines and asks for no token: --insecure if an open port is meant"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_a_prefix_and_all_of_its_entropy() {
        let token = token_text([0xa5; 32]);
        assert_eq!(token.expose(), format!("trawl_{}", "a5".repeat(32)));
        assert_ne!(TokenHash::of("a"), TokenHash::of("b"));
        assert_eq!(format!("{:?}", TokenHash([7; 32])), "(hash of a token)");
    }

    #[test]
    fn every_broken_rule_of_a_request_is_told() {
        let fields = |result: Result<TokenRequest, Violations>| {
            let violations = result.expect_err("it breaks rules");
            violations.iter().map(|v| v.field.clone()).collect::<Vec<_>>()
        };
        assert_eq!(
            fields(TokenRequest::check("A b".into(), "root", Some(0))),
            ["name", "role", "lifetime_seconds"]
        );
        for name in ["", "ü", "a_b", &"a".repeat(64)] {
            assert_eq!(
                fields(TokenRequest::check(name.into(), "user", None)),
                ["name"],
                "{name}"
            );
        }
        let most = TokenRequest::check("a".repeat(63), "reader", Some(TOKEN_LIFETIME_SECONDS_MAX)).unwrap();
        assert_eq!(most.role, Role::Reader);
        assert_eq!(
            fields(TokenRequest::check(
                "a".into(),
                "user",
                Some(TOKEN_LIFETIME_SECONDS_MAX + 1)
            )),
            ["lifetime_seconds"]
        );
    }

    #[test]
    fn beyond_loopback_a_port_needs_a_token_and_tls_or_the_operators_word() {
        let far: SocketAddr = "0.0.0.0:50051".parse().unwrap();
        let near: [SocketAddr; 2] = ["127.0.0.1:1".parse().unwrap(), "[::1]:1".parse().unwrap()];
        for (token, tls, insecure, named) in [
            (false, false, false, Some("a token (--token-file) and TLS")),
            (false, true, false, Some("needs a token (--token-file), or")),
            (true, false, false, Some("needs TLS")),
            (true, true, false, None),
            (false, false, true, None),
        ] {
            let protection = Protection { token, tls, insecure };
            assert!(near.iter().all(|addr| protection.refuses("--listen", *addr).is_none()));
            let open = |addr| protection.refuses_without_token("--metrics-listen", addr);
            assert!(near.iter().all(|addr| open(*addr).is_none()));
            assert_eq!(open(far).is_none(), insecure);
            match (protection.refuses("--listen", far), named) {
                (None, None) => {}
                (Some(reason), Some(named)) => {
                    assert!(reason.contains(named) && !reason.contains('\n'), "{reason}");
                    assert!(reason.starts_with("--listen 0.0.0.0:50051 "), "{reason}");
                }
                (found, wanted) => panic!("{protection:?}: {found:?}, not {wanted:?}"),
            }
        }
    }
}
