//! One table gives the same samples from any kind of file.

mod files;

use proptest::collection::vec;
use proptest::prelude::*;
use trawl_dataset::{
    Allowance, ArrayNames, ArrayRules, Arrays, Columns, Content, Dialect, Features, Format, Header, Layout, Part, Role,
    SampleShape, Samples, Selection, TargetKind, Targets,
};

use files::{archive, gzip, idx, npy_with};

fn read(format: &Format, kind: TargetKind, features: &[u8], targets: Option<&[u8]>) -> Result<Samples, TestCaseError> {
    let part = Part {
        features: &features as &dyn Content,
        targets: targets.as_ref().map(|targets| targets as &dyn Content),
    };
    let read = trawl_dataset::read(format, kind, Role::Train, part, &mut Allowance::whole());
    // Arrays have no columns.
    read.map(|samples| Samples {
        inputs: None,
        ..samples
    })
    .map_err(|error| TestCaseError::fail(format!("{format:?}: {error}")))
}

/// An array of these values, which float16 can represent, with this type and order.
fn npy(values: &[f32], sizes: &[usize], descr: &str, is_fortran: bool) -> Vec<u8> {
    let shape: Vec<String> = sizes.iter().map(usize::to_string).collect();
    let (shape, order) = (shape.join(", "), if is_fortran { "True" } else { "False" });
    let header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': ({shape},)}}\n");
    let mut content = Vec::new();
    for place in 0..values.len() {
        let value = values[if is_fortran { fortran(place, sizes) } else { place }];
        let mut bytes = match &descr[1..] {
            "f2" => half::f16::from_f32(value).to_le_bytes().to_vec(),
            "f4" => value.to_le_bytes().to_vec(),
            "f8" => f64::from(value).to_le_bytes().to_vec(),
            "i2" => (value as i16).to_le_bytes().to_vec(),
            "i8" => (value as i64).to_le_bytes().to_vec(),
            other => panic!("no {other} here"),
        };
        if descr.starts_with('>') {
            bytes.reverse();
        }
        content.extend(bytes);
    }
    npy_with(&header, &content)
}

/// The place in C's order of the number at a place in Fortran's.
fn fortran(mut place: usize, sizes: &[usize]) -> usize {
    let mut step = sizes.iter().product::<usize>();
    let mut c_place = 0;
    for size in sizes {
        step /= size;
        c_place += place % size * step;
        place /= size;
    }
    c_place
}

fn npz(x: &[u8], y: &[u8], is_packed: bool) -> Vec<u8> {
    archive(&[("x.npy", x), ("y.npy", y)], is_packed)
}

fn arrays(layout: Option<Layout>) -> Format {
    let names = ArrayNames {
        features: "x".into(),
        target: Some("y".into()),
    };
    let arrays = Arrays {
        train: names.clone(),
        validation: names.clone(),
        test: names,
    };
    Format::Npz(arrays, layout.into())
}

/// A line of a CSV file, with its own line end.
fn line(cells: &[String], is_quoted: bool, end: &str) -> String {
    let cell = |cell: &String| if is_quoted { format!("\"{cell}\"") } else { cell.clone() };
    cells.iter().map(cell).collect::<Vec<_>>().join(",") + end
}

/// Whole numbers of float16, quarters among them.
fn value() -> impl Strategy<Value = f32> {
    (-1_000_i32..1_000).prop_map(|quarters| quarters as f32 / 4.0)
}

fn table() -> impl Strategy<Value = (usize, Vec<f32>, Vec<i32>)> {
    (2..20_usize, 1..5_usize).prop_flat_map(|(rows, width)| {
        let labels =
            vec(-3..4_i32, rows).prop_filter("two classes", |labels| labels.iter().any(|label| *label != labels[0]));
        (Just(width), vec(value(), rows * width), labels)
    })
}

