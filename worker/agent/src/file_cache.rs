//! Dataset files on this machine's disk, by their hashes: the last used ones, up to a number of bytes.
//!
//! Several workers may share the folder. A worker that is reading a file can go on although another worker removes it;
//! a worker that does not find a file fetches it again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, futimens};
use tracing::warn;
use trawl_dataset::{FileHash, FileHasher};

/// A partial file of this age belongs to a process that has ended.
const PART_LEFT_AFTER: Duration = Duration::from_secs(3_600);
/// Bytes that are hashed at once.
const PIECE_BYTES: usize = 1 << 20;
/// Extension of a partial file.
const PART: &str = "part";

/// The folder of dataset files.
#[derive(Clone, Debug)]
pub struct FileCache {
    folder: PathBuf,
    /// Most bytes of all files together.
    bytes_max: u64,
}

/// A file being written; dropping this removes it, unless it was kept.
#[derive(Debug)]
pub struct NewFile {
    /// Its bytes.
    pub file: File,
    /// Its path; `None` for an unnamed file, which cannot be kept.
    path: Option<PathBuf>,
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // A kept file has another name.
            let _ = fs::remove_file(path);
        }
    }
}

/// A file of the folder.
struct Entry {
    path: PathBuf,
    bytes: u64,
    used_at: SystemTime,
}

impl FileCache {
    /// The files in this folder, up to `bytes_max`; the first file creates the folder.
    pub fn new(folder: PathBuf, bytes_max: u64) -> Self {
        Self { folder, bytes_max }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file, which counts as used now; `None` if it is missing or broken.
    pub fn open(&self, hash: FileHash) -> Option<File> {
        let mut file = File::open(self.folder.join(hash.to_string())).ok()?;
        let mut hasher = FileHasher::default();
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match file.read(&mut piece).ok()? {
                0 => break,
                len => hasher.update(&piece[..len]),
            }
        }
        if hasher.finish() != hash {
            warn!(dataset.sha256 = %hash, "a cached dataset file is broken and is fetched again");
            return None;
        }
        // A file of another user keeps its time.
        let _ = futimens(&file, &USED_NOW);
        Some(file)
    }

    /// Begins a file, which stays in the folder until it is dropped, or longer if it is kept. Where the folder cannot
    /// be written, the file is an unnamed one in `TMPDIR`.
    ///
    /// # Errors
    /// Neither can be written.
    pub fn begin(&self) -> io::Result<NewFile> {
        self.begin_in_folder().or_else(|error| {
            // Training goes on, and fetches the file again next time.
            let folder = self.folder.display();
            warn!(error = %error, "dataset files cannot be cached in {folder}");
            let file = tempfile::tempfile()?;
            Ok(NewFile { file, path: None })
        })
    }

    fn begin_in_folder(&self) -> io::Result<NewFile> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        fs::create_dir_all(&self.folder)?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("{}-{number}.{PART}", std::process::id()));
        // An earlier process with the same number may have left it. Removing it first means that a new file never follows a link.
        let _ = fs::remove_file(&path);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        let path = Some(path);
        Ok(NewFile { file, path })
    }

    /// Keeps a complete file, and removes the least recently used ones to make room. A file larger than the limit is
    /// not kept.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn keep(&self, hash: FileHash, new: &NewFile) -> io::Result<()> {
        if let Some(path) = &new.path
            && self.make_room(&new.file)?
        {
            fs::rename(path, self.folder.join(hash.to_string()))?;
        }
        Ok(())
    }

    /// Removes files to make room for a new one; false if the new one alone exceeds the limit. The present time is the
    /// new file's own, because the disk's clock set the times of the others.
    fn make_room(&self, new: &File) -> io::Result<bool> {
        let metadata = new.metadata()?;
        let (now, bytes) = (metadata.modified()?, metadata.len());
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

/// True for a partial file of any worker: PROCESS-NUMBER.part.
fn is_part(name: &str) -> bool {
    let numbers = name.strip_suffix(PART).and_then(|name| name.strip_suffix('.'));
    let numbers = numbers.and_then(|name| name.split_once('-'));
    numbers.is_some_and(|(process, number)| process.parse::<u32>().is_ok() && number.parse::<u64>().is_ok())
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
    use std::io::{Seek, Write};

    use super::*;

    const BYTES: usize = 1_000;

    fn content(number: u8) -> (FileHash, Vec<u8>) {
        let content = vec![number; BYTES];
        (FileHash::of(&content), content)
    }

    fn keep(cache: &FileCache, hash: FileHash, content: &[u8]) {
        let mut new = cache.begin().expect("a file");
        new.file.write_all(content).expect("written");
        cache.keep(hash, &new).expect("kept, if there is room");
    }

    /// Makes a file look as if it was used `seconds` after 1970.
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
            keep(&cache, hash, &content);
            used_at(&path(hash), i64::from(number));
        }
        // The oldest one is used again, and one is being read.
        assert!(cache.open(content(0).0).is_some());
        let mut being_read = File::open(path(content(1).0)).expect("a file");
        keep(&cache, content(3).0, &content(3).1);
        let there = [0, 1, 2, 3].map(|number| cache.open(content(number).0).is_some());
        assert_eq!(there, [true, false, true, true]);
        let mut read = Vec::new();
        being_read.read_to_end(&mut read).expect("it is whole for its reader");
        assert_eq!(read, content(1).1);

        // Larger than the limit: it is not kept, and the others stay.
        let large = vec![9; 3 * BYTES + 1];
        keep(&cache, FileHash::of(&large), &large);
        assert_eq!(fs::read_dir(cache.folder()).expect("a folder").count(), 3);
    }

    #[test]
    fn what_processes_left_that_ended_is_removed_and_what_is_not_ours_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = FileCache::new(folder.path().to_owned(), BYTES as u64);
        let (hash, bytes) = content(0);
        let files = ["1-0.part".to_owned(), "2-0.part".to_owned(), "notes".to_owned()];
        for name in &files {
            fs::write(folder.path().join(name), "x").expect("written");
        }
        for name in [&files[0], &files[2]] {
            used_at(&folder.path().join(name), 0);
        }
        keep(&cache, hash, &bytes);
        let there = files.map(|name| folder.path().join(name).exists());
        assert_eq!(there, [false, true, true]);
    }

    #[test]
    fn where_the_folder_cannot_be_written_a_file_is_there_all_the_same() {
        let folder = tempfile::tempdir().expect("a folder");
        let no_folder = folder.path().join("a-file");
        fs::write(&no_folder, "x").expect("written");
        let cache = FileCache::new(no_folder.join("datasets"), 1 << 20);
        let (hash, bytes) = content(0);
        let mut new = cache.begin().expect("a file");
        new.file.write_all(&bytes).expect("written");
        cache.keep(hash, &new).expect("it is not kept");
        let mut read = Vec::new();
        new.file.rewind().expect("its beginning");
        new.file.read_to_end(&mut read).expect("it can be read");
        assert_eq!(read, bytes);
        assert!(cache.open(hash).is_none());
    }

    #[test]
    fn a_file_that_is_broken_is_not_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = FileCache::new(folder.path().to_owned(), 1 << 20);
        let (hash, bytes) = content(0);
        keep(&cache, hash, &bytes);
        let mut read = Vec::new();
        let mut file = cache.open(hash).expect("a file");
        file.rewind().expect("its beginning");
        file.read_to_end(&mut read).expect("it can be read");
        assert_eq!(read, bytes);
        fs::write(folder.path().join(hash.to_string()), "other").expect("written");
        assert!(cache.open(hash).is_none());
    }
}
