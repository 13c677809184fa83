//! Who may call: whoever knows the token, if the operator set one.

use sha2::{Digest, Sha256};
use tonic::service::Interceptor;
use tonic::{Request, Status};

/// Refuses calls without the right bearer token. Kept and compared as a hash: the time that a comparison takes tells
/// nothing about the token.
#[derive(Clone, Debug)]
pub struct Access(Option<[u8; 32]>);

impl Access {
    /// Only for those who know this token; for everybody if there is none.
    pub fn new(token: Option<&str>) -> Self {
        Self(token.map(|token| Sha256::digest(token).into()))
    }
}

impl Interceptor for Access {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let Some(expected) = self.0 else { return Ok(request) };
        let header = request
            .metadata()
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        let token = header.and_then(|header| header.strip_prefix("Bearer "));
        match token {
            Some(token) if <[u8; 32]>::from(Sha256::digest(token)) == expected => Ok(request),
            Some(_) => Err(Status::unauthenticated("the token is not known here")),
            None => Err(Status::unauthenticated(
                "a token is needed: authorization: Bearer TOKEN",
            )),
        }
    }
}
