//! `trawl token create`, `list` and `revoke`: who may call the coordinator.

use trawl_proto::v1::{CreateTokenRequest, ListTokensRequest, RevokeTokenRequest, Token};

use crate::args::{TokenCommand, TokenCreateArgs};
use crate::client::{AccessClient, unary};
use crate::error::{Error, say};
use crate::output::{Cell, Column, Format, Listing, Output, Page};

/// Tokens of a page: what the coordinator gives at once.
const PAGE_SIZE: u32 = 1_000;

/// Runs the command that was given.
pub(super) async fn token(client: &mut AccessClient, command: &TokenCommand, output: &mut Output) -> Result<(), Error> {
    match command {
        TokenCommand::Create(args) => create(client, args, output).await,
        TokenCommand::List(format) => list(client, (*format).into(), output).await,
        TokenCommand::Revoke(args) => {
            let request = RevokeTokenRequest {
                token: args.which.clone(),
            };
            let revoked = client.revoke_token(unary(request)).await?.into_inner().token;
            output.line(&format!("token {} revoked", revoked.unwrap_or_default().name))?;
            output.flush()
        }
    }
}

/// Prints the token alone, for `TOKEN=$(trawl token create …)`.
async fn create(client: &mut AccessClient, args: &TokenCreateArgs, output: &mut Output) -> Result<(), Error> {
    let request = CreateTokenRequest {
        name: args.name.clone(),
        role: args.role.clone(),
        lifetime_seconds: args.expires,
    };
    let created = client.create_token(unary(request)).await?.into_inner();
    output.line(&created.text)?;
    output.flush()?;
    if output.is_terminal() {
        say("keep it: it is shown this once");
    }
    Ok(())
}

async fn list(client: &mut AccessClient, format: Format, output: &mut Output) -> Result<(), Error> {
    let page = async |page_token| {
        let request = ListTokensRequest {
            page_size: PAGE_SIZE,
            page_token,
        };
        let page = client.list_tokens(unary(request)).await?.into_inner();
        Ok(Page {
            items: page.tokens,
            next_page_token: page.next_page_token,
        })
    };
    listing().print(format, output, page).await
}

fn listing() -> Listing<Token> {
    let column = |name: &str, cell: fn(&Token) -> Cell| Column::new(name, cell);
    let columns = vec![
        column("name", |token| Cell::text(&token.name)).titled("name"),
        column("role", |token| Cell::text(&token.role)).titled("role"),
        column("state", |token| Cell::text(&token.state)).titled("state"),
        column("created_at", |token| Cell::time(token.created_at)).titled("created (UTC)"),
        column("expires_at", |token| Cell::time(token.expires_at)).titled("expires (UTC)"),
        column("revoked_at", |token| Cell::time(token.revoked_at)).titled("revoked (UTC)"),
        column("token_id", |token| Cell::text(&token.token_id)).titled("id"),
    ];
    Listing {
        plural: "tokens",
        columns,
    }
}
