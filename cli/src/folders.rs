//! The user's own folders, and files in them for nobody else.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use trawl_domain::secret::Secret;

use crate::error::Error;

/// A folder of the user's by the XDG rules: the variable, where it is absolute, or its default below the home folder.
pub(crate) fn user_dir(variable: &str, below_home: &str) -> Result<PathBuf, Error> {
    let given = std::env::var_os(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let home = || {
        std::env::home_dir()
            .filter(|home| home.is_absolute())
            .map(|home| home.join(below_home))
    };
    given
        .or_else(home)
        .ok_or_else(|| Error::Failed(format!("neither {variable} nor HOME names a folder")))
}

/// Writes a file for its user alone; it appears whole.
pub(crate) fn write_for_user_alone(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    // A leftover would keep its own mode.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&draft, path)
}

/// Writes a secret and an end of line, as people keep them in files.
pub(crate) fn write_secret(path: &Path, secret: &Secret) -> io::Result<()> {
    write_for_user_alone(path, format!("{}\n", secret.expose()).as_bytes())
}

/// 256 random bits.
pub(crate) fn entropy() -> Result<[u8; 32], Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::Failed(format!("no random numbers from the system: {error}")))?;
    Ok(bytes)
}
