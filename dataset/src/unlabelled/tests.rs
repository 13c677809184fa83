use super::super::Header;
use super::super::testing::{doubles, gzip, idx, npy};
use super::*;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn csv(columns: &[&str], header: Header, text: &str) -> Result<FeatureRows, String> {
    let shape = SampleShape::Vector(columns.len() as u32);
    let inputs = &Inputs::of_numbers(&names(columns));
    let dialect = &Dialect {
        header,
        ..Dialect::default()
    };
    read_features(FeatureFormat::Csv { inputs, dialect }, shape, &text).map_err(|error| error.reason)
}

#[test]
fn columns_are_taken_by_name_and_need_no_target() {
    let expected = FeatureRows {
        rows: 2,
        shape: SampleShape::Vector(2),
        features: Features::Floats(vec![3.0, 1.0, 6.0, 4.0]),
        replaced: vec![Replaced::default(); 2],
    };
    let checked = Header::Checked;
    assert_eq!(csv(&["b", "a"], checked, "a,b\n1,3\n4,6\n"), Ok(expected.clone()));
    // Unused columns may hold anything.
    assert_eq!(
        csv(&["b", "a"], checked, "a,y,b\n1,unknown,3\n4,,6\n"),
        Ok(expected.clone())
    );
    assert_eq!(
        csv(&["column_1", "column_0"], Header::Absent, "1,3\n4,6\n"),
        Ok(expected)
    );
}

#[test]
fn a_broken_table_says_where() {
    for (text, reason) in [
        ("a,c\n1,2\n", "has no column 'b'; its columns are a, c"),
        ("a,b,b\n1,2,3\n", "has the column 'b' more than once"),
        (
            "a,b\r\n1,2\r\n3,inf\r\n",
            "line 3, column 'b': 'inf' is not a finite number",
        ),
        (
            "a,b\n,2\n",
            "line 2, column 'a': is empty: say what stands for it, as prepare: { missing: mean }, median or a number, or leave such rows out by \
             missing: drop",
        ),
        ("a,b\n", "has no rows"),
        ("a,b\n1,2\n3\n", "line 3 has 1 fields, and the header has 2"),
    ] {
        assert_eq!(csv(&["a", "b"], Header::Checked, text), Err(reason.to_owned()));
    }
    let merged = csv(&["a"], Header::Checked, "a\n16777216\n16777217\n").expect_err("one number");
    assert!(merged.starts_with("column 'a': float32"), "{merged}");
}

fn image(channels: u32, height: u32, width: u32) -> SampleShape {
    SampleShape::Image {
        channels,
        height,
        width,
    }
}

#[test]
fn rows_have_to_be_of_the_shape_asked_for() {
    let file = idx(&[2, 1, 2], &[7, 8, 9, 10]);
    let rows = read_features(FeatureFormat::Idx(None), image(1, 1, 2), &gzip(&file)).expect("images");
    assert_eq!((rows.rows, rows.features), (2, Features::Bytes(vec![7, 8, 9, 10])));
    let error = read_features(FeatureFormat::Idx(None), image(3, 1, 2), &file).expect_err("one channel");
    assert_eq!(error.reason, "has rows of 1x1x2 features, and 3x1x2 are asked for");
}

#[test]
fn the_shape_asked_for_tells_the_layout() {
    let file = npy("|u1", "(1, 2, 1, 3)", &[1, 2, 3, 4, 5, 6]);
    let read = |layout, shape| read_features(FeatureFormat::Npy(layout), shape, &file).map(|rows| rows.features);
    assert_eq!(read(None, image(3, 2, 1)), Ok(Features::Bytes(vec![1, 4, 2, 5, 3, 6])));
    assert_eq!(read(None, image(2, 1, 3)), Ok(Features::Bytes(vec![1, 2, 3, 4, 5, 6])));
    assert!(read(Some(Layout::ChannelsFirst), image(3, 2, 1)).is_err());
    assert!(
        read(None, image(1, 1, 6))
            .expect_err("neither")
            .reason
            .contains("set layout")
    );
}

#[test]
fn an_array_needs_no_targets() {
    let read = |file: Vec<u8>, width| {
        let rows = read_features(FeatureFormat::Npy(None), SampleShape::Vector(width), &file);
        rows.map(|rows| rows.features).map_err(|error| error.reason)
    };
    let file = |values: [f64; 2]| npy("<f8", "(1, 2)", &doubles(&values));
    assert_eq!(read(file([0.5, -1.0]), 2), Ok(Features::Floats(vec![0.5, -1.0])));
    assert_eq!(
        read(file([0.5, -1.0]), 3),
        Err("has rows of 2 features, and 3 are asked for".to_owned())
    );
    assert_eq!(
        read(file([0.5, f64::NAN]), 2),
        Err("row 0, column 1: NaN is not a finite number".to_owned())
    );
}
