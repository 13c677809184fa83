//! Arbitrary bytes, and files with flipped bytes, torn ends and duplicated parts: each is read, or refused with a
//! reason that names the place, without a panic, and without more memory than the file accounts for.

mod counting;
mod files;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use trawl_dataset::{
    Allowance, ArrayNames, ArrayRules, Arrays, Columns, Content, Dialect, FeatureFormat, Format, Header, Inputs, Known,
    Layout, Part, ReadError, Role, SampleShape, Selection, TargetKind,
};

use files::{archive, gzip, idx, npy_with};

/// Files of each kind.
const FILES: u32 = 1_500;
/// Memory for reading beside the file's contents: buffers, parser state, messages.
const OVERHEAD_BYTES: usize = 768 << 10;
/// Most bytes that one byte of a compressed file unpacks to.
const UNPACKED_BYTES_MAX: usize = 1_032;

/// A kind of file, with a valid one.
struct Subject {
    format: Format,
    kind: TargetKind,
    features: Vec<u8>,
    targets: Option<Vec<u8>>,
    /// Most memory of its numbers, for each byte of the file.
    growth: usize,
}

fn csv() -> Vec<u8> {
    let rows = (0..200).map(|row| format!("{}.5,{},\"{}\"\r\n", row, row * 7 % 11, row % 3));
    "x0,x1,y\r\n"
        .chars()
        .chain(rows.collect::<String>().chars())
        .collect::<String>()
        .into_bytes()
}

fn npy(descr: &str, is_fortran: &str, shape: &str, content: &[u8]) -> Vec<u8> {
    npy_with(
        &format!("{{'descr': '{descr}', 'fortran_order': {is_fortran}, 'shape': {shape}, }}\n"),
        content,
    )
}

fn subjects() -> Vec<Subject> {
    let columns = |header| {
        Format::Csv(Columns {
            features: Selection::Named(vec!["x0".into(), "x1".into()]),
            target: "y".into(),
            dialect: Dialect {
                header,
                ..Dialect::default()
            },
            ..Columns::default()
        })
    };
    let names = ArrayNames {
        features: "x".into(),
        target: Some("y".into()),
    };
    let arrays = Arrays {
        train: names.clone(),
        validation: names.clone(),
        test: names,
    };
    let pixels: Vec<u8> = (0..20 * 64).map(|pixel| (pixel % 251) as u8).collect();
    let images = idx(&[20, 8, 8], &pixels);
    let labels: Vec<u8> = (0..20).map(|row| row % 10).collect();
    let labels = idx(&[20], &labels);
    let doubles: Vec<u8> = (0..200).flat_map(|n| (f64::from(n) / 7.0).to_be_bytes()).collect();
    let table = npy(">f8", "True", "(50, 4)", &doubles);
    let longs: Vec<u8> = (0..50_i64).flat_map(|row| (row % 3 - 1).to_le_bytes()).collect();
    let targets = npy("<i8", "False", "(50,)", &longs);
    let archive = archive(&[("x.npy", &table), ("y.npy", &targets)], true);
    let subject = |format, kind, features: &[u8], targets: Option<&[u8]>, growth| Subject {
        format,
        kind,
        features: features.to_vec(),
        targets: targets.map(<[u8]>::to_vec),
        growth,
    };
    let last = Some(Layout::ChannelsLast);
    vec![
        // A row of a few bytes becomes numbers of four bytes, in a list that grows by doubling, and a map for the second look.
        subject(columns(Header::Checked), TargetKind::Number, &csv(), None, 64),
        subject(
            columns(Header::Present),
            TargetKind::Class,
            &gzip(&csv()),
            None,
            64 * UNPACKED_BYTES_MAX,
        ),
        subject(
            Format::Idx(ArrayRules::default()),
            TargetKind::Class,
            &images,
            Some(&labels),
            8,
        ),
        subject(
            Format::Idx(last.into()),
            TargetKind::Number,
            &gzip(&images),
            Some(&labels),
            8 * UNPACKED_BYTES_MAX,
        ),
        subject(
            Format::Npy(ArrayRules::default()),
            TargetKind::Class,
            &table,
            Some(&targets),
            64,
        ),
        subject(
            Format::Npy(last.into()),
            TargetKind::Number,
            &gzip(&table),
            Some(&targets),
            64 * UNPACKED_BYTES_MAX,
        ),
        subject(
            Format::Npz(arrays, ArrayRules::default()),
            TargetKind::Class,
            &archive,
            None,
            64 * UNPACKED_BYTES_MAX,
        ),
    ]
}

/// One change of a file.
#[derive(Clone, Debug)]
enum Change {
    Flip(prop::sample::Index, u8),
    Put(prop::sample::Index, Vec<u8>),
    Cut(prop::sample::Index),
    Repeat(prop::sample::Index, prop::sample::Index),
}

impl Change {
    fn make(&self, file: &mut Vec<u8>) {
        if file.is_empty() {
            return;
        }
        match self {
            Self::Flip(at, bit) => {
                let at = at.index(file.len());
                file[at] ^= 1 << bit;
            }
            Self::Put(at, bytes) => {
                let at = at.index(file.len());
                file.splice(at..at, bytes.iter().copied());
            }
            Self::Cut(at) => file.truncate(at.index(file.len())),
            Self::Repeat(from, to) => {
                let (from, to) = (from.index(file.len()), to.index(file.len()));
                let piece = file[from.min(to)..from.max(to)].to_vec();
                file.extend(piece);
            }
        }
    }
}

