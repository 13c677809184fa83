//! Files made to take memory or time, or to reveal the content of other files: each is refused before it takes much of either.

mod counting;

use std::cell::Cell;
use std::io::{Cursor, Write};

use trawl_dataset::limits::{CSV_COLUMNS_MAX, CSV_RECORD_BYTES_MAX, DATASET_VALUES_MAX};
use trawl_dataset::{
    Allowance, ArrayNames, ArrayRules, Arrays, Columns, Content, Features, Format, Part, ReadError, Role, Samples,
    Selection, TargetKind,
};

/// Most memory of a refusal: one record with its columns and their names, or the directory of an archive.
const REFUSAL_BYTES: usize = 8 << 20;

fn read(format: &Format, kind: TargetKind, features: &[u8], targets: Option<&[u8]>) -> Result<Samples, ReadError> {
    let part = Part {
        features: &features as &dyn Content,
        targets: targets.as_ref().map(|targets| targets as &dyn Content),
    };
    trawl_dataset::read(format, kind, Role::Train, part, &mut Allowance::whole())
}

/// Reads a file that has to be refused, in bounded memory.
fn refused(format: &Format, features: &[u8], targets: Option<&[u8]>) -> String {
    let (read, taken) = counting::most_of(|| read(format, TargetKind::Class, features, targets));
    let error = read.expect_err("it is refused").reason;
    assert!(taken < REFUSAL_BYTES, "{taken} bytes to say: {error}");
    error
}

fn csv(features: &[&str]) -> Format {
    Format::Csv(Columns {
        features: Selection::Named(features.iter().map(|name| (*name).to_owned()).collect()),
        target: "y".into(),
        ..Columns::default()
    })
}

fn npz() -> Format {
    let names = ArrayNames {
        features: "x".into(),
        target: Some("y".into()),
    };
    let arrays = Arrays {
        train: names.clone(),
        validation: names.clone(),
        test: names,
    };
    Format::Npz(arrays, ArrayRules::default())
}

/// An archive of zeros: bytes in these shapes.
fn zeros(x: [usize; 2], y: usize) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, shape, len) in [
        ("x.npy", format!("({}, {})", x[0], x[1]), x[0] * x[1]),
        ("y.npy", format!("({y},)"), y),
    ] {
        let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
        archive.start_file(name, options).expect("a file");
        let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n");
        archive.write_all(b"\x93NUMPY\x01\x00").expect("written");
        archive
            .write_all(&(header.len() as u16).to_le_bytes())
            .expect("written");
        archive.write_all(header.as_bytes()).expect("written");
        // Two different labels.
        archive.write_all(&[1]).expect("written");
        std::io::copy(
            &mut std::io::Read::take(std::io::repeat(0), len as u64 - 1),
            &mut archive,
        )
        .expect("written");
    }
    archive.finish().expect("an archive").into_inner()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(content).expect("written");
    packed.finish().expect("packed")
}

/// A file that unpacks to more than the limit.
fn bombs() {
    let zeros = vec![b'\n'; 64 << 20];
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(b"x,y\n").expect("written");
    for _ in 0..16 {
        packed.write_all(&zeros).expect("written");
    }
    let bomb = packed.finish().expect("packed");
    drop(zeros);
    assert_eq!(refused(&csv(&["x"]), &bomb, None), trawl_dataset::TOO_LARGE);
    // A small file whose header claims much.
    let array = b"\x93NUMPY\x01\0\x46\0{'descr': '|u1', 'fortran_order': False, 'shape': (30000000, 1), }    \n";
    let labels = idx(&[1]);
    let said = refused(&Format::Npy(ArrayRules::default()), &gzip(array), Some(&labels));
    assert_eq!(said, "has fewer elements than its header says");
}

fn idx(dims: &[u32]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, dims.len() as u8];
    dims.iter().for_each(|dim| file.extend(dim.to_be_bytes()));
    file.resize(file.len() + dims.iter().map(|dim| *dim as usize).product::<usize>(), 0);
    file
}

