use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::super::testing::{doubles, floats, gzip, longs, npy, npy_with, read, read_test};
use super::super::{ArrayRules, Features, Format, Layout, ReadError, SampleShape, Samples, TargetKind, Targets};

fn pair(features: &[u8], targets: &[u8], kind: TargetKind) -> Result<Samples, ReadError> {
    read(&Format::Npy(ArrayRules::default()), kind, &features, Some(&targets))
}

/// The error for these features, with targets of two classes.
fn wrong(features: &[u8]) -> String {
    let labels = npy("<i8", "(2,)", &longs(&[0, 1]));
    pair(features, &labels, TargetKind::Class)
        .expect_err("it is broken")
        .reason
}

fn features(file: &[u8]) -> Features {
    let labels = npy("<i8", "(2,)", &longs(&[0, 1]));
    pair(file, &labels, TargetKind::Class).expect("samples").features
}

#[test]
fn a_table_of_targets_has_a_column_for_each() {
    let values = floats(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let features = npy("<f4", "(3, 1)", &floats(&[0.5, 1.5, 2.5]));
    let table = npy("<f4", "(3, 2)", &values);
    let of = |targets: &[u8]| pair(&features, targets, TargetKind::Number);
    let samples = of(&table).expect("a table");
    assert_eq!(
        samples.targets,
        Some(Targets::Numbers(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
    );
    assert_eq!(samples.dataset_shape().map(|shape| shape.target.outputs()), Some(2));
    let fortran = npy_with("{'descr': '<f4', 'fortran_order': True, 'shape': (3, 2), }", &values);
    assert_eq!(
        of(&fortran).expect("a table").targets,
        Some(Targets::Numbers(vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0]))
    );
    let classes = pair(&features, &table, TargetKind::Class);
    assert!(classes.is_err(), "classes have one column");
}

#[test]
fn a_table_of_yes_and_no_is_0_and_1() {
    let features = npy("<f4", "(2, 1)", &floats(&[0.5, 1.5]));
    let of = |targets: &[u8]| pair(&features, targets, TargetKind::Binary);
    let expected = Some(Targets::Numbers(vec![1.0, 0.0, 0.0, 1.0]));
    for targets in [
        npy("|b1", "(2, 2)", &[1, 0, 0, 1]),
        npy("<i8", "(2, 2)", &longs(&[1, 0, 0, 1])),
    ] {
        assert_eq!(of(&targets).expect("samples").targets, expected);
    }
    let refused = of(&npy("<i8", "(2, 2)", &longs(&[1, 0, 2, 1]))).expect_err("2");
    assert_eq!(
        refused.reason,
        "row 1, column 0: is 2, and loss: bce predicts what is 0 or 1"
    );
}

#[test]
fn tables_and_images_are_read() {
    let table = npy("<f4", "(2, 3)", &floats(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    let targets = npy("<f8", "(2,)", &doubles(&[0.5, 1.5]));
    let samples = pair(&table, &targets, TargetKind::Number).expect("samples");
    assert_eq!(samples.shape, SampleShape::Vector(3));
    assert_eq!(samples.targets, Some(Targets::Numbers(vec![0.5, 1.5])));
    assert_eq!(pair(&gzip(&table), &gzip(&targets), TargetKind::Number), Ok(samples));

    let images = npy("|u1", "(2, 1, 2)", &[0, 255, 1, 2]);
    let labels = npy("<i8", "(2, 1)", &longs(&[1, 0]));
    let samples = pair(&images, &labels, TargetKind::Class).expect("samples");
    assert_eq!(samples.features, Features::Bytes(vec![0, 255, 1, 2]));
    assert_eq!(samples.classes().map(<[_]>::len), Some(2));
    assert_eq!(
        features(&npy("|b1", "(2, 2)", &[0, 1, 9, 0])),
        Features::Whole(vec![0, 1, 1, 0])
    );
    assert_eq!(
        features(&npy("|b1", "(2, 1, 1)", &[0, 1])),
        Features::Floats(vec![0.0, 1.0])
    );
}

#[test]
fn channels_come_first_whatever_the_file_has() {
    let last = npy("|u1", "(2, 1, 2, 3)", &[1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16]);
    let labels = npy("<i8", "(2,)", &longs(&[0, 1]));
    let said = Format::Npy(Some(Layout::ChannelsLast).into());
    let samples = read(&said, TargetKind::Class, &last, Some(&labels)).expect("samples");
    assert_eq!(samples.shape.dims(), [3, 1, 2]);
    assert_eq!(
        samples.features,
        Features::Bytes(vec![1, 4, 2, 5, 3, 6, 11, 14, 12, 15, 13, 16])
    );
    assert!(wrong(&last).contains("set layout"));
}

#[test]
fn arrays_of_fortran_are_turned() {
    let content = floats(&[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    let file = npy_with("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3)}", &content);
    assert_eq!(features(&file), Features::Floats(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
}

#[test]
fn broken_files_say_what_is_wrong() {
    let table = npy("<f4", "(2, 1)", &floats(&[1.0, f32::NAN]));
    assert_eq!(wrong(&table), "row 1, column 0: NaN is not a finite number");
    let images = npy("<f4", "(2, 1, 2)", &floats(&[1.0, 2.0, 3.0, f32::INFINITY]));
    assert_eq!(wrong(&images), "row 1, channel 0, y 0, x 1: inf is not a finite number");
    assert_eq!(
        wrong(&table[..table.len() - 1]),
        "has 7 bytes behind its header, and sizes [2, 1] ask for 8"
    );
    assert_eq!(
        wrong(&gzip(&table[..table.len() - 1])),
        "has fewer elements than its header says"
    );
    let longer = [table.clone(), vec![0]].concat();
    let sound = npy("<f4", "(2, 1)", &floats(&[1.0, 2.0]));
    assert_eq!(
        wrong(&longer),
        "has 9 bytes behind its header, and sizes [2, 1] ask for 8"
    );
    assert_eq!(
        wrong(&gzip(&[sound.clone(), vec![0]].concat())),
        "has more bytes than its header says"
    );
    let packed = gzip(&sound);
    assert_eq!(
        wrong(&packed[..packed.len() - 9]),
        "cannot be unpacked: its gzip data is damaged or cut off"
    );
    let huge = npy("<f4", "(99999999999, 99999999999)", &[0; 8]);
    assert!(
        wrong(&huge).starts_with("has 8 bytes behind its header"),
        "{}",
        wrong(&huge)
    );
    assert!(
        wrong(&gzip(&huge)).starts_with("has fewer elements"),
        "{}",
        wrong(&gzip(&huge))
    );
    assert!(wrong(&npy("<f4", "(8,)", &[0; 32])).starts_with("has shape [8]; tables have 2 axes"));
    let large = npy("<f8", "(2, 1)", &doubles(&[1.0, 1e39]));
    assert_eq!(
        wrong(&large),
        "row 1, column 0: 1e39 is too large for float32, in which networks are trained"
    );
}

#[test]
fn headers_say_what_is_wrong_with_them() {
    for (header, reason) in [
        (
            "{'descr': '<f4', 'shape': (2, 1)}",
            "has a header without 'fortran_order'",
        ),
        (
            "{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 1)}",
            "has a header whose 'fortran_order' is neither True nor False",
        ),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': 2}",
            "has a header whose 'shape' is no list of sizes",
        ),
        (
            "{'descr': 4, 'fortran_order': False, 'shape': (2, 1)}",
            "has a header whose 'descr' names no type",
        ),
        (
            "{'descr': '<f4'",
            "has a header that is no Python dictionary: {'descr': '<f4'",
        ),
        (
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}",
            "holds records with named fields: ",
        ),
        (
            "{'descr': '<U5', 'fortran_order': False, 'shape': (2, 1)}",
            "holds texts: ",
        ),
        (
            "{'descr': '|O', 'fortran_order': False, 'shape': (2, 1)}",
            "holds Python objects: ",
        ),
        (
            "{'descr': '<c8', 'fortran_order': False, 'shape': (2, 1)}",
            "holds complex numbers: ",
        ),
        (
            "{'descr': '<M8[ns]', 'fortran_order': False, 'shape': (2, 1)}",
            "holds dates or times: ",
        ),
        (
            "{'descr': '<f16', 'fortran_order': False, 'shape': (2, 1)}",
            "holds floats of more than 64 bits: ",
        ),
        (
            "{'descr': 'x', 'fortran_order': False, 'shape': (2, 1)}",
            "holds elements of type 'x', which is not known: ",
        ),
    ] {
        let said = wrong(&npy_with(header, &[0; 8]));
        assert!(said.starts_with(reason), "{said}");
    }
    let odd = npy_with(
        "{\"shape\":(2,1,),\"fortran_order\" : False,\"descr\":\"<f4\"}",
        &floats(&[1.0, 2.0]),
    );
    assert_eq!(features(&odd), Features::Floats(vec![1.0, 2.0]));
}

#[test]
fn classes_are_the_labels_that_there_are() {
    let table = npy("<f4", "(3, 1)", &floats(&[1.0, 2.0, 3.0]));
    let labelled = |targets: &[u8]| {
        let read = pair(&table, targets, TargetKind::Class);
        read.map(|samples| match samples.targets {
            Some(Targets::Classes { labels, names }) => (labels, names),
            _ => panic!("no classes"),
        })
        .map_err(|error| {
            assert!(error.in_targets);
            error.reason
        })
    };
    let names = |names: [&str; 2]| names.map(str::to_owned).to_vec();
    let gaps = labelled(&npy("<i8", "(3,)", &longs(&[10, 2, 10])));
    assert_eq!(gaps, Ok((vec![1, 0, 1], names(["2", "10"]))));
    let signs = labelled(&npy("<f8", "(3,)", &doubles(&[1.0, -1.0, 1.0])));
    assert_eq!(signs, Ok((vec![1, 0, 1], names(["-1", "1"]))));
    let parts = labelled(&npy("<f4", "(3,)", &floats(&[0.1, 2.0, 0.1])));
    assert_eq!(parts, Ok((vec![0, 1, 0], names(["0.1", "2"]))));
    let nan = labelled(&npy("<f4", "(3,)", &floats(&[0.1, f32::NAN, 0.1])));
    assert_eq!(nan, Err("row 1: NaN is not a finite number".to_owned()));
    let one = labelled(&npy("|u1", "(3,)", &[4, 4, 4]));
    assert_eq!(
        one,
        Err("has a single class: there is nothing to tell apart".to_owned())
    );
    let one_hot = labelled(&npy("|u1", "(3, 2)", &[0; 6]));
    assert_eq!(
        one_hot,
        Err(
            "has shape [3, 2], and there are 3 rows of features; if each class has a column, save numpy.argmax(a, axis=1)"
                .to_owned()
        )
    );

    let known = names(["2", "10"]);
    let test = npy("<i8", "(3,)", &longs(&[2, 10, 3]));
    let tested = read_test(
        &Format::Npy(ArrayRules::default()),
        TargetKind::Class,
        Some(&known),
        &table,
        Some(&test),
    );
    assert_eq!(
        tested.expect_err("a 3").reason,
        "row 2: '3' is no class of the training rows"
    );
    let unlabelled = read_test(
        &Format::Npy(ArrayRules::default()),
        TargetKind::Class,
        Some(&known),
        &table,
        None,
    );
    assert_eq!(unlabelled.expect("rows").targets, None);
    let train = read(&Format::Npy(ArrayRules::default()), TargetKind::Class, &table, None).expect_err("no targets");
    assert!(train.in_targets);
}

#[test]
fn what_float32_does_not_tell_apart_is_refused() {
    let ids = npy("<i8", "(2, 2)", &longs(&[1, 16_777_216, 2, 16_777_217]));
    let merged = wrong(&ids);
    assert!(
        merged.starts_with("column 1: float32, in which networks are trained, makes 16777216 of both"),
        "{merged}"
    );
    let table = npy("<f4", "(2, 1)", &floats(&[1.0, 2.0]));
    let targets = npy(
        "<u4",
        "(2,)",
        &[16_777_216_u32, 16_777_219].map(u32::to_le_bytes).concat(),
    );
    let moved = pair(&table, &targets, TargetKind::Number).expect_err("moved").reason;
    assert!(
        moved.starts_with("row 1: float32, in which networks are trained, makes 16777220 of 16777219"),
        "{moved}"
    );
}

#[test]
fn doubles_of_a_normal_distribution_pass() {
    // By Box and Muller, with a stream whose seed is fixed.
    let mut stream = ChaCha8Rng::seed_from_u64(7);
    let mut unit = || (stream.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    let rows = 100_000;
    let mut normal = || (-2.0 * libm::log(1.0 - unit())).sqrt() * libm::cos(std::f64::consts::TAU * unit());
    let values: Vec<f64> = (0..3 * rows).map(|_| normal()).collect();
    let table = npy("<f8", &format!("({rows}, 2)"), &doubles(&values[..2 * rows]));
    let targets = npy("<f8", &format!("({rows},)"), &doubles(&values[2 * rows..]));
    assert_eq!(
        pair(&table, &targets, TargetKind::Number).map(|samples| samples.rows),
        Ok(rows as u32)
    );
}
