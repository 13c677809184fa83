//! Shows the process's supervisor that the process lives: the age of a file is the age of the last sign of life. The
//! file does not depend on the coordinator: a worker that waits for one must not be killed.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

/// Time between two signs of life.
const EVERY: Duration = Duration::from_secs(5);
/// Age up to which a sign of life counts: a machine may be busy, or suspended for a moment.
const FRESH: Duration = Duration::from_secs(60);

/// Why a process does not count as alive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAlive {
    /// There is no sign of life.
    #[error("{}: {error}", file.display())]
    NoSign {
        /// The file.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The last sign of life is too old.
    #[error("{}: the last sign of life is {age_s} s old", file.display())]
    Silent {
        /// The file.
        file: PathBuf,
        /// Its age in seconds.
        age_s: u64,
    },
}

/// Gives signs of life regularly, on the runtime that carries the worker's calls.
pub(crate) async fn keep_fresh(file: PathBuf) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = false;
    loop {
        ticks.tick().await;
        if let Err(error) = touch(&file)
            && !told
        {
            warn!(error = %error, file = %file.display(), "cannot give a sign of life");
            told = true;
        }
    }
}

fn touch(file: &Path) -> io::Result<()> {
    // Written, so that the file system's clock sets the modification time.
    let mut file = File::create(file)?;
    io::Write::write_all(&mut file, b"alive\n")
}

/// Checks that the process that signs this file lives.
///
/// # Errors
/// It does not.
pub(crate) fn check(file: &Path) -> Result<(), NotAlive> {
    let modified = std::fs::metadata(file).and_then(|metadata| metadata.modified());
    let modified = modified.map_err(|error| NotAlive::NoSign {
        file: file.to_owned(),
        error,
    })?;
    // A sign in the future means that the clock was set back.
    let age = modified.elapsed().unwrap_or_default();
    if age <= FRESH {
        return Ok(());
    }
    Err(NotAlive::Silent {
        file: file.to_owned(),
        age_s: age.as_secs(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_lives_as_long_as_its_signs_are_fresh() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("alive");
        assert!(matches!(check(&file), Err(NotAlive::NoSign { .. })));
        touch(&file).unwrap();
        check(&file).unwrap();
        let written = std::fs::metadata(&file).unwrap().modified().unwrap();
        let handle = File::options().write(true).open(&file).unwrap();
        handle.set_modified(written - FRESH - Duration::from_secs(5)).unwrap();
        let error = check(&file).expect_err("it is silent");
        assert!(matches!(error, NotAlive::Silent { age_s: 65.., .. }), "{error}");
        touch(&file).unwrap();
        check(&file).unwrap();
    }
}
