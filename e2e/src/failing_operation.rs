//! A libtorch in which one operation fails at a call that a test names, so that a training panics for no reason of its own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

/// Of `failing_operation.cpp`: which call fails, from 1.
const FAILS_AT: &str = "TRAWL_E2E_FAILS_AT";
const SOURCE: &str = include_str!("failing_operation.cpp");

/// The library that stands before libtorch's.
#[derive(Debug)]
pub(crate) struct FailingOperation(PathBuf);

impl FailingOperation {
    /// Builds it into a folder. `None` on machines whose calling convention it does not know.
    ///
    /// # Errors
    /// There is no C++ compiler.
    pub(crate) fn build(folder: &Path) -> anyhow::Result<Option<Self>> {
        if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
            return Ok(None);
        }
        let library = folder.join("libfailing_operation.so");
        let mut compiler = Command::new("c++")
            .args(["-shared", "-fPIC", "-O1", "-x", "c++", "-", "-ldl", "-o"])
            .arg(&library)
            .stdin(Stdio::piped())
            .spawn()
            .context("there is no C++ compiler")?;
        let mut source = compiler.stdin.take().context("the compiler reads nothing")?;
        source.write_all(SOURCE.as_bytes())?;
        drop(source);
        let ended = compiler.wait()?;
        ensure!(ended.success(), "the compiler ended with {ended}");
        Ok(Some(Self(library)))
    }

    /// Has this call of a program's operation fail.
    pub(crate) fn fail_at(&self, program: &mut Command, call: u64) {
        program.env("LD_PRELOAD", &self.0).env(FAILS_AT, call.to_string());
    }
}
