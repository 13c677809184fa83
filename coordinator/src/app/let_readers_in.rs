//! Makes the user of the database by whom people read results.

use trawl_domain::secret::Secret;
use url::Url;

use super::{App, AppError};
use crate::store::readers::{self, Found};

/// Why there is no such user.
#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    /// Which part is wrong is not told: the password is one of them.
    #[error(
        "--reader-url-file: must be postgres://USER:PASSWORD@HOST:PORT/DATABASE, user and password of letters, digits, '-' and '_'"
    )]
    BadUrl,
    /// It would change the password of one who may do more, or of somebody's who has nothing to do with trawl.
    #[error("--reader-url-file: there is a user {0} already, who is not one that only reads results; name another one")]
    NotAReader(String),
    /// The database cannot be asked.
    #[error(transparent)]
    App(#[from] AppError),
}

/// Makes the user that a URL names, or gives the one that was made before the URL's password.
///
/// # Errors
/// A malformed URL, or a user of that name who is no reader.
pub async fn let_readers_in(app: &App, url: &Secret) -> Result<(), ReaderError> {
    let (user, password) = user_of(url).ok_or(ReaderError::BadUrl)?;
    let mut tx = app.begin().await?;
    match readers::find(&mut tx, &user).await.map_err(AppError::from)? {
        Found::Nobody => readers::create(&mut tx, &user).await.map_err(AppError::from)?,
        Found::Reader => {}
        Found::Other => return Err(ReaderError::NotAReader(user)),
    }
    readers::equip(&mut tx, &user, &password)
        .await
        .map_err(AppError::from)?;
    tx.commit().await.map_err(AppError::from)?;
    Ok(())
}

/// User and password of a URL, if they can stand in it as they are.
fn user_of(url: &Secret) -> Option<(String, String)> {
    let url = Url::parse(url.expose()).ok()?;
    let plain = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let is_postgres =
        ["postgres", "postgresql"].contains(&url.scheme()) && url.host_str().is_some_and(|host| !host.is_empty());
    let password = url.password()?;
    (is_postgres && plain(url.username()) && plain(password)).then(|| (url.username().to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_plain_user_and_password() {
        let read = |url: &str| user_of(&Secret::new(url));
        let wanted = Some(("reader".to_owned(), "a1-_".to_owned()));
        assert_eq!(read("postgres://reader:a1-_@127.0.0.1:5432/trawl"), wanted);
        assert_eq!(read("postgresql://reader:a1-_@db/trawl"), wanted);
        for wrong in [
            "reader",
            "postgres://reader@db/trawl",
            "postgres://:pw@db/trawl",
            "postgres://reader:p%20w@db/trawl",
            "http://reader:pw@db/trawl",
            "postgres:///trawl",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
