//! All SQL. Each noun has a file; each function is one statement, or a few that belong together, inside the caller's transaction.
//!
//! All transactions lock rows in one order, so that no two wait for each other: leases, jobs, folds, trials and refits, studies;
//! then the lists of files, which are artifacts, checkpoints, dataset files and pending objects; last the row of `quota_lock`,
//! under which studies are counted. Only racing and planning write trials, folds and jobs after locking a running study: rows
//! that no job trains. Tokens are locked with nothing else.

pub mod artifacts;
pub mod baselines;
pub mod checkpoints;
pub mod coordinators;
pub mod curves;
pub mod dataset_files;
pub mod deleted;
pub mod fleet;
pub mod folds;
pub mod job_reports;
pub mod jobs;
pub mod leases;
pub mod objectives;
pub mod pending_objects;
pub mod proposals;
pub mod racers;
pub mod readers;
pub mod refits;
pub mod row_losses;
pub mod studies;
pub mod tokens;
pub mod trials;
pub mod usage;
pub mod winners;
pub mod workers;

use std::fmt::Display;
use std::str::FromStr;

/// A connection to Postgres.
pub type Connection = sqlx::PgConnection;

/// Why a statement has no answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Postgres, or the connection to it, failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// A row holds a value that this version of trawl cannot have written.
    #[error("table {table}, row {row}, column {column}: {reason}")]
    BadRow {
        /// Table.
        table: &'static str,
        /// Key of the row.
        row: String,
        /// Column.
        column: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A guarded update found another state than its transaction had locked.
    #[error("{table}: {changed} rows changed where {expected} were expected")]
    RowCount {
        /// Table.
        table: &'static str,
        /// Rows that had to change.
        expected: u64,
        /// Rows that changed.
        changed: u64,
    },
}

impl StoreError {
    /// True if Postgres is away or overloaded, so that the same call may go through later.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Database(
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed,
            ) => true,
            // Classes of SQLSTATE: connection exceptions, transaction rollback (deadlock), insufficient resources,
            // operator intervention, and the lock timeout.
            Self::Database(sqlx::Error::Database(error)) => error.code().is_some_and(|code| {
                ["08", "40", "53", "57"].iter().any(|class| code.starts_with(class)) || code == "55P03"
            }),
            _ => false,
        }
    }

    /// True if Postgres has no space on its disk.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(error)) if error.code().as_deref() == Some("53100"))
    }

    /// True if the statement broke this constraint.
    pub fn is_violation_of(&self, constraint: &str) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(error)) if error.constraint() == Some(constraint))
    }
}

/// Checks that exactly `expected` rows changed.
fn expect_rows(table: &'static str, expected: u64, changed: u64) -> Result<(), StoreError> {
    if changed == expected {
        Ok(())
    } else {
        Err(StoreError::RowCount {
            table,
            expected,
            changed,
        })
    }
}

/// Reads a column that holds one of a few words.
fn word<T: FromStr<Err: Display>>(
    table: &'static str,
    row: impl Display,
    column: &'static str,
    text: &str,
) -> Result<T, StoreError> {
    text.parse()
        .map_err(|error: T::Err| bad_row(table, row, column, format!("'{text}' {error}")))
}

fn bad_row(table: &'static str, row: impl Display, column: &'static str, reason: impl Display) -> StoreError {
    StoreError::BadRow {
        table,
        row: row.to_string(),
        column,
        reason: reason.to_string(),
    }
}

/// Postgres has no unsigned integers; columns that count have a check that they are not negative.
fn count(table: &'static str, row: impl Display, column: &'static str, value: i32) -> Result<u32, StoreError> {
    u32::try_from(value).map_err(|_| bad_row(table, row, column, format!("{value} is negative")))
}

/// Numbers of trials, folds and epochs are checked on arrival to be far below 2^31.
fn to_pg_int(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}