proptest! {
    #[test]
    fn a_table_is_the_same_in_every_file((width, values, labels) in table()) {
        let rows = labels.len();
        let targets: Vec<f32> = labels.iter().map(|label| *label as f32).collect();
        for kind in [TargetKind::Number, TargetKind::Class] {
            let y = npy(&targets, &[rows], "<i8", false);
            let expected = read(&Format::Npy(ArrayRules::default()), kind, &npy(&values, &[rows, width], "<f4", false), Some(&y))?;
            prop_assert_eq!(&expected.features, &Features::Floats(values.clone()));
            if let Some(Targets::Classes { labels: indices, names }) = &expected.targets {
                let back: Vec<String> = indices.iter().map(|index| names[*index as usize].clone()).collect();
                prop_assert_eq!(back, labels.iter().map(i32::to_string).collect::<Vec<_>>());
            }
            for descr in ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"] {
                for is_fortran in [false, true] {
                    let x = npy(&values, &[rows, width], descr, is_fortran);
                    for y_descr in ["<f8", ">i2", "<f2"] {
                        let y = npy(&targets, &[rows, 1], y_descr, is_fortran);
                        prop_assert_eq!(&read(&Format::Npy(ArrayRules::default()), kind, &x, Some(&y))?, &expected, "{}", descr);
                    }
                    prop_assert_eq!(&read(&Format::Npy(ArrayRules::default()), kind, &gzip(&x), Some(&gzip(&y)))?, &expected);
                    for is_packed in [false, true] {
                        prop_assert_eq!(&read(&arrays(None), kind, &npz(&x, &y, is_packed), None)?, &expected);
                    }
                }
            }

            let names: Vec<String> = (0..=width).map(|column| format!("x{column}")).collect();
            let columns = |header| Format::Csv(Columns {
                features: Selection::Named((0..width).map(|column| if header == Header::Absent { format!("column_{column}") } else { names[column].clone() }).collect()),
                target: if header == Header::Absent { format!("column_{width}") } else { names[width].clone() },
                dialect: Dialect { header, ..Dialect::default() },
                ..Columns::default()
            });
            for (is_quoted, end) in [(false, "\n"), (false, "\r\n"), (true, "\r\n"), (true, "\r")] {
                let body: String = labels.iter().enumerate().map(|(row, label)| {
                    let mut cells: Vec<String> = values[row * width..(row + 1) * width].iter().map(f32::to_string).collect();
                    cells.push(label.to_string());
                    line(&cells, is_quoted, end)
                }).collect();
                let text = format!("\u{feff}{}{end}{body}", line(&names, is_quoted, end));
                prop_assert_eq!(&read(&columns(Header::Checked), kind, text.as_bytes(), None)?, &expected);
                prop_assert_eq!(&read(&columns(Header::Present), kind, &gzip(text.as_bytes()), None)?, &expected);
                prop_assert_eq!(&read(&columns(Header::Absent), kind, body.as_bytes(), None)?, &expected);
            }
        }
    }

    #[test]
    fn images_are_the_same_in_every_layout(
        (rows, channels, height, width) in (1..4_usize, 1..5_usize, 1..4_usize, 1..4_usize),
        values in vec(value(), 200),
    ) {
        let len = rows * channels * height * width;
        let first = &values[..len];
        let mut last = vec![0.0; len];
        for (place, value) in first.iter().enumerate() {
            let (row, rest) = (place / (channels * height * width), place % (channels * height * width));
            let (channel, pixel) = (rest / (height * width), rest % (height * width));
            last[(row * height * width + pixel) * channels + channel] = *value;
        }
        let y = npy(&vec![1.0; rows], &[rows], "<f4", false);
        for is_fortran in [false, true] {
            for (values, sizes, layout) in [
                (first, [rows, channels, height, width], Layout::ChannelsFirst),
                (&last, [rows, height, width, channels], Layout::ChannelsLast),
            ] {
                let x = npy(values, &sizes, ">f8", is_fortran);
                let samples = read(&Format::Npy(Some(layout).into()), TargetKind::Number, &x, Some(&y))?;
                prop_assert_eq!(&samples.features, &Features::Floats(first.to_vec()));
                let [channels, height, width] = [channels, height, width].map(|size| size as u32);
                prop_assert_eq!(samples.shape, SampleShape::Image { channels, height, width });
                let archived = read(&arrays(Some(layout)), TargetKind::Number, &npz(&x, &y, true), None)?;
                prop_assert_eq!(archived, samples);
            }
        }
    }

    #[test]
    fn pictures_are_the_same_as_idx_and_as_an_array(pixels in vec(any::<u8>(), 24), channels in 1..4_u32) {
        let (rows, width) = (2, 12 / channels);
        let sizes = [rows, channels, 1, width];
        let shape = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {sizes:?}}}\n");
        let first = Some(Layout::ChannelsFirst);
        let labels = [3, 7];
        let images = idx(&sizes, &pixels);
        let from_idx = read(&Format::Idx(first.into()), TargetKind::Class, &images, Some(&idx(&[rows], &labels)))?;
        prop_assert_eq!(&from_idx.features, &Features::Bytes(pixels.clone()));
        let targets = npy_with("{'descr': '|u1', 'fortran_order': False, 'shape': (2,)}\n", &labels);
        let from_npy = read(&Format::Npy(first.into()), TargetKind::Class, &npy_with(&shape, &pixels), Some(&targets))?;
        prop_assert_eq!(from_npy, from_idx);
    }
}
