//! Starts the real binaries on a real Postgres, for tests of the whole system.

mod access;
mod authority;
mod failing_operation;
mod fault_proxy;
/// Floods that are poured over a coordinator.
pub mod flood;
mod frozen_thread;
/// What others notice of an attack.
pub mod meters;
mod object_store;
mod ordinary_user;
mod postgres;
mod process;
mod raw_call;
mod raw_http2;
mod scripted_worker;
mod seen;
mod small_disk;
mod system;
mod up;
mod views;

pub mod faults;
pub mod history;
pub mod load;
/// Studies that tests submit.
pub mod studies;

pub use access::{AccessWalk, Admin, all_tables, until_refused, walk_every_rpc};
pub use authority::{Authority, CertFiles};
pub use fault_proxy::FaultProxy;
pub use frozen_thread::FrozenThread;
pub use object_store::ListedArtifact;
pub use ordinary_user::OrdinaryUser;
pub use postgres::{Postgres, PreparedDatabase, fresh_database, owner_pool, reader_pool};
pub use process::{Process, ProcessTree, binary, processes_below, repository, tool};
pub use raw_call::{call_raw, open_raw};
pub use raw_http2::{RawHttp2, RawRequest};
pub use scripted_worker::{ReportStream, SCRIPTED_HOST, ScriptedWorker, epoch_report, epochs_report, member_epochs};
pub use seen::Seen;
pub use small_disk::SmallDisk;
pub use system::{Authorized, Client, Coordinator, StoreAt, System, look_for, wait_for, worker};
pub use up::{Ports, Up};
pub use views::{View, assert_same_rows};
