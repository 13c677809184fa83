//! What the system shows of a process to root and to its own user.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// A process at one moment.
#[derive(Debug)]
pub struct Seen {
    /// Of its program; the system keeps 15 characters of it.
    pub name: String,
    /// The fields of `/proc/PID/status`.
    pub status: BTreeMap<String, String>,
    /// The environment that it was started with, a variable a line.
    pub environment: String,
}

impl Seen {
    /// `None` for one that has ended meanwhile.
    pub fn of(process: u32) -> Option<Self> {
        let folder = PathBuf::from(format!("/proc/{process}"));
        let status = fs::read_to_string(folder.join("status")).ok()?;
        let status: BTreeMap<String, String> = status
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        let environment = fs::read(folder.join("environ")).ok()?;
        Some(Self {
            name: status.get("Name")?.clone(),
            status,
            environment: String::from_utf8_lossy(&environment).replace('\0', "\n"),
        })
    }
}