/// Changes of a file, or entirely other bytes.
fn changes() -> impl Strategy<Value = Result<Vec<Change>, Vec<u8>>> {
    let index = any::<prop::sample::Index>;
    // Half of the flips go to the beginning, where the headers are.
    let change = prop_oneof![
        4 => (index(), 0..8_u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        2 => (index(), vec(prop_oneof![any::<u8>(), Just(b','), Just(b'\n'), Just(b'"'), Just(b'\r')], 1..9))
            .prop_map(|(at, bytes)| Change::Put(at, bytes)),
        1 => index().prop_map(Change::Cut),
        1 => (index(), index()).prop_map(|(from, to)| Change::Repeat(from, to)),
    ];
    let beginnings = prop::sample::select(vec![
        &b""[..],
        b"x0,x1,y\n",
        b"\0\0\x08\x02",
        b"\x93NUMPY\x01\0",
        b"PK\x03\x04",
        b"\x1f\x8b\x08\0",
        b"\xef\xbb\xbf",
    ]);
    let bytes = (beginnings, vec(any::<u8>(), 0..300)).prop_map(|(first, rest)| [first, &rest].concat());
    prop_oneof![4 => vec(change, 1..5).prop_map(Ok), 1 => bytes.prop_map(Err)]
}

/// True if a reason names a place: a line, a row, a column, an array, or what the whole file is or has.
fn says_where(error: &ReadError) -> bool {
    let begins = [
        "line ",
        "row ",
        "column ",
        "array '",
        "is ",
        "has ",
        "holds ",
        "ends ",
        "cannot be ",
        "may be ",
    ];
    begins.iter().any(|begin| error.reason.starts_with(begin))
        && error.reason.len() < 1_000
        && !error.unquoted.is_empty()
}

fn look(subject: &Subject, changes: &Result<Vec<Change>, Vec<u8>>, in_targets: bool) -> Result<(), TestCaseError> {
    let in_targets = in_targets && subject.targets.is_some();
    let (mut features, mut targets) = (subject.features.clone(), subject.targets.clone());
    let file = match &mut targets {
        Some(targets) if in_targets => targets,
        _ => &mut features,
    };
    match changes {
        Ok(changes) => changes.iter().for_each(|change| change.make(file)),
        Err(bytes) => file.clone_from(bytes),
    }
    let bytes = features.len() + targets.as_ref().map_or(0, Vec::len);
    let bytes_max = subject.growth * bytes + OVERHEAD_BYTES;
    let part = Part {
        features: &features as &dyn Content,
        targets: targets.as_ref().map(|targets| targets as &dyn Content),
    };
    let classes = ["0".to_owned(), "1".to_owned(), "2".to_owned()];
    let known = Known {
        classes: (subject.kind == TargetKind::Class).then(|| classes.to_vec()),
        inputs: None,
    };
    for role in [Role::Train, Role::Test(&known)] {
        let (read, taken) = counting::most_of(|| {
            trawl_dataset::read(&subject.format, subject.kind, role, part, &mut Allowance::whole())
        });
        prop_assert!(taken <= bytes_max, "{taken} bytes of memory for {bytes} bytes");
        match read {
            Ok(samples) => {
                prop_assert!(samples.rows > 0);
                prop_assert_eq!(samples.rows_digest(), samples.rows_digest());
            }
            Err(error) => prop_assert!(says_where(&error), "{error}"),
        }
    }
    let inputs = Inputs::of_numbers(&["x0".to_owned(), "x1".to_owned()]);
    let format = match &subject.format {
        Format::Csv(table) => FeatureFormat::Csv {
            inputs: &inputs,
            dialect: &table.dialect,
        },
        Format::Idx(rules) => FeatureFormat::Idx(rules.layout),
        Format::FashionMnist(_) | Format::Npy(_) | Format::Npz(..) | Format::Pictures(..) => FeatureFormat::Npy(None),
    };
    let shape = SampleShape::Vector(2);
    let (read, taken) = counting::most_of(|| trawl_dataset::read_features(format, shape, &features));
    prop_assert!(taken <= bytes_max, "{taken} bytes of memory for {bytes} bytes");
    if let Err(error) = read {
        prop_assert!(says_where(&error), "{error}");
    }
    Ok(())
}

// One test, as the allocator counts for the whole process.
#[test]
fn broken_files_are_refused_or_read() {
    for (number, subject) in subjects().iter().enumerate() {
        let sound = look(subject, &Ok(Vec::new()), false);
        assert!(sound.is_ok(), "subject {number}: {sound:?}");
        let config = Config {
            failure_persistence: None,
            ..Config::with_cases(FILES)
        };
        let found = TestRunner::new(config).run(&(changes(), any::<bool>()), |(changes, in_targets)| {
            look(subject, &changes, in_targets)
        });
        if let Err(error) = found {
            panic!("subject {number}, {:?}: {error}", subject.format);
        }
    }
}
