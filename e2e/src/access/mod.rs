//! Tokens of a coordinator that was started with one, and what a refused call must not change.

mod effective;
mod walk;

use anyhow::Context;
use tonic::Request;
use tonic::transport::Channel;
use trawl_domain::secret::Secret;
use trawl_proto::credential::Bearer;
use trawl_proto::v1;
use trawl_proto::v1::access_service_client::AccessServiceClient;

use crate::system::Authorized;

pub use walk::{AccessWalk, until_refused, walk_every_rpc};

/// The administrators' service, asked by one.
#[derive(Debug)]
pub struct Admin(AccessServiceClient<Authorized>);

impl Admin {
    /// With a token of the role admin.
    ///
    /// # Errors
    /// It is no token.
    pub fn new(channel: &Channel, token: &str) -> anyhow::Result<Self> {
        let bearer = Bearer::new(Some(&Secret::new(token)))?;
        Ok(Self(AccessServiceClient::with_interceptor(channel.clone(), bearer)))
    }

    /// Makes a token.
    ///
    /// # Errors
    /// The coordinator refuses.
    pub async fn create(
        &mut self,
        name: &str,
        role: &str,
        lifetime_seconds: Option<u64>,
    ) -> Result<String, tonic::Status> {
        let request = v1::CreateTokenRequest {
            name: name.into(),
            role: role.into(),
            lifetime_seconds,
        };
        Ok(self.0.create_token(Request::new(request)).await?.into_inner().text)
    }

    /// All tokens, up to a page.
    ///
    /// # Errors
    /// The coordinator refuses.
    pub async fn list(&mut self) -> anyhow::Result<Vec<v1::Token>> {
        let request = v1::ListTokensRequest::default();
        Ok(self.0.list_tokens(Request::new(request)).await?.into_inner().tokens)
    }

    /// Ends a token.
    ///
    /// # Errors
    /// There is none.
    pub async fn revoke(&mut self, token: &str) -> anyhow::Result<v1::Token> {
        let request = v1::RevokeTokenRequest { token: token.into() };
        let answer = self.0.revoke_token(Request::new(request)).await?.into_inner();
        answer.token.context("no token in the answer")
    }
}
