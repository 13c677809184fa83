//! The bytes of a file, wherever they are: read in pieces, more than once if necessary.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

/// Bytes with random access.
pub trait ReadSeek: Read + Seek {}

impl<T: Read + Seek> ReadSeek for T {}

/// The bytes of a file, which can be opened several times.
pub trait Content: Send + Sync {
    /// Size in bytes.
    fn bytes(&self) -> u64;

    /// The file from its beginning. Readers of one file do not affect each other.
    ///
    /// # Errors
    /// The file cannot be read.
    fn open(&self) -> io::Result<Box<dyn ReadSeek + '_>>;
}

impl<T: AsRef<[u8]> + Send + Sync> Content for T {
    fn bytes(&self) -> u64 {
        self.as_ref().len() as u64
    }

    fn open(&self) -> io::Result<Box<dyn ReadSeek + '_>> {
        Ok(Box::new(Cursor::new(self.as_ref())))
    }
}

/// An open file on a disk.
#[derive(Debug)]
pub struct FileContent {
    file: File,
    bytes: u64,
}

impl FileContent {
    /// The file at its present size: later additions are ignored.
    ///
    /// # Errors
    /// Its size is unknown.
    pub fn new(file: File) -> io::Result<Self> {
        let bytes = file.metadata()?.len();
        Ok(Self { file, bytes })
    }
}

impl Content for FileContent {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn open(&self) -> io::Result<Box<dyn ReadSeek + '_>> {
        Ok(Box::new(Place { content: self, at: 0 }))
    }
}

/// A reader's own position in a file: the file's position is shared, and stays unused.
struct Place<'a> {
    content: &'a FileContent,
    at: u64,
}

impl Read for Place<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.content.bytes.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let len = buffer.len().min(left);
        let read = self.content.file.read_at(&mut buffer[..len], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Place<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.content.bytes.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn readers_of_one_file_do_not_move_each_other() {
        let path = std::env::temp_dir().join(format!("trawl-content-{}", std::process::id()));
        File::create(&path)
            .and_then(|mut file| file.write_all(b"0123456789"))
            .expect("a file");
        let content = FileContent::new(File::open(&path).expect("the file")).expect("its size");
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(content.bytes(), 10);
        let (mut first, mut second) = (content.open().expect("open"), content.open().expect("open"));
        let mut byte = [0; 1];
        first.seek(SeekFrom::End(-2)).expect("a place");
        first.read_exact(&mut byte).expect("a byte");
        assert_eq!(&byte, b"8");
        let mut all = String::new();
        second.read_to_string(&mut all).expect("text");
        assert_eq!(all, "0123456789");
        first.read_to_string(&mut all).expect("text");
        assert_eq!(all, "01234567899");
        assert!(first.seek(SeekFrom::Current(-11)).is_err());
    }
}
