//! The messages for refused files, all in one place: `messages.txt`, to be read with every change.
//!
//! With `TRAWL_WRITE_MESSAGES=1` in the environment the file is written anew.

mod files;

use std::fmt::Write as _;

use trawl_dataset::{
    Allowance, ArrayNames, ArrayRules, Arrays, Columns, Content, Dialect, Format, Header, Known, Layout, Part, Role,
    Scale, Selection, TargetKind,
};

use files::{gzip, idx, npy_with};

fn csv(header: Header) -> Format {
    let numbered = header == Header::Absent;
    let name = |name: &str, number: &str| {
        if numbered {
            format!("column_{number}")
        } else {
            name.to_owned()
        }
    };
    Format::Csv(Columns {
        features: Selection::Named(vec![name("height", "0"), name("weight", "1")]),
        target: name("label", "2"),
        dialect: Dialect {
            header,
            ..Dialect::default()
        },
        ..Columns::default()
    })
}

fn npz(test_target: Option<&str>) -> Format {
    let names = |target: Option<&str>| ArrayNames {
        features: "x_train".into(),
        target: target.map(str::to_owned),
    };
    let arrays = Arrays {
        train: names(Some("y_train")),
        validation: names(Some("y_train")),
        test: names(test_target),
    };
    Format::Npz(arrays, ArrayRules::default())
}

