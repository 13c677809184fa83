//! Dataset files on this machine's disk, by their hashes: as many bytes as are allowed, and those that were used last.
//!
//! Several workers may share the folder. A file that one of them removes while another reads it stays whole for that one; who does
//! not find it fetches it again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, futimens};
use tracing::warn;
use trawl_domain::dataset::FileHash;
use trawl_domain::limits::DATASET_BYTES_MAX;

/// A file that is being written for so long belongs to a process that has ended.
const PART_LEFT_AFTER: Duration = Duration::from_secs(3_600);
/// What the name of a file ends with that is not whole yet.
const PART: &str = "part";

/// The folder of dataset files.
#[derive(Clone, Debug)]
pub struct FileCache {
    folder: PathBuf,
    /// What all files together may take.
    bytes_max: u64,
}

/// A file of the folder.
struct Entry {
    path: PathBuf,
    bytes: u64,
    used_at: SystemTime,
}

impl FileCache {
    /// The files in this folder, which is made with the first one; so many bytes of them at most.
    pub fn new(folder: PathBuf, bytes_max: u64) -> Self {
        Self { folder, bytes_max }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file, which counts as used now; `None` if it is not there, or is broken.
    pub fn read(&self, hash: FileHash) -> Option<Vec<u8>> {
        let file = File::open(self.folder.join(hash.to_string())).ok()?;
        let mut content = Vec::new();
        (&file).take(DATASET_BYTES_MAX + 1).read_to_end(&mut content).ok()?;
        if FileHash::of(&content) != hash {
            warn!(dataset.sha256 = %hash, "a cached dataset file is broken and is fetched again");
            return None;
        }
        // One that belongs to somebody else keeps its time.
        let _ = futimens(&file, &USED_NOW);
        Some(content)
    }

    /// Keeps a file, whole or not at all, and removes those used longest ago to make room for it.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn keep(&self, hash: FileHash, content: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let path = self.folder.join(hash.to_string());
        let part = path.with_extension(format!("{}.{PART}", std::process::id()));
        // Of an earlier process with the same number. A new file is no link to another one.
        let _ = fs::remove_file(&part);
        let mut file = OpenOptions::new().write(true).create_new(true).open(&part)?;
        let written = self.make_room(&file, content.len() as u64).and_then(|has_room| {
            if has_room {
                file.write_all(content)?;
                fs::rename(&part, &path)?;
            }
            Ok(has_room)
        });
        if !matches!(written, Ok(true)) {
            let _ = fs::remove_file(&part);
        }
        written.map(drop)
    }

    /// Removes what is in the way of so many bytes more; false if they are more than all may be. The time is that of a new file:
    /// the clock of the disk, by which the others have theirs.
    fn make_room(&self, new: &File, bytes: u64) -> io::Result<bool> {
        let now = new.metadata()?.modified()?;
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            // Another worker may have removed it.
            let Ok(metadata) = entry.metadata() else { continue };
            let found = Entry {
                path: entry.path(),
                bytes: metadata.len(),
                used_at: metadata.modified()?,
            };
            if name.parse::<FileHash>().is_ok() {
                files.push(found);
            } else if is_part(name) && found.used_at + PART_LEFT_AFTER < now {
                remove(&found.path)?;
            }
        }
        if bytes > self.bytes_max {
            return Ok(false);
        }
        files.sort_by(|a, b| (a.used_at, &a.path).cmp(&(b.used_at, &b.path)));
        let mut taken: u64 = files.iter().map(|file| file.bytes).sum();
        for file in files {
            if taken + bytes <= self.bytes_max {
                break;
            }
            remove(&file.path)?;
            taken -= file.bytes;
        }
        Ok(true)
    }
}

const USED_NOW: Timestamps = Timestamps {
    last_access: Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_OMIT,
    },
    last_modification: Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_NOW,
    },
};

/// True for a file that some worker writes, or wrote: HASH.PROCESS.part.
fn is_part(name: &str) -> bool {
    let mut pieces = name.split('.');
    let hash = pieces.next().is_some_and(|hash| hash.parse::<FileHash>().is_ok());
    hash && pieces.next_back() == Some(PART)
}

/// Removes a file that another worker may have removed before.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = 1_000;

    fn content(number: u8) -> (FileHash, Vec<u8>) {
        let content = vec![number; BYTES];
        (FileHash::of(&content), content)
    }

    /// As if a file had been used so many seconds after 1970.
    fn used_at(path: &Path, seconds: i64) {
        let time = Timespec {
            tv_sec: seconds,
            tv_nsec: 0,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        futimens(File::options().append(true).open(path).expect("a file"), &times).expect("its time");
    }

    #[test]
    fn files_take_no_more_than_they_may_and_those_used_last_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = FileCache::new(folder.path().join("datasets"), 3 * BYTES as u64);
        let path = |hash: FileHash| cache.folder().join(hash.to_string());
        for number in 0..3 {
            let (hash, content) = content(number);
            cache.keep(hash, &content).expect("kept");
            used_at(&path(hash), i64::from(number));
        }
        // The oldest one is used again, and one is being read.
        assert!(cache.read(content(0).0).is_some());
        let mut being_read = File::open(path(content(1).0)).expect("a file");
        cache.keep(content(3).0, &content(3).1).expect("kept");
        let there = [0, 1, 2, 3].map(|number| cache.read(content(number).0).is_some());
        assert_eq!(there, [true, false, true, true]);
        let mut read = Vec::new();
        being_read.read_to_end(&mut read).expect("it is whole for its reader");
        assert_eq!(read, content(1).1);

        // More than all may be: it is not kept, and the others stay.
        let large = vec![9; 3 * BYTES + 1];
        cache.keep(FileHash::of(&large), &large).expect("not kept");
        assert_eq!(fs::read_dir(cache.folder()).expect("a folder").count(), 3);
    }

    #[test]
    fn what_processes_left_that_ended_is_removed_and_what_is_not_ours_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = FileCache::new(folder.path().to_owned(), BYTES as u64);
        let (hash, bytes) = content(0);
        let files = [format!("{hash}.1.part"), format!("{hash}.2.part"), "notes".to_owned()];
        for name in &files {
            fs::write(folder.path().join(name), "x").expect("written");
        }
        for name in [&files[0], &files[2]] {
            used_at(&folder.path().join(name), 0);
        }
        cache.keep(hash, &bytes).expect("kept");
        let there = files.map(|name| folder.path().join(name).exists());
        assert_eq!(there, [false, true, true]);
    }

    #[test]
    fn a_file_that_is_broken_is_not_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = FileCache::new(folder.path().to_owned(), 1 << 20);
        let (hash, bytes) = content(0);
        cache.keep(hash, &bytes).expect("kept");
        assert_eq!(cache.read(hash), Some(bytes));
        fs::write(folder.path().join(hash.to_string()), "other").expect("written");
        assert_eq!(cache.read(hash), None);
    }
}
