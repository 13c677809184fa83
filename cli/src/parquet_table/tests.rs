use std::path::PathBuf;

use super::*;

/// Of the files that `make_parquet.py` wrote.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn written(name: &str) -> String {
    let table = to_csv(&file(name), true).expect(name);
    std::fs::read_to_string(table).expect("a file")
}

#[test]
fn a_file_is_the_table_that_is_in_it() {
    let expected = "\
whole,unsigned,single,double,half,truth,text,word,day,ms,ns,price,7
1,0,0.1,0.1,1.5,true,\"a, \"\"b\"\"\",red,2026-01-31,2026-01-31T13:45:00.250,2026-01-31T13:45:00.250,12.30,1
,4294967295,,100000000000000000000,,,,blue,,,,,2
-4611686018427387904,7,,-2.5,-0.25,false,\"ü
\",red,1969-07-20,1969-12-31,1969-12-31,-0.05,3
";
    for name in ["snappy", "zstd", "gzip", "none", "older"] {
        assert_eq!(written(&format!("{name}.parquet")), expected, "{name}");
    }
    let without_names = to_csv(&file("none.parquet"), false).expect("a table");
    let without_names = std::fs::read_to_string(without_names).expect("a file");
    assert_eq!(without_names, expected.split_once('\n').expect("lines").1);
}

#[test]
fn what_is_no_text_has_its_column_and_row() {
    assert_eq!(
        to_csv(&file("bytes.parquet"), true).expect_err("bytes"),
        "column 'b', row 1: is no text in UTF-8, and no number or date that is read"
    );
}

#[test]
fn files_are_known_by_both_ends() {
    assert!(is_parquet(&file("none.parquet")));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x");
    let whole = std::fs::read(file("snappy.parquet")).expect("a file");
    for other in [&b"PAR1,y\n1,2\n"[..], b"PAR", b"", &whole[..whole.len() - 1]] {
        std::fs::write(&path, other).expect("written");
        assert!(!is_parquet(&path));
    }
    assert!(!is_parquet(&folder.path().join("nowhere")));
}

#[test]
fn a_broken_file_is_refused() {
    let whole = std::fs::read(file("bytes.parquet")).expect("a file");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x");
    for place in 0..whole.len() {
        let mut broken = whole.clone();
        broken[place] ^= 0x55;
        std::fs::write(&path, &broken).expect("written");
        // It may be another table, or none.
        if let Err(reason) = to_csv(&path, true) {
            assert!(!reason.is_empty());
        }
    }
}

#[test]
fn decimals_and_dates_are_written_as_they_are_read() {
    for (digits, scale, text) in [
        (0, 0, "0"),
        (-5, 2, "-0.05"),
        (1_230, 2, "12.30"),
        (7, 0, "7"),
        (-100, 1, "-10.0"),
    ] {
        assert_eq!(decimal(digits, scale), text);
    }
    assert_eq!(whole(-1, Cells::Date).as_deref(), Some("1969-12-31"));
    assert_eq!(
        whole(-1, Cells::Moment(1_000)).as_deref(),
        Some("1969-12-31T23:59:59.999")
    );
    assert_eq!(whole(i64::MAX, Cells::Date), None);
}