fn npy(descr: &str, shape: &str, content: &[u8]) -> Vec<u8> {
    npy_with(
        &format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n"),
        content,
    )
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn longs(values: &[i64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    files::archive(files, true)
}

/// The messages, each after its file's description.
struct Messages(String);

impl Messages {
    fn chapter(&mut self, title: &str) {
        write!(self.0, "\n## {title}\n").expect("a text takes all");
    }

    fn of(
        &mut self,
        what: &str,
        format: &Format,
        kind: TargetKind,
        role: Role<'_>,
        features: &dyn Content,
        targets: Option<&dyn Content>,
    ) {
        let part = Part { features, targets };
        let read = trawl_dataset::read(format, kind, role, part, &mut Allowance::whole());
        let error = read.expect_err(what);
        let file = if error.in_targets { " (targets)" } else { "" };
        write!(self.0, "\n{what}{file}\n    {}\n", error.reason).expect("a text takes all");
        if error.unquoted != error.reason {
            writeln!(self.0, "    {}", error.unquoted).expect("a text takes all");
        }
    }

    fn csv(&mut self, what: &str, text: &[u8]) {
        self.of(what, &csv(Header::Checked), TargetKind::Class, Role::Train, &text, None);
    }

    fn npy(&mut self, what: &str, features: &[u8]) {
        let labels = npy("<i8", "(2,)", &longs(&[0, 1]));
        self.of(
            what,
            &Format::Npy(ArrayRules::default()),
            TargetKind::Class,
            Role::Train,
            &features,
            Some(&labels),
        );
    }

    fn targets(&mut self, what: &str, kind: TargetKind, targets: &[u8]) {
        let table = npy("<f4", "(2, 1)", &floats(&[1.0, 2.0]));
        self.of(
            what,
            &Format::Npy(ArrayRules::default()),
            kind,
            Role::Train,
            &table,
            Some(&targets),
        );
    }

    fn npz(&mut self, what: &str, archive: &[u8]) {
        self.of(what, &npz(None), TargetKind::Class, Role::Train, &archive, None);
    }
}

fn tables(m: &mut Messages) {
    m.chapter("CSV: columns");
    m.csv("a feature that is not there", b"hight,weight,label\n1,2,a\n");
    m.csv("a target that is not there", b"height,weight,lable\n1,2,a\n");
    m.csv("nothing near", b"a,b,c\n1,2,3\n");
    m.csv("a column twice", b"height,weight,height,label\n1,2,3,a\n");
    m.csv("semicolons", b"height;weight;label\n1;2;a\n");
    m.csv("no header", b"1,2,3\n4,5,6\n");
    m.of(
        "no header, and a column beyond the last",
        &csv(Header::Absent),
        TargetKind::Class,
        Role::Train,
        &"1,2\n",
        None,
    );
    m.csv("no row", b"height,weight,label\n");
    m.csv("nothing", b"");
    m.chapter("CSV: cells");
    m.csv("a word", b"height,weight,label\r\n1,2,a\r\n1,tall,b\r\n");
    m.csv("an empty cell", b"height,weight,label\n1,,a\n");
    m.csv("infinity", b"height,weight,label\n1,inf,a\n");
    m.csv("beyond float32", b"height,weight,label\n1,1e60,a\n");
    m.csv("an empty class", b"height,weight,label\n1,2,\n");
    m.csv("a short row", b"height,weight,label\n1,2\n");
    m.csv("an open quote", b"height,weight,label\n1,\"2,a\n3,4,b\n");
    m.chapter("CSV: encodings");
    m.csv("Latin-1", b"height,weight,label\n1,2,M\xfcnchen\n");
    m.csv("Windows-1252", b"height,weight,label\n1,2,\x80\n");
    m.csv("UTF-16", b"\xff\xfeh\0e\0i\0g\0h\0t\0");
    m.csv("bytes", b"height,weight,label\n1,2,\x81\n");
    m.chapter("CSV: classes");
    m.csv("one class", b"height,weight,label\n1,2,a\n1,3,a\n");
    m.csv(
        "one number in two texts",
        b"height,weight,label\n1,2,1\n1,3,1.0\n1,3,2\n",
    );
    let many: String = (0..5_000).map(|row| format!("1,2,{row}.5\n")).collect();
    m.csv("numbers for classes", format!("height,weight,label\n{many}").as_bytes());
    let classes = ["a".to_owned(), "b".to_owned()];
    let known = Known {
        classes: Some(classes.to_vec()),
        inputs: None,
    };
    let test = Role::Test(&known);
    let checked = csv(Header::Checked);
    m.of(
        "a test label of no class",
        &checked,
        TargetKind::Class,
        test,
        &"height,weight,label\n1,2,c\n",
        None,
    );
    m.of(
        "a test target that is written otherwise",
        &checked,
        TargetKind::Class,
        test,
        &"height,weight,Label\n1,2,a\n",
        None,
    );
    m.chapter("CSV: float32");
    m.csv(
        "seconds since 1970",
        b"height,weight,label\n1700000000,2,a\n1700000007,2,b\n",
    );
    m.csv(
        "what differs too little",
        b"height,weight,label\n1000.00001,2,a\n1000.00002,2,b\n1000.5,3,a\n",
    );
    let numbers = "height,weight,label\n1,2,16777216\n1,2,16777217\n";
    m.of(
        "a large target",
        &checked,
        TargetKind::Number,
        Role::Train,
        &numbers,
        None,
    );
}

fn arrays(m: &mut Messages) {
    m.chapter(".npy: headers");
    let header = |descr: &str| npy(descr, "(2, 1)", &[0; 16]);
    for (what, descr) in [
        ("texts", "<U5"),
        ("objects", "|O"),
        ("complex numbers", "<c16"),
        ("dates", "<M8[ns]"),
        ("bfloat16", "|V2"),
        ("long doubles", "<f16"),
        ("an unknown type", "<q3"),
    ] {
        m.npy(what, &header(descr));
    }
    let records = "{'descr': [('a', '<f4'), ('b', '<i4')], 'fortran_order': False, 'shape': (2,), }\n";
    m.npy("records", &npy_with(records, &[0; 16]));
    m.npy("no dictionary", &npy_with("{'descr': '<f4', 'shape'\n", &[]));
    m.npy("no order", &npy_with("{'descr': '<f4', 'shape': (2, 1)}\n", &[]));
    m.npy("cut off in its header", &header("<f4")[..30]);
    m.chapter(".npy: shapes");
    m.npy("one axis", &npy("<f4", "(2,)", &[0; 8]));
    m.npy("no rows", &npy("<f4", "(0, 3)", &[]));
    m.npy("cut off", &npy("<f4", "(2, 3)", &[0; 23]));
    m.npy("cut off, compressed", &gzip(&npy("<f4", "(2, 3)", &[0; 23])));
    m.npy("channels last", &npy("|u1", "(2, 12, 12, 3)", &[0; 864]));
    m.npy("grey, channels last", &npy("|u1", "(2, 28, 28, 1)", &[0; 1_568]));
    m.chapter(".npy: numbers");
    m.npy(
        "NaN in a table",
        &npy("<f4", "(2, 2)", &floats(&[1.0, 2.0, 3.0, f32::NAN])),
    );
    m.npy(
        "infinity in an image",
        &npy("<f4", "(2, 1, 2)", &floats(&[1.0, 2.0, f32::INFINITY, 4.0])),
    );
    m.npy(
        "large whole numbers",
        &npy("<i8", "(2, 2)", &longs(&[1, 16_777_216, 1, 16_777_217])),
    );
    m.chapter(".npy: targets");
    m.targets("too few", TargetKind::Number, &npy("<i8", "(1,)", &longs(&[1])));
    m.targets(
        "one column a class",
        TargetKind::Class,
        &npy("|u1", "(2, 3)", &[1, 0, 0, 0, 1, 0]),
    );
    m.targets("NaN", TargetKind::Class, &npy("<f4", "(2,)", &floats(&[1.0, f32::NAN])));
    m.targets("one class", TargetKind::Class, &npy("|u1", "(2,)", &[7, 7]));
    m.targets(
        "large whole numbers",
        TargetKind::Number,
        &npy("<i8", "(2,)", &longs(&[16_777_217, 16_777_230])),
    );
    let table = npy("<f4", "(2, 1)", &floats(&[1.0, 2.0]));
    let classes = ["2".to_owned(), "10".to_owned()];
    let known = Known {
        classes: Some(classes.to_vec()),
        inputs: None,
    };
    let test = Role::Test(&known);
    let labels = npy("|u1", "(2,)", &[2, 3]);
    m.of(
        "a test label of no class",
        &Format::Npy(ArrayRules::default()),
        TargetKind::Class,
        test,
        &table,
        Some(&labels),
    );
    m.of(
        "no targets",
        &Format::Npy(ArrayRules::default()),
        TargetKind::Class,
        Role::Train,
        &table,
        None,
    );
}

fn idx_files(m: &mut Messages) {
    m.chapter("IDX");
    let labels = idx(&[2], &[0, 1]);
    let mut images = |what: &str, format: Format, images: &[u8], labels: &[u8]| {
        m.of(what, &format, TargetKind::Class, Role::Train, &images, Some(&labels));
    };
    images(
        "cut off",
        Format::Idx(ArrayRules::default()),
        &idx(&[2, 2, 2], &[0; 7]),
        &labels,
    );
    images(
        "floats",
        Format::Idx(ArrayRules::default()),
        &[0, 0, 0x0d, 3, 0, 0, 0, 0],
        &labels,
    );
    images(
        "another magic number",
        Format::Idx(ArrayRules::default()),
        &[1, 2, 3, 4],
        &labels,
    );
    images(
        "too few labels",
        Format::Idx(ArrayRules::default()),
        &idx(&[3, 1, 1], &[0; 3]),
        &labels,
    );
    let first = Format::Idx(Some(Layout::ChannelsFirst).into());
    images("no rows", first, &idx(&[0, 1, 1, 1], &[]), &labels);
    images(
        "a label beyond FashionMNIST's",
        Format::FashionMnist(Scale::None),
        &idx(&[2, 1, 1], &[0; 2]),
        &idx(&[2], &[0, 10]),
    );
}

fn archives(m: &mut Messages) {
    m.chapter(".npz");
    let x = npy("<f4", "(2, 1)", &floats(&[1.0, 2.0]));
    let y = npy("<i8", "(2,)", &longs(&[0, 1]));
    let sound = archive(&[("x_train.npy", &x), ("y_train.npy", &y)]);
    m.npz("no such array", &archive(&[("x_trian.npy", &x), ("y_train.npy", &y)]));
    m.npz("no targets", &archive(&[("x_train.npy", &x), ("labels.npy", &y)]));
    m.npz("cut off", &sound[..sound.len() - 30]);
    m.npz(
        "texts",
        &archive(&[("x_train.npy", &x), ("y_train.npy", &npy("<U3", "(2,)", &[0; 24]))]),
    );
    let mut damaged = sound.clone();
    damaged[80] ^= 0x55;
    m.npz("damaged", &damaged);
    let known = Known::default();
    let test = Role::Test(&known);
    m.of(
        "a test target that is asked for",
        &npz(Some("y_test")),
        TargetKind::Number,
        test,
        &sound,
        None,
    );
}

fn others(m: &mut Messages) {
    m.chapter("Other files, where CSV is expected");
    let office = archive(&[("[Content_Types].xml", b"<?xml?>")]);
    let torch = archive(&[("model/data.pkl", b"\x80\x02")]);
    let some = archive(&[("x.npy", &npy("|u1", "(1,)", &[1]))]);
    let mut tar = vec![0; 512];
    tar[..5].copy_from_slice(b"a.csv");
    tar[257..262].copy_from_slice(b"ustar");
    for (what, bytes) in [
        ("zstd", &b"\x28\xb5\x2f\xfd\x04\0\0"[..]),
        ("bzip2", b"BZh91AY&SY\0\0\0"),
        ("xz", b"\xfd7zXZ\0\0"),
        ("Parquet", b"PAR1\x15\x04\x15"),
        ("Arrow", b"ARROW1\0\0"),
        ("Excel, old", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
        ("Excel", &office),
        ("torch.save", &torch),
        ("an archive of arrays", &some),
        ("another archive", &archive(&[("table.csv", b"a,b")])),
        ("HDF5", b"\x89HDF\r\n\x1a\n\0"),
        ("PNG", b"\x89PNG\r\n\x1a\n\0"),
        ("JPEG", b"\xff\xd8\xff\xe0\0"),
        ("a pickle", b"\x80\x04\x95\0"),
        ("MATLAB", b"MATLAB 5.0 MAT-file\0"),
        ("a database", b"SQLite format 3\0"),
        ("a web page", b"<!DOCTYPE html>\n<html>"),
        ("Git LFS", b"version https://git-lfs.github.com/spec/v1\n"),
        ("an array", &npy("|u1", "(1,)", &[1])),
        ("IDX", &idx(&[1, 1, 1], &[1])),
        ("tar", &tar),
        ("tar, compressed", &gzip(&tar)),
        ("gzip, cut off", &gzip(b"height,weight,label\n1,2,a\n")[..20]),
        ("gzip twice", &gzip(&gzip(b"height,weight,label\n1,2,a\n"))),
    ] {
        m.csv(what, bytes);
    }
    m.chapter("Files of one kind for another");
    m.npy("CSV for .npy", b"height,weight,label\n1,2,a\n");
    m.npy(".npz for .npy", &some);
    m.npy("anything for .npy", b"\x01\x02\x03\x04\x05\x06\x07\x08");
    m.npz(".npy for .npz", &npy("|u1", "(1,)", &[1]));
    m.npz("gzip for .npz", &gzip(&some));
    m.npz("anything for .npz", b"\x01\x02\x03\x04");
    let labels = idx(&[2], &[0, 1]);
    m.of(
        "CSV for IDX",
        &Format::Idx(ArrayRules::default()),
        TargetKind::Class,
        Role::Train,
        &"a,b\n1,2\n",
        Some(&labels),
    );
}

#[test]
fn messages_are_those_that_were_looked_at() {
    let mut messages = Messages(
        "# What is said of files that are refused\n\nEach to those who have sent the file, and where it differs to everybody else.\n"
            .to_owned(),
    );
    tables(&mut messages);
    arrays(&mut messages);
    idx_files(&mut messages);
    archives(&mut messages);
    others(&mut messages);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/messages.txt");
    if std::env::var_os("TRAWL_WRITE_MESSAGES").is_some() {
        std::fs::write(path, &messages.0).expect("written");
    }
    let looked_at = std::fs::read_to_string(path).expect("the file");
    for (number, (now, then)) in messages.0.lines().zip(looked_at.lines()).enumerate() {
        assert_eq!(now, then, "line {} of messages.txt", number + 1);
    }
    assert_eq!(messages.0.lines().count(), looked_at.lines().count());
    for word in [
        "csv_core",
        "zip::",
        "deflate",
        "flate",
        "prost",
        "Zip archive",
        "ZipError",
    ] {
        assert!(!messages.0.contains(word), "{word}");
    }
}
