//! Starts the real binaries on a real Postgres, for tests of the whole system.

mod access;
mod ask;
mod authority;
mod fault_proxy;
mod files;
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
mod web;

pub mod faults;
pub mod history;
pub mod load;
/// Studies that tests submit.
pub mod studies;

pub use access::{AccessWalk, Admin, until_refused, walk_every_rpc};
pub use ask::Ask;
pub use authority::{Authority, CertFiles};
pub use fault_proxy::FaultProxy;
pub use files::{RefitFiles, csv_column, csv_lines, dataset_messages, text, without_last_column, written};
pub use frozen_thread::FrozenThread;
pub use object_store::ListedArtifact;
pub use ordinary_user::OrdinaryUser;
pub use postgres::{Postgres, PreparedDatabase, fresh_database, owner_pool, reader_pool};
pub use process::{Process, ProcessTree, Ran, binary, processes_below, ran, repository, tool};
pub use raw_call::{call, call_raw, code_of, open_raw};
pub use raw_http2::{RawHttp2, RawRequest};
pub use scripted_worker::{ReportStream, SCRIPTED_HOST, ScriptedWorker, epoch_report, epochs_report, member_epochs};
pub use seen::Seen;
pub use small_disk::{SmallDisk, mount_namespace};
pub use system::{
    Authorized, Client, Coordinator, StoreAt, System, findings, look_for, undisturbed, wait_for, worker, worker_by,
};
pub use up::{Ports, Up};
pub use views::{Rows, View, assert_same_rows};
pub use web::{browser, fetched};
