//! Questions in SQL whose answers tests compare.

use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgPool, Postgres};

use crate::system::Client;

/// Who can be asked in SQL: a client about the views, or connections about whatever their user sees.
pub trait Ask {
    /// Where questions go.
    fn pool(&self) -> &PgPool;

    /// The only value of the answer.
    fn value<T>(&self, query: &'static str) -> impl Future<Output = anyhow::Result<T>>
    where
        T: Send + Unpin,
        (T,): Send + Unpin + for<'r> FromRow<'r, PgRow>,
    {
        async move { Ok(sqlx::query_scalar::<Postgres, T>(query).fetch_one(self.pool()).await?) }
    }

    /// The only column of the answer.
    fn values<T>(&self, query: &'static str) -> impl Future<Output = anyhow::Result<Vec<T>>>
    where
        T: Send + Unpin,
        (T,): Send + Unpin + for<'r> FromRow<'r, PgRow>,
    {
        async move { Ok(sqlx::query_scalar::<Postgres, T>(query).fetch_all(self.pool()).await?) }
    }

    /// The only row of the answer.
    fn tuple<T>(&self, query: &'static str) -> impl Future<Output = anyhow::Result<T>>
    where
        T: Send + Unpin + for<'r> FromRow<'r, PgRow>,
    {
        async move { Ok(sqlx::query_as::<Postgres, T>(query).fetch_one(self.pool()).await?) }
    }

    /// The rows of the answer.
    fn tuples<T>(&self, query: &'static str) -> impl Future<Output = anyhow::Result<Vec<T>>>
    where
        T: Send + Unpin + for<'r> FromRow<'r, PgRow>,
    {
        async move { Ok(sqlx::query_as::<Postgres, T>(query).fetch_all(self.pool()).await?) }
    }
}

impl Ask for PgPool {
    fn pool(&self) -> &PgPool {
        self
    }
}

impl Ask for Client {
    fn pool(&self) -> &PgPool {
        &self.sql
    }
}
