//! Where the other programs of trawl are: programs in one folder belong together.

use std::path::{Path, PathBuf};

use crate::error::Error;

/// The program of this name: beside this one, or else where PATH has it.
///
/// # Errors
/// It is in neither place.
pub(crate) fn find(name: &str) -> Result<PathBuf, Error> {
    let this = std::env::current_exe().map_err(|error| Error::Failed(format!("cannot find this program: {error}")))?;
    let beside = this.with_file_name(name);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join(name));
    std::iter::once(beside.clone())
        .chain(on_path)
        .find(|program| program.is_file())
        .ok_or_else(|| {
            let folder = beside.parent().unwrap_or(Path::new("/")).display();
            Error::Failed(format!(
                "the program {name} is missing: it is neither in {folder} nor on PATH; `make build` builds it"
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_on_path_or_named_as_missing() {
        assert!(find("sh").unwrap().is_absolute());
        let error = find("trawl-nothing").unwrap_err().to_string();
        assert!(error.starts_with("the program trawl-nothing is missing: "), "{error}");
    }
}
