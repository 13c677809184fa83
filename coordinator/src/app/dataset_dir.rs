//! Files of this machine that become datasets: FashionMNIST, and files that a request names by a path below the
//! operator's folder.
//!
//! The kernel resolves a path beneath its folder, so nothing can change between a check and the opening. Opening never
//! blocks, and only regular files are read.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};

/// A folder below which requests may name files.
#[derive(Clone, Debug)]
pub struct DatasetDir(PathBuf);

impl DatasetDir {
    /// The folder, by its path from the root on.
    ///
    /// # Errors
    /// It is relative, and there is no working directory.
    pub fn new(folder: &Path) -> io::Result<Self> {
        Ok(Self(std::path::absolute(folder)?))
    }

    /// True if files below it can be read: the folder exists, and the kernel is 5.6 or newer.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> io::Result<()> {
        self.open_beneath(Path::new("."), OFlags::DIRECTORY).map(drop)
    }

    /// A regular file below the folder, by its path relative to the folder or absolute. Links are followed as long as they stay inside.
    ///
    /// # Errors
    /// There is none that can be read. The caller of a request must not learn why.
    pub(super) fn open(&self, path: &str) -> io::Result<File> {
        let mut below = Path::new(path);
        if below.is_absolute() {
            below = below
                .strip_prefix(&self.0)
                .map_err(|_| io::Error::from(io::ErrorKind::NotFound))?;
        }
        regular(self.open_beneath(below, OFlags::NONBLOCK | OFlags::NOCTTY)?)
    }

    fn open_beneath(&self, path: &Path, flags: OFlags) -> io::Result<File> {
        let folder = rustix::fs::open(
            &self.0,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(openat2(&folder, path, flags, Mode::empty(), beneath)?.into())
    }
}

/// A regular file that the operator named.
///
/// # Errors
/// There is none that can be read.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    regular(rustix::fs::openat(CWD, path, flags, Mode::empty())?.into())
}

fn regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("is not a file"))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{FileType, mknodat};

    use super::*;

    #[test]
    fn only_regular_files_below_the_folder_are_opened() {
        let outside = tempfile::tempdir().expect("a folder");
        std::fs::write(outside.path().join("secret"), "x").expect("written");
        let folder = outside.path().join("datasets");
        std::fs::create_dir_all(folder.join("inner")).expect("a folder");
        std::fs::write(folder.join("inner/data"), "data").expect("written");
        for (target, link) in [
            ("inner/data", "to-data"),
            ("../secret", "out"),
            ("/etc/passwd", "to-root"),
            ("..", "up"),
            ("/proc/self/root", "magic"),
        ] {
            symlink(target, folder.join(link)).expect("a link");
        }
        mknodat(CWD, folder.join("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO");

        let datasets = DatasetDir::new(&folder).expect("a folder");
        datasets.check().expect("it can be read");
        let whole = folder.join("inner/data");
        for path in [
            "inner/data",
            "./inner/../inner/data",
            "to-data",
            whole.to_str().expect("a path"),
        ] {
            let content = datasets.open(path).and_then(std::io::read_to_string).expect(path);
            assert_eq!(content, "data", "{path}");
        }
        let secret = outside.path().join("secret");
        let around = folder.join("../secret");
        for path in [
            "../secret",
            "out",
            "to-root",
            "up/secret",
            "magic/etc/passwd",
            "/etc/passwd",
            secret.to_str().expect("a path"),
            around.to_str().expect("a path"),
            "fifo",
            "inner",
            "",
            ".",
            "none",
            "/dev/null",
        ] {
            assert!(datasets.open(path).is_err(), "{path}");
        }
        assert!(open(&folder.join("fifo")).is_err());
    }
}
