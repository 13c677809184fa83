//! Tokens of a coordinator that was started with one, and what a refused call must not change.

mod effective;
mod walk;

use anyhow::Context;
use sqlx::PgPool;
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

/// All rows of all tables of trawl, as text.
///
/// # Errors
/// Postgres does not answer.
pub async fn all_tables(owner: &PgPool) -> anyhow::Result<Vec<(String, String)>> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'trawl_store' ORDER BY 1",
    )
    .fetch_all(owner)
    .await?;
    let mut content = Vec::new();
    for table in tables {
        let query =
            format!("SELECT coalesce(string_agg(t::text, E'\\n' ORDER BY t::text), '') FROM trawl_store.{table} t");
        let rows = sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_one(owner).await?;
        content.push((table, rows));
    }
    Ok(content)
}
