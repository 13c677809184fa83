//! Starts the real binaries on a real Postgres, for tests of the whole system.

mod postgres;
mod process;
mod scripted_worker;
mod system;

/// Studies that tests submit.
pub mod studies;

pub use postgres::{fresh_database, owner_pool, reader_pool};
pub use process::{Process, binary, repository, tool};
pub use scripted_worker::ScriptedWorker;
pub use system::{Coordinator, System, View, wait_for};
