//! Database users that people read results with: checks their rights, and bounds how long they hold what others need.

use tracing::{info, warn};
use trawl_domain::secret::Secret;
use url::Url;

use super::{App, AppError};
use crate::store::readers::{self, Found};

/// Why a URL cannot be given to people who read results.
#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    /// The message does not name the wrong part: that may be the password.
    #[error(
        "--reader-url-file: must be postgres://USER:PASSWORD@HOST:PORT/DATABASE, with a user of letters, digits, '-' and '_'"
    )]
    BadUrl,
    /// No such user.
    #[error(
        "--reader-url-file: the database has no user {0}: let a superuser make it, and run deploy/postgres/roles.sql, which says \
         how it has to be"
    )]
    Nobody(String),
    /// Its password would be shown, and permits more than reading.
    #[error(
        "--reader-url-file: the user {0} of the database is not one that reads results alone: it has to be a member of \
         trawl_reader, without any right over others, as deploy/postgres/roles.sql has it"
    )]
    NotAReader(String),
    /// The database gave no answer.
    #[error(transparent)]
    App(#[from] AppError),
}

/// Makes sure that the user of a URL can only read results: the URL is shown to people.
///
/// # Errors
/// A malformed URL, no such user, or one with more rights.
pub async fn check_reader(app: &App, url: &Secret) -> Result<(), ReaderError> {
    let user = user_of(url).ok_or(ReaderError::BadUrl)?;
    let mut conn = app.pool.acquire().await.map_err(AppError::from)?;
    match readers::find(&mut conn, &user).await.map_err(AppError::from)? {
        Found::Nobody => Err(ReaderError::Nobody(user)),
        Found::Other => Err(ReaderError::NotAReader(user)),
        Found::Reader { keeps } => {
            if keeps {
                warn!(
                    reader = user,
                    "who reads results may keep temporary tables and advisory locks: deploy/postgres/roles.sql was not run in this database"
                );
            }
            Ok(())
        }
    }
}

/// Logs the rights in Postgres that the coordinator should not have, and those that it lacks.
///
/// # Errors
/// Postgres has no answer.
pub async fn look_for_rights(app: &App) -> Result<(), AppError> {
    let rights = readers::rights(&mut *app.pool.acquire().await?).await?;
    if rights.is_superuser {
        info!("this coordinator is a superuser of Postgres, and need not be: deploy/postgres/roles.sql");
    }
    if !rights.out_of_reach.is_empty() {
        warn!(
            readers = rights.out_of_reach.join(", "),
            "this coordinator may not end the sessions of these users, who may hold back Postgres's tidying: GRANT them to its user"
        );
    }
    Ok(())
}

/// Ends the sessions of readers that hold an old snapshot: Postgres cannot tidy up the tables that workers write to meanwhile.
///
/// # Errors
/// Postgres has no answer.
pub async fn end_overdue(app: &App) -> Result<(), AppError> {
    let limit = app.settings.reader_transaction_limit;
    let ended = readers::end_overdue(&mut *app.pool.acquire().await?, limit).await?;
    if ended > 0 {
        info!(
            sessions.ended = ended,
            transaction.limit_ms = limit.as_millis() as u64,
            "sessions of readers ended: their transactions lasted too long"
        );
    }
    Ok(())
}

/// The user of a URL of Postgres.
fn user_of(url: &Secret) -> Option<String> {
    let url = Url::parse(url.expose()).ok()?;
    let user = url.username();
    let is_plain = !user.is_empty()
        && user
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let is_postgres =
        ["postgres", "postgresql"].contains(&url.scheme()) && url.host_str().is_some_and(|host| !host.is_empty());
    (is_postgres && is_plain && url.password().is_some()).then(|| user.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_plain_user_and_a_password() {
        let read = |url: &str| user_of(&Secret::new(url));
        let wanted = Some("reader".to_owned());
        assert_eq!(read("postgres://reader:a1-_@127.0.0.1:5432/trawl"), wanted);
        assert_eq!(read("postgresql://reader:p%20w@db/trawl"), wanted);
        for wrong in [
            "reader",
            "postgres://reader@db/trawl",
            "postgres://:pw@db/trawl",
            "postgres://re%20ader:pw@db/trawl",
            "http://reader:pw@db/trawl",
            "postgres:///trawl",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
