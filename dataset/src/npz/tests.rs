use super::super::testing::{floats, gzip, longs, npy, npz, read as read_part, read_test};
use super::super::{ArrayRules, Features, Format, Targets};
use super::*;

fn names(features: &str, target: Option<&str>) -> ArrayNames {
    ArrayNames {
        features: features.into(),
        target: target.map(str::to_owned),
    }
}

fn format(test: ArrayNames) -> Format {
    let train = names("x", Some("y"));
    let validation = train.clone();
    Format::Npz(
        Arrays {
            train,
            validation,
            test,
        },
        ArrayRules::default(),
    )
}

fn xy() -> [(&'static str, Vec<u8>); 2] {
    [
        ("x", npy("<f4", "(2, 1)", &floats(&[1.0, 2.0]))),
        ("y", npy("<i8", "(2,)", &longs(&[0, 1]))),
    ]
}

fn train(bytes: &[u8], features: &str) -> Result<Samples, ReadError> {
    let train = names(features, Some("y"));
    let arrays = Arrays {
        validation: train.clone(),
        test: train.clone(),
        train,
    };
    read_part(
        &Format::Npz(arrays, ArrayRules::default()),
        TargetKind::Class,
        &bytes,
        None,
    )
}

#[test]
fn an_archive_is_read_by_the_names_of_its_arrays() {
    for is_packed in [false, true] {
        let bytes = npz(&xy(), is_packed);
        let samples = train(&bytes, "x").expect("samples");
        assert_eq!(samples.features, Features::Floats(vec![1.0, 2.0]));
        assert!(matches!(samples.targets, Some(Targets::Classes { labels, .. }) if labels == [0, 1]));
        let error = train(&bytes, "z").expect_err("no z");
        assert_eq!(error.reason, "has no array 'z'; its arrays are x, y");
        assert_eq!(error.unquoted, "has no array 'z'; its arrays are …");
        assert_eq!(error.column.as_deref(), Some("z"));
        let error = train(&bytes, "y").expect_err("labels as features");
        assert!(error.reason.starts_with("array 'y' has shape [2]"), "{error}");
    }
}

#[test]
fn both_parts_may_be_in_one_archive() {
    let arrays = [
        xy().to_vec(),
        vec![
            ("x_test", npy("<f4", "(1, 1)", &floats(&[3.0]))),
            ("y_test", npy("<i8", "(1,)", &longs(&[1]))),
        ],
    ]
    .concat();
    let bytes = npz(&arrays, true);
    let classes = ["0".to_owned(), "1".to_owned()];
    let test = |names: ArrayNames| read_test(&format(names), TargetKind::Class, Some(&classes), &bytes, None);
    let labelled = test(names("x_test", Some("y_test"))).expect("samples");
    assert!(matches!(labelled.targets, Some(Targets::Classes { labels, .. }) if labels == [1]));
    assert_eq!(test(names("x_test", None)).expect("samples").targets, None);
    let misspelt = test(names("x_test", Some("y_tset"))).expect_err("a target that was asked for");
    assert_eq!(
        misspelt.reason,
        "has no array 'y_tset'; its arrays are x, y, x_test, y_test; did you mean 'y_test'?"
    );
    let alone = npz(&xy()[..1], true);
    let unlabelled = read_test(
        &format(names("x", Some("y"))),
        TargetKind::Class,
        Some(&classes),
        &alone,
        None,
    );
    assert_eq!(unlabelled.expect("samples").targets, None);
    let otherwise = npz(&[("x", xy()[0].1.clone()), ("Y", xy()[1].1.clone())], true);
    let labelled = read_test(
        &format(names("x", Some("y"))),
        TargetKind::Class,
        Some(&classes),
        &otherwise,
        None,
    );
    assert_eq!(labelled.expect_err("labelled, perhaps").column.as_deref(), Some("y"));
    assert_eq!(train(&alone, "x").expect_err("no target").column.as_deref(), Some("y"));
}

#[test]
fn a_member_that_is_not_what_its_checksum_says_is_refused() {
    let content = npy("|u1", "(2, 1)", &[7, 8]);
    let labels = npy("|u1", "(2,)", &[0, 1]);
    let mut bytes = npz(&[("x", content), ("y", labels)], false);
    assert!(train(&bytes, "x").is_ok());
    let place = bytes.windows(2).position(|pair| pair == [7, 8]).expect("the elements");
    bytes[place] = 9;
    let error = train(&bytes, "x").expect_err("another content");
    assert_eq!(
        error.reason,
        "array 'x' cannot be unpacked: the archive is damaged here"
    );
}

#[test]
fn what_is_no_archive_says_what_it_is() {
    let bytes = npz(&xy(), true);
    assert_eq!(
        train(&bytes[..bytes.len() - 5], "x").expect_err("cut off").reason,
        "is no .npz archive, or its end is cut off"
    );
    assert_eq!(
        train(&xy()[0].1, "x").expect_err("an array").reason,
        "is an .npy array: a study names it under dataset.npy"
    );
    let packed = train(&gzip(&bytes), "x").expect_err("gzip").reason;
    assert!(
        packed.starts_with("is compressed with gzip, and an .npz archive"),
        "{packed}"
    );
    assert_eq!(
        train(b"", "x").expect_err("nothing").reason,
        "is no .npz archive, or its end is cut off"
    );
}

#[test]
fn archives_as_python_writes_them_are_read() {
    // numpy.savez(x=numpy.array([[1], [2]], 'u1'), y=numpy.array([0, 1], 'u1')) writes sizes of eight bytes before each array.
    let options = zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Stored)
        .large_file(true);
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in [
        ("x.npy", npy("|u1", "(2, 1)", &[1, 2])),
        ("y.npy", npy("|u1", "(2,)", &[0, 1])),
    ] {
        archive.start_file(name, options).expect("a file");
        std::io::Write::write_all(&mut archive, &content).expect("written");
    }
    let bytes = archive.finish().expect("an archive").into_inner();
    assert_eq!(
        train(&bytes, "x").expect("samples").features,
        Features::Whole(vec![1, 2])
    );
}