fn tables() {
    // 60 million unnamed columns, then the wanted ones.
    let mut header = vec![b','; 60_000_000];
    header.extend_from_slice(b"x,y\n");
    let too_many = format!("line 1 has more than {CSV_COLUMNS_MAX} columns");
    assert_eq!(refused(&csv(&["x"]), &header, None), too_many);
    let wide = format!("y,x{}\n1,2{}\n", ",".repeat(19_000_000), ",".repeat(19_000_000));
    assert_eq!(refused(&csv(&["x"]), wide.as_bytes(), None), too_many);
    let wide = format!("y,x\n1,2{}\n", ",".repeat(19_000_000));
    assert_eq!(
        refused(&csv(&["x"]), wide.as_bytes(), None),
        format!("line 2 has more than {CSV_COLUMNS_MAX} columns")
    );
    // The same in a file without a size.
    let packed = gzip(wide.as_bytes());
    assert_eq!(
        refused(&csv(&["x"]), &packed, None),
        format!("line 2 has more than {CSV_COLUMNS_MAX} columns")
    );
    // An unclosed quote makes one field of everything after it.
    let open = format!("y,x\n1,\"{}", "2\n".repeat(20_000_000));
    assert_eq!(
        refused(&csv(&["x"]), open.as_bytes(), None),
        format!(
            "line 2 is longer than {CSV_RECORD_BYTES_MAX} bytes: a quote may be open; if \" has no meaning in the file, set csv.quote: none"
        )
    );
    // As many columns as there may be are looked for by an index.
    let names: Vec<String> = (0..CSV_COLUMNS_MAX - 1).map(|n| format!("c{n}")).collect();
    let features: Vec<&str> = names.iter().rev().take(4_096).map(String::as_str).collect();
    let rows = [",1", ",2"].map(|row| row.repeat(names.len()));
    let table = format!("y,{}\n0{}\n1{}\n", names.join(","), rows[0], rows[1]);
    let samples = read(&csv(&features), TargetKind::Class, table.as_bytes(), None).expect("a table");
    assert_eq!((samples.rows, samples.shape.len()), (2, 4_096));
}

fn arrays() {
    let too_many = format!(
        "has too many numbers: a dataset may have {DATASET_VALUES_MAX}, features and targets of all rows together"
    );
    let bomb = zeros([62_000_000, 1], 62_000_000);
    assert!(bomb.len() < 256 << 10, "{} bytes", bomb.len());
    assert_eq!(refused(&npz(), &bomb, None), format!("array 'x' {too_many}"));
    let (images, labels) = (idx(&[33_554_433, 1]), idx(&[33_554_433]));
    assert_eq!(
        refused(&Format::Idx(ArrayRules::default()), &images, Some(&labels)),
        too_many
    );

    // The largest archive that is read: bytes stay bytes, and labels take four each.
    let rows = 30_000_000;
    let largest = zeros([rows, 1], rows);
    let (samples, taken) = counting::most_of(|| read(&npz(), TargetKind::Class, &largest, None));
    let samples = samples.expect("samples");
    assert!(matches!(samples.features, Features::Whole(bytes) if bytes.len() == rows));
    eprintln!("{rows} rows of one byte and a label: {} MiB at most", taken >> 20);
    assert!(taken < 5 * rows + (1 << 20), "{taken} bytes");

    // Both parts are of one dataset.
    let mut allowance = Allowance::whole();
    let mut next = |rows: usize| {
        let archive = zeros([rows, 1], rows);
        let part = Part {
            features: &archive as &dyn Content,
            targets: None,
        };
        trawl_dataset::read(&npz(), TargetKind::Class, Role::Train, part, &mut allowance).map(|samples| samples.rows)
    };
    assert_eq!(next(20_000_000).ok(), Some(20_000_000));
    assert_eq!(
        next(20_000_000).expect_err("too many").reason,
        format!("array 'x' {too_many}")
    );
}

