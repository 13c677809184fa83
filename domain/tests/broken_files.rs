//! Files with flipped bytes and torn ends: each is read correctly or refused with a reason, without a panic, and without more
//! memory than the file accounts for.

mod counting;

use std::io::{Cursor, Write};

use trawl_domain::dataset::{self, Allowance, Arrays, Columns, Format, Part, TargetKind};
use trawl_domain::seed::{Purpose, Seed, Stream};

/// Broken files of each kind.
const FILES: usize = 2_500;
/// What reading takes beside the file's contents: parser state, messages.
const OVERHEAD_BYTES: usize = 256 << 10;

fn stream() -> Stream {
    Seed(20_251).stream(Purpose::Folds)
}

/// Flips one to four bytes, or tears the end off, or both.
fn broken(sound: &[u8], stream: &mut Stream) -> Vec<u8> {
    let mut file = sound.to_vec();
    let what = stream.below(3);
    if what != 0 {
        for _ in 0..=stream.below(4) {
            // Half of the flips go to the beginning, where the headers are.
            let range = if stream.below(2) == 0 {
                file.len().min(128)
            } else {
                file.len()
            };
            let place = stream.below(range as u64) as usize;
            file[place] ^= 1 << stream.below(8);
        }
    }
    if what != 1 {
        file.truncate(stream.below(file.len() as u64) as usize);
    }
    file
}

fn csv() -> Vec<u8> {
    let mut text = String::from("x0,x1,y\n");
    let mut stream = stream();
    for _ in 0..2_000 {
        let (a, b) = (stream.unit() * 10.0 - 5.0, stream.unit());
        text.push_str(&format!("{a},{b},{}\n", (a * 3.0).sin()));
    }
    text.into_bytes()
}

fn idx(dims: &[u32], content: impl Iterator<Item = u8>) -> Vec<u8> {
    let mut file = vec![0, 0, 8, dims.len() as u8];
    dims.iter().for_each(|dim| file.extend(dim.to_be_bytes()));
    file.extend(content);
    file
}

fn npy(descr: &str, shape: &str, content: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(content);
    file
}

fn floats(len: usize) -> Vec<u8> {
    let mut stream = stream();
    (0..len).flat_map(|_| (stream.unit() as f32).to_le_bytes()).collect()
}

fn labels(len: usize) -> impl Iterator<Item = u8> {
    (0..len).map(|row| (row % 10) as u8)
}

/// Reads broken copies of one of a part's files, and how many of them were refused.
fn read_all(format: &Format, kind: TargetKind, features: &[u8], targets: Option<&[u8]>, plain_bytes: usize) -> usize {
    let mut stream = stream();
    let mut refused = 0;
    for number in 0..FILES {
        let in_targets = targets.is_some() && number % 2 == 1;
        let file = broken(
            if in_targets {
                targets.unwrap_or(features)
            } else {
                features
            },
            &mut stream,
        );
        let part = if in_targets {
            Part {
                features,
                targets: Some(file.as_slice()),
            }
        } else {
            Part {
                features: file.as_slice(),
                targets,
            }
        };
        let (read, taken) = counting::most_of(|| dataset::read(format, kind, part, None, &mut Allowance::whole()));
        assert!(
            taken <= 2 * plain_bytes + OVERHEAD_BYTES,
            "file {number}: {taken} bytes of memory for {plain_bytes} bytes"
        );
        match read {
            Ok(samples) => assert!(samples.rows > 0, "file {number}"),
            Err(error) => {
                assert!(
                    !error.reason.is_empty() && error.reason.len() < 1_000,
                    "file {number}: {error}"
                );
                refused += 1;
            }
        }
    }
    refused
}

// One test, as the allocator counts for the whole process.
#[test]
fn broken_files_are_refused_or_read() {
    let csv = csv();
    let columns = Format::Csv(Columns {
        features: vec!["x0".into(), "x1".into()],
        target: "y".into(),
    });
    let refused = read_all(&columns, TargetKind::Number, &csv, None, csv.len());
    assert!(refused > FILES / 4, "{refused} CSV files were refused");

    let images = idx(&[200, 28, 28], (0..200 * 784).map(|pixel| (pixel % 251) as u8));
    let of_images = idx(&[200], labels(200));
    let plain = images.len() + of_images.len();
    let refused = read_all(&Format::Idx, TargetKind::Class, &images, Some(&of_images), plain);
    assert!(refused > FILES / 2, "{refused} IDX files were refused");

    let table = npy("<f4", "(5000, 4)", &floats(20_000));
    let targets: Vec<u8> = labels(5_000).flat_map(|label| i64::from(label).to_le_bytes()).collect();
    let targets = npy("<i8", "(5000,)", &targets);
    let plain = table.len() + targets.len();
    let refused = read_all(&Format::Npy, TargetKind::Class, &table, Some(&targets), plain);
    assert!(refused > FILES / 2, "{refused} npy files were refused");

    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in [("x.npy", &table), ("y.npy", &targets)] {
        let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
        archive.start_file(name, options).expect("a file");
        archive.write_all(content).expect("written");
    }
    let archive = archive.finish().expect("an archive").into_inner();
    let arrays = Format::Npz(Arrays {
        features: "x".into(),
        target: "y".into(),
    });
    // Arrays are unpacked, then read: both forms are there at once.
    let refused = read_all(&arrays, TargetKind::Class, &archive, None, 2 * plain);
    assert!(refused > FILES / 2, "{refused} npz files were refused");
}
