//! `trawl.v1.AccessService`.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use trawl_domain::access::TokenRequest;
use trawl_proto::v1;
use trawl_proto::v1::access_service_server::AccessService;

use super::status::invalid_field;
use super::study_service::page_size;
use super::study_view::timestamp;
use super::{in_time, page_token, status};
use crate::app::auth::Authenticator;
use crate::app::{App, issue_token};
use crate::store::tokens::TokenRecord;

/// The administrators' service.
#[derive(Clone, Debug)]
pub struct Tokens {
    app: Arc<App>,
    authenticator: Arc<Authenticator>,
}

impl Tokens {
    /// The service; notifies `authenticator` when tokens change.
    pub fn new(app: Arc<App>, authenticator: Arc<Authenticator>) -> Self {
        Self { app, authenticator }
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl AccessService for Tokens {
    async fn create_token(&self, request: Request<v1::CreateTokenRequest>) -> Answer<v1::CreateTokenResponse> {
        let request = request.into_inner();
        let checked = TokenRequest::check(request.name, &request.role, request.lifetime_seconds)
            .map_err(|violations| status::invalid(&violations))?;
        let (text, record) = in_time(issue_token::create_token(&self.app, &self.authenticator, &checked)).await?;
        Ok(Response::new(v1::CreateTokenResponse {
            text: text.expose().to_owned(),
            token: Some(token(record)),
        }))
    }

    async fn list_tokens(&self, request: Request<v1::ListTokensRequest>) -> Answer<v1::ListTokensResponse> {
        let request = request.into_inner();
        let limit = page_size(request.page_size, 100, 1_000)?;
        let after = page_token::read_moment(&request.page_token)?;
        let records = in_time(issue_token::list_tokens(&self.app, after, limit)).await?;
        let next_page_token = records
            .last()
            .filter(|_| records.len() == limit as usize)
            .map(|last| page_token::moment(last.created_at, &last.token_id));
        Ok(Response::new(v1::ListTokensResponse {
            tokens: records.into_iter().map(token).collect(),
            next_page_token: next_page_token.unwrap_or_default(),
        }))
    }

    async fn revoke_token(&self, request: Request<v1::RevokeTokenRequest>) -> Answer<v1::RevokeTokenResponse> {
        let name = request.into_inner().token;
        if name.is_empty() {
            return Err(invalid_field("token", "is missing"));
        }
        let record = in_time(issue_token::revoke_token(&self.app, &self.authenticator, &name)).await?;
        Ok(Response::new(v1::RevokeTokenResponse {
            token: Some(token(record)),
        }))
    }
}

fn token(record: TokenRecord) -> v1::Token {
    v1::Token {
        token_id: record.token_id.to_string(),
        name: record.name,
        role: record.role.to_string(),
        state: record.state,
        created_at: Some(timestamp(record.created_at)),
        expires_at: record.expires_at.map(timestamp),
        revoked_at: record.revoked_at.map(timestamp),
    }
}