fn directories() {
    // A directory of a million unnamed members, whose memory would be ten times the file's.
    let members = 1_000_000_u32;
    let mut archive = Vec::new();
    for _ in 0..members {
        archive.extend_from_slice(b"PK\x01\x02");
        archive.resize(archive.len() + 42, 0);
    }
    let size = archive.len() as u32;
    archive.extend_from_slice(b"PK\x06\x06\x2c\0\0\0\0\0\0\0\x2d\0\x2d\0\0\0\0\0\0\0\0\0");
    for number in [u64::from(members), u64::from(members), u64::from(size), 0] {
        archive.extend_from_slice(&number.to_le_bytes());
    }
    archive.extend_from_slice(b"PK\x06\x07\0\0\0\0");
    archive.extend_from_slice(&u64::from(size).to_le_bytes());
    archive.extend_from_slice(b"\x01\0\0\0PK\x05\x06\0\0\0\0\xff\xff\xff\xff");
    archive.extend_from_slice(&size.to_le_bytes());
    archive.extend_from_slice(&[0; 6]);
    assert_eq!(
        refused(&npz(), &archive, None),
        "has too many arrays, or too long names of them"
    );
}

/// An archive with many ends.
fn ends() {
    let mut archive = zeros([1_000, 1], 1_000);
    let end = archive.split_off(archive.len() - 22);
    for _ in 0..100 {
        archive.extend(b"PK\x06\x07");
        archive.extend([0; 16]);
    }
    archive.extend(end);
    assert_eq!(
        refused(&npz(), &archive, None),
        "is no .npz archive: its directory is not where its end says"
    );
}

fn times() {
    let table = format!("x,y\n{}", "1,2\n".repeat(1_000_000));
    let looks = Cell::new(0);
    let go_on = || {
        looks.set(looks.get() + 1);
        looks.get() <= 10
    };
    let mut allowance = Allowance {
        values: DATASET_VALUES_MAX,
        go_on: &go_on,
    };
    let part = Part {
        features: &table as &dyn Content,
        targets: None,
    };
    let read = trawl_dataset::read(&csv(&["x"]), TargetKind::Number, Role::Train, part, &mut allowance);
    assert_eq!(read.expect_err("no time").reason, "takes too long to be read");
    assert_eq!(looks.get(), 11, "it looks between rows, and stops at once");
}

/// Each file is a secret that a request calls a dataset.
fn secrets() {
    let secret = "correct horse battery staple";
    let npy = |descr: &str| {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (7, 7), }}\n");
        [
            b"\x93NUMPY\x01\x00",
            &(header.len() as u16).to_le_bytes()[..],
            header.as_bytes(),
        ]
        .concat()
    };
    let labels = idx(&[1]);
    let labels = Some(labels.as_slice());
    let cases = [
        (csv(&["x"]), secret.into(), None),
        (csv(&["x"]), format!("x,y\n1,2\n1,{secret}\n").into(), None),
        (csv(&["x"]), format!("x,y\n1,2\n{secret},2\n").into(), None),
        (csv(&["x"]), format!("x,y\n{secret}\n").into(), None),
        (Format::Idx(ArrayRules::default()), secret.into(), labels),
        (Format::Npy(ArrayRules::default()), npy(secret), labels),
        (Format::Npy(ArrayRules::default()), secret.into(), labels),
        (npz(), secret.into(), None),
    ];
    for (format, file, targets) in cases {
        let error = read(&format, TargetKind::Number, &file, targets).expect_err("no dataset");
        let said = error.unquoted.to_lowercase();
        for word in secret.split(' ') {
            assert!(!said.contains(word), "{format:?}: {said}");
        }
        // Its first bytes as a number.
        assert!(!said.contains("636f7272"), "{format:?}: {said}");
    }
    let error = read(&csv(&["x"]), TargetKind::Number, secret.as_bytes(), None).expect_err("no dataset");
    assert_eq!(error.unquoted, "has no column 'x'; its columns are …");
    assert!(error.reason.contains(secret), "those who sent it are told: {error}");
}

// One test, as the allocator counts for the whole process.
#[test]
fn hostile_files_are_refused_before_they_take_memory_or_time() {
    tables();
    arrays();
    bombs();
    directories();
    ends();
    times();
    secrets();
}

const _: () = assert!(
    70_000 * (28 * 28 + 1) <= DATASET_VALUES_MAX,
    "FashionMNIST has to be read"
);
