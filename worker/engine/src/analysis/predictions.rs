//! `predictions.csv`: the model's answer for every row of a table, or for every test image. Rows without a target have an empty one.

use trawl_domain::dataset::{Features, Targets};
use trawl_domain::limits::ARTIFACT_BYTES_MAX;

use super::answers::{Answers, ClassAnswer};
use super::{Analysis, LeftOut, Subject};
use crate::{Networks, Table};

type Writer = csv::Writer<Vec<u8>>;

/// Rows whose features are read from the device at once: a table's row has 4,096 features at most.
const ROWS_AT_ONCE: usize = 1024;

/// All rows of a table with their features. Where that would be too large, and of images, the test rows alone and without them.
pub(super) fn predictions(analysis: &Analysis<'_, impl Networks>) -> Result<Option<Vec<u8>>, LeftOut> {
    match analysis.features() {
        None => of_test_rows(analysis),
        Some(features) => match of_all_rows(analysis, &features) {
            Err(LeftOut::TooLarge) => of_test_rows(analysis),
            made => made.map(Some),
        },
    }
}

fn of_all_rows(analysis: &Analysis<'_, impl Networks>, features: &[String]) -> Result<Vec<u8>, LeftOut> {
    let subject = analysis.subject;
    let mut writer = begin(subject, features)?;
    let answers = Answers::of(analysis.networks, &subject.train, analysis.control)?;
    write(&mut writer, "train", &subject.train, subject, true, &answers)?;
    if let (Some(test), Some(answers)) = (&subject.test, &analysis.answers) {
        write(&mut writer, "test", test, subject, true, answers)?;
    }
    end(writer)
}

fn of_test_rows(analysis: &Analysis<'_, impl Networks>) -> Result<Option<Vec<u8>>, LeftOut> {
    let subject = analysis.subject;
    let (Some(test), Some(answers)) = (&subject.test, &analysis.answers) else {
        return Ok(None);
    };
    let mut writer = begin(subject, &[])?;
    write(&mut writer, "test", test, subject, false, answers)?;
    end(writer).map(Some)
}

fn begin(subject: &Subject<impl Table>, features: &[String]) -> Result<Writer, LeftOut> {
    let mut header = vec!["split", "row"];
    header.extend(features.iter().map(String::as_str));
    header.extend(["target", "prediction"]);
    if subject.train.classes().is_some() {
        header.push("probability");
    }
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(header).map_err(broken)?;
    Ok(writer)
}

fn end(writer: Writer) -> Result<Vec<u8>, LeftOut> {
    writer.into_inner().map_err(|error| LeftOut::Format(error.to_string()))
}

/// All rows of one part.
fn write<T: Table>(
    writer: &mut Writer,
    split: &str,
    table: &T,
    subject: &Subject<T>,
    with_features: bool,
    answers: &Answers,
) -> Result<(), LeftOut> {
    // Those of the training rows: test rows may have no targets, and have no others.
    let classes = subject.train.classes();
    let targets = table.targets()?;
    let rows: Vec<u32> = (0..table.rows()).collect();
    for rows in rows.chunks(ROWS_AT_ONCE) {
        let features = match with_features.then(|| table.features(rows)).transpose()? {
            Some(Features::Floats(values)) => values,
            Some(Features::Bytes(values) | Features::Whole(values)) => values.into_iter().map(f32::from).collect(),
            None => Vec::new(),
        };
        let width = features.len() / rows.len();
        for (n, row) in rows.iter().enumerate() {
            let mut record = vec![split.to_owned(), row.to_string()];
            record.extend(features[n * width..][..width].iter().map(cell));
            record.extend(answer(targets.as_ref(), classes, answers, *row as usize));
            writer.write_record(record).map_err(broken)?;
        }
        if writer.get_ref().len() as u64 > ARTIFACT_BYTES_MAX {
            return Err(LeftOut::TooLarge);
        }
    }
    Ok(())
}

/// Target, prediction and, with classes, its probability.
fn answer(targets: Option<&Targets>, classes: Option<&[String]>, answers: &Answers, row: usize) -> Vec<String> {
    let name = |class: u32| classes.map_or_else(String::new, |names| names[class as usize].clone());
    let target = match targets {
        None => String::new(),
        Some(Targets::Numbers(targets)) => targets[row].to_string(),
        Some(Targets::Classes { labels, .. }) => name(labels[row]),
    };
    match answers {
        Answers::Numbers(predictions) => vec![target, predictions[row].to_string()],
        Answers::Classes(answers) => {
            let ClassAnswer { class, probability } = answers[row];
            vec![target, name(class), probability.to_string()]
        }
    }
}

/// An input as a cell, which is empty where there is no value.
pub(crate) fn cell(input: &f32) -> String {
    if input.is_nan() {
        String::new()
    } else {
        input.to_string()
    }
}

fn broken(error: csv::Error) -> LeftOut {
    LeftOut::Format(error.to_string())
}
