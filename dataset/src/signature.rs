//! Recognises files by their first bytes. A file of another kind than the study's is refused by name, with a remedy.

use super::Reason;

/// First bytes of gzip.
pub(super) const GZIP: &[u8] = b"\x1f\x8b";

/// Kinds of files that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    Csv,
    Idx,
    Npy,
    Npz,
}

/// Kinds that are not read: their first bytes, and the message.
const OTHERS: [(&[u8], &str); 20] = [
    (
        b"\x28\xb5\x2f\xfd",
        "is compressed with zstd: unpack it (zstd -d FILE), or compress it with gzip",
    ),
    (
        b"BZh",
        "is compressed with bzip2: unpack it (bunzip2 FILE), or compress it with gzip",
    ),
    (
        b"\xfd7zXZ\0",
        "is compressed with xz: unpack it (unxz FILE), or compress it with gzip",
    ),
    (
        b"\x04\x22\x4d\x18",
        "is compressed with lz4: unpack it (unlz4 FILE), or compress it with gzip",
    ),
    (b"7z\xbc\xaf\x27\x1c", "is a 7-Zip archive: unpack it (7z x FILE)"),
    (
        b"PAR1",
        "is a Parquet file, which trawl submit, trawl init and trawl predict read; elsewhere convert it with \
         pandas.read_parquet('FILE').to_csv('FILE.csv', index=False)",
    ),
    (
        b"ARROW1",
        "is an Arrow file: convert it with pandas.read_feather('FILE').to_csv('FILE.csv', index=False)",
    ),
    (
        b"FEA1",
        "is a Feather file: convert it with pandas.read_feather('FILE').to_csv('FILE.csv', index=False)",
    ),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", EXCEL),
    (
        b"\x89HDF\r\n\x1a\n",
        "is an HDF5 file: convert an array of it with numpy.save('x.npy', h5py.File('FILE')['x'][:])",
    ),
    (
        b"\x89PNG",
        "is a PNG picture: put all pictures in one array [rows, height, width, channels] and save it with numpy.save",
    ),
    (
        b"\xff\xd8\xff",
        "is a JPEG picture: put all pictures in one array [rows, height, width, channels] and save it with numpy.save",
    ),
    (
        b"GIF8",
        "is a GIF picture: put all pictures in one array [rows, height, width, channels] and save it with numpy.save",
    ),
    (b"\x80\x02", PICKLE),
    (b"\x80\x03", PICKLE),
    (b"\x80\x04", PICKLE),
    (b"\x80\x05", PICKLE),
    (
        b"MATLAB 5.0",
        "is a MATLAB file: convert an array of it with numpy.save('x.npy', scipy.io.loadmat('FILE')['x'])",
    ),
    (
        b"SQLite format 3\0",
        "is an SQLite database: write a table of it as CSV (sqlite3 -header -csv FILE 'SELECT * FROM …')",
    ),
    (b"%PDF", "is a PDF document"),
];
const EXCEL: &str =
    "is an Excel workbook: save its sheet as CSV, or pandas.read_excel('FILE').to_csv('FILE.csv', index=False)";
const PICKLE: &str = "is a Python pickle, which is not read: load it and save its arrays with numpy.save";

/// Texts found in place of data.
const PAGES: [(&[u8], &str); 3] = [
    (b"<!doctype html", "is a web page: the download went wrong"),
    (b"<html", "is a web page: the download went wrong"),
    (
        b"version https://git-lfs",
        "is a pointer of Git LFS in place of the file: get the file with git lfs pull",
    ),
];

/// Refuses a file whose first bytes show another kind.
pub(super) fn check(first: &[u8], kind: FileKind) -> Result<(), Reason> {
    // A first column may be named PAR1.
    let is_table = kind == FileKind::Csv && first.iter().all(is_text);
    let refusal = OTHERS
        .iter()
        .find(|(magic, _)| !is_table && first.starts_with(magic))
        .or_else(|| {
            let begins = |page: &[u8]| {
                first
                    .get(..page.len())
                    .is_some_and(|text| text.eq_ignore_ascii_case(page))
            };
            PAGES.iter().find(|(page, _)| begins(page))
        })
        .map(|(_, words)| *words)
        .or_else(|| one_of_ours(first, kind));
    refusal.map_or(Ok(()), |words| Err(words.into()))
}

fn is_text(byte: &u8) -> bool {
    matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~' | 0x80..)
}

/// The message for a kind that another field accepts.
fn one_of_ours(first: &[u8], kind: FileKind) -> Option<&'static str> {
    if first.starts_with(b"PK\x03\x04") || first.starts_with(b"PK\x05\x06") {
        return zip(first, kind);
    }
    if first.starts_with(GZIP) {
        return Some(if kind == FileKind::Npz {
            "is compressed with gzip, and an .npz archive is compressed in itself: unpack it (gunzip FILE)"
        } else {
            "is compressed with gzip twice: unpack it (gunzip FILE)"
        });
    }
    if first.starts_with(b"\x93NUMPY") {
        let words = "is an .npy array: a study names it under dataset.npy";
        return (kind != FileKind::Npy).then_some(words);
    }
    if first.get(257..262) == Some(b"ustar") {
        return Some("is a tar archive: unpack it (tar -xf FILE)");
    }
    if matches!(first, [0, 0, 8 | 9 | 0xb..=0xe, 1..=4, ..]) {
        let words = "is an IDX file, as those of MNIST: a study names it under dataset.idx";
        return (kind != FileKind::Idx).then_some(words);
    }
    let looks_like_table = first.contains(&b',') && first.contains(&b'\n') && first.iter().all(is_text);
    (kind != FileKind::Csv && looks_like_table).then_some("is text, as CSV is: a study names it under dataset.csv")
}

/// The message for an archive, by the name of its first file.
fn zip(first: &[u8], kind: FileKind) -> Option<&'static str> {
    let name_len = first
        .get(26..28)
        .map_or(0, |len| usize::from(u16::from_le_bytes([len[0], len[1]])));
    let names = first.get(30..).unwrap_or_default();
    let name = &names[..names.len().min(name_len)];
    let is_office = [&b"[Content_Types].xml"[..], b"_rels/", b"docProps/", b"xl/"];
    if is_office.iter().any(|begin| name.starts_with(begin)) {
        Some(EXCEL)
    } else if names.starts_with(b"mimetypeapplication/vnd.oasis") {
        Some("is a LibreOffice document: save its sheet as CSV")
    } else if name.ends_with(b"data.pkl") {
        Some("is a file of torch.save: load it and save its tensors with numpy.save('x.npy', tensor.numpy())")
    } else if kind == FileKind::Npz {
        None
    } else if name.ends_with(b".npy") {
        Some("is an .npz archive of NumPy's arrays: a study names it under dataset.npz")
    } else {
        Some("is a zip archive: unpack it (unzip FILE)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_right_kind_pass() {
        for (first, kind) in [
            (&b"a,b\n1,2\n"[..], FileKind::Csv),
            (b"", FileKind::Csv),
            (b"\x93NUMPY\x01\0", FileKind::Npy),
            (&[0, 0, 8, 3, 0, 0], FileKind::Idx),
            (b"PK\x03\x04", FileKind::Npz),
            // Readers report broken files of these kinds.
            (b"\x93NUMQY", FileKind::Npy),
            (b"PAR1,c\n1,2\n", FileKind::Csv),
        ] {
            assert_eq!(check(first, kind), Ok(()), "{first:?}");
        }
    }
}
