//! Files that appear whole or not at all.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// Has a file written beside its place, and then moves it there; one that exists is replaced.
///
/// # Errors
/// It cannot be written or moved.
pub(crate) fn write_whole(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), Error> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".draft-{}", std::process::id()));
    let draft = PathBuf::from(draft);
    let written = write(&draft).and_then(|()| std::fs::rename(&draft, path));
    if written.is_err() {
        // The first error is the one to report, whether or not there is a draft to remove.
        let _ = std::fs::remove_file(&draft);
    }
    written.map_err(|error| Error::Failed(format!("cannot write {}: {error}", path.display())))
}
