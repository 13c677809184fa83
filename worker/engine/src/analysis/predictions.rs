//! `predictions.csv`: the model's predictions for every row of a table, or for every test image. Rows without a target have an empty one.

use trawl_dataset::{Features, Format, TargetKind, Targets};
use trawl_domain::limits::ARTIFACT_BYTES_MAX;

use super::answers::{Answers, ClassAnswer};
use super::{Analysis, AnalysisInput, SkippedArtifact};
use crate::{Networks, Table};

type Writer = csv::Writer<Vec<u8>>;

/// Rows whose features are read from the device at once: a table's row has at most 4,096.
const ROWS_AT_ONCE: usize = 1024;

/// All rows of a table with their features. If that is too large, and for images: only the test rows, without features.
pub(super) fn predictions(analysis: &Analysis<'_, impl Networks>) -> Result<Option<Vec<u8>>, SkippedArtifact> {
    match analysis.features() {
        None => of_test_rows(analysis),
        Some(features) => match of_all_rows(analysis, &features) {
            Err(SkippedArtifact::TooLarge) => of_test_rows(analysis),
            made => made.map(Some),
        },
    }
}

fn of_all_rows(analysis: &Analysis<'_, impl Networks>, features: &[String]) -> Result<Vec<u8>, SkippedArtifact> {
    let subject = analysis.subject;
    let targets = of_subject(subject, analysis.outputs());
    let mut writer = begin(analysis, &targets, features)?;
    let temperature = super::temperature(analysis.calibrated.as_ref());
    let answers = Answers::of(analysis.ensemble, &subject.train, temperature, analysis.control)?;
    write(
        &mut writer,
        "train",
        &subject.train,
        subject,
        targets.len(),
        true,
        &answers,
    )?;
    if let (Some(test), Some(answers)) = (&subject.test, &analysis.answers) {
        write(&mut writer, "test", test, subject, targets.len(), true, answers)?;
    }
    end(writer)
}

fn of_test_rows(analysis: &Analysis<'_, impl Networks>) -> Result<Option<Vec<u8>>, SkippedArtifact> {
    let subject = analysis.subject;
    let (Some(test), Some(answers)) = (&subject.test, &analysis.answers) else {
        return Ok(None);
    };
    let targets = of_subject(subject, analysis.outputs());
    let mut writer = begin(analysis, &targets, &[])?;
    write(&mut writer, "test", test, subject, targets.len(), false, answers)?;
    end(writer).map(Some)
}

fn begin(
    analysis: &Analysis<'_, impl Networks>,
    targets: &[String],
    features: &[String],
) -> Result<Writer, SkippedArtifact> {
    let mut header = vec!["split", "row"];
    header.extend(features.iter().map(String::as_str));
    let answers = columns(targets, analysis.networks.architecture().loss.target_kind());
    header.extend(answers.iter().map(String::as_str));
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(header).map_err(broken)?;
    Ok(writer)
}

/// `target`, `prediction` and, unless numbers are predicted, `probability`, each with a name where there are several.
pub(super) fn columns(targets: &[String], kind: TargetKind) -> Vec<String> {
    let all = ["target", "prediction", "probability"];
    let columns = if kind == TargetKind::Number { &all[..2] } else { &all };
    columns.iter().flat_map(|what| named(what, targets)).collect()
}

/// This column, or one with the name of each target where there are several.
pub(crate) fn named(what: &str, targets: &[String]) -> Vec<String> {
    match targets {
        [] | [_] => vec![what.to_owned()],
        several => several.iter().map(|target| format!("{what}.{target}")).collect(),
    }
}

pub(super) fn end(writer: Writer) -> Result<Vec<u8>, SkippedArtifact> {
    writer
        .into_inner()
        .map_err(|error| SkippedArtifact::Format(error.to_string()))
}

/// All rows of one part.
fn write<T: Table>(
    writer: &mut Writer,
    split: &str,
    table: &T,
    subject: &AnalysisInput<T>,
    width_of_targets: usize,
    with_features: bool,
    answers: &Answers,
) -> Result<(), SkippedArtifact> {
    // The training rows' classes: test rows may have no targets, but never have other classes.
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
            record.extend(answer(
                targets.as_ref(),
                width_of_targets,
                classes,
                answers,
                *row as usize,
            ));
            writer.write_record(record).map_err(broken)?;
        }
        if writer.get_ref().len() as u64 > ARTIFACT_BYTES_MAX {
            return Err(SkippedArtifact::TooLarge);
        }
    }
    Ok(())
}

/// Targets, predictions and, unless they are numbers, their probabilities.
fn answer(
    targets: Option<&Targets>,
    width: usize,
    classes: Option<&[String]>,
    answers: &Answers,
    row: usize,
) -> Vec<String> {
    let targets = target_cells(targets, width, classes, row);
    let predictions: Vec<String> = match answers {
        Answers::Numbers(predictions) => of_row(predictions, width, row),
        Answers::Binary(probabilities) => yes_or_no(&probabilities[row * width..][..width]),
        Answers::Classes(answers) => {
            let ClassAnswer { class, probability } = answers[row];
            vec![name(classes, class), probability.to_string()]
        }
    };
    [targets, predictions].concat()
}

/// A row's targets: its numbers, or its class.
pub(super) fn target_cells(
    targets: Option<&Targets>,
    width: usize,
    classes: Option<&[String]>,
    row: usize,
) -> Vec<String> {
    match targets {
        None => vec![String::new(); width],
        Some(Targets::Numbers(targets)) => of_row(targets, width, row),
        Some(Targets::Classes { labels, .. }) => vec![name(classes, labels[row])],
    }
}

/// For each target 1 for yes or 0 for no, whichever is more probable, followed by the probabilities of yes.
pub(crate) fn yes_or_no(probabilities: &[f32]) -> Vec<String> {
    let predicted = probabilities.iter().map(|yes| u8::from(*yes > 0.5).to_string());
    predicted.chain(probabilities.iter().map(f32::to_string)).collect()
}

fn name(classes: Option<&[String]>, class: u32) -> String {
    classes.map_or_else(String::new, |names| names[class as usize].clone())
}

fn of_row(numbers: &[f32], width: usize, row: usize) -> Vec<String> {
    let numbers = &numbers[row * width..][..width];
    numbers.iter().map(f32::to_string).collect()
}

/// The same for a network that was fitted on `subject`.
pub(super) fn of_subject(subject: &AnalysisInput<impl Table>, outputs: usize) -> Vec<String> {
    targets(&subject.format, subject.train.classes().is_some(), outputs)
}

/// Names of the targets of a network with `outputs` outputs; one name where it predicts classes.
pub(super) fn targets(format: &Format, are_classes: bool, outputs: usize) -> Vec<String> {
    match format {
        Format::Csv(columns) => columns.targets().cloned().collect(),
        _ if outputs == 1 || are_classes => vec!["y".to_owned()],
        _ => (0..outputs).map(|output| format!("y_{output}")).collect(),
    }
}

/// An input as a cell; empty without a value.
pub(crate) fn cell(input: &f32) -> String {
    if input.is_nan() {
        String::new()
    } else {
        input.to_string()
    }
}

pub(super) fn broken(error: csv::Error) -> SkippedArtifact {
    SkippedArtifact::Format(error.to_string())
}
