//! `trawl sql`: psql on the database of the `trawl up` of this machine, as one who may read results.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use tonic::transport::Uri;

use crate::args::SqlArgs;
use crate::error::Error;
use crate::up;

/// Becomes psql; returns only an error.
pub(super) fn sql(args: &SqlArgs) -> Error {
    match psql(args) {
        Ok(mut psql) => {
            let error = psql.exec();
            let hint = match error.kind() {
                io::ErrorKind::NotFound => "; `make setup` fetches one, or install Debian's postgresql-client",
                _ => "",
            };
            Error::Failed(format!("cannot run psql: {error}{hint}"))
        }
        Err(error) => error,
    }
}

fn psql(args: &SqlArgs) -> Result<Command, Error> {
    let endpoints = up::running(args.data_dir.as_deref())?;
    let Some(url) = endpoints.database_url else {
        return Err(Error::Failed(
            "that `trawl up` works on a database of your own: read results by its URL, as a member of trawl_reader"
                .into(),
        ));
    };
    let mut psql = Command::new(up::psql(args.postgres_dir.as_deref()));
    // By variables: other users see arguments.
    psql.envs(variables(&url).ok_or_else(|| Error::Failed("the URL of its database cannot be read".into()))?);
    if let Some(query) = &args.query {
        psql.args(["--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--command", query]);
    }
    if args.csv {
        psql.arg("--csv");
    }
    Ok(psql)
}

/// A URL such as `postgres://reader:PASSWORD@127.0.0.1:5432/trawl` as libpq's variables.
fn variables(url: &str) -> Option<[(&'static str, String); 5]> {
    let url: Uri = url.parse().ok()?;
    let (who, _) = url.authority()?.as_str().rsplit_once('@')?;
    let (user, password) = who.split_once(':')?;
    Some([
        ("PGHOST", url.host()?.to_owned()),
        ("PGPORT", url.port_u16()?.to_string()),
        ("PGUSER", user.to_owned()),
        ("PGPASSWORD", password.to_owned()),
        ("PGDATABASE", url.path().trim_start_matches('/').to_owned()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_told_by_variables() {
        let variables = variables("postgres://reader:secret@127.0.0.1:40123/trawl").expect("a URL");
        let values = variables.map(|(_, value)| value);
        assert_eq!(values, ["127.0.0.1", "40123", "reader", "secret", "trawl"]);
        assert_eq!(super::variables("postgres:///trawl?host=/tmp"), None);
    }
}
