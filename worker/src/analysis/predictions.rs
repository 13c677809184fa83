//! `predictions.csv`: the model's answer for every row of a table, or for every test image.

use trawl_domain::dataset::{Features, Targets};
use trawl_domain::limits::ARTIFACT_BYTES_MAX;

use super::answers::Answers;
use super::{Analysis, LeftOut};
use crate::trainer::DeviceTable;

type Writer = csv::Writer<Vec<u8>>;

/// Rows whose features are read from the device at once: a table's row has 4,096 features at most.
const ROWS_AT_ONCE: usize = 1024;

pub(super) fn predictions(analysis: &Analysis<'_>) -> Result<Option<Vec<u8>>, LeftOut> {
    let subject = analysis.subject;
    let features = analysis.features();
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut header = vec!["split", "row"];
    header.extend(features.iter().flatten().map(String::as_str));
    header.extend(["target", "prediction"]);
    if analysis.answers.classes().is_some() {
        header.push("probability");
    }
    writer.write_record(header).map_err(broken)?;
    if features.is_some() {
        let answers = Answers::of(&subject.trained, subject.train.inputs(), analysis.interrupter)?;
        write(&mut writer, "train", &subject.train, true, &answers)?;
    }
    write(
        &mut writer,
        "test",
        &subject.test,
        features.is_some(),
        &analysis.answers,
    )?;
    let content = writer
        .into_inner()
        .map_err(|error| LeftOut::Format(error.to_string()))?;
    Ok(Some(content))
}

/// All rows of one part.
fn write(
    writer: &mut Writer,
    split: &str,
    table: &DeviceTable,
    with_features: bool,
    answers: &Answers,
) -> Result<(), LeftOut> {
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
            record.extend(features[n * width..][..width].iter().map(f32::to_string));
            record.extend(answer(&targets, answers, *row as usize));
            writer.write_record(record).map_err(broken)?;
        }
        if writer.get_ref().len() as u64 > ARTIFACT_BYTES_MAX {
            return Err(LeftOut::TooLarge);
        }
    }
    Ok(())
}

/// Target, prediction and, with classes, its probability.
fn answer(targets: &Targets, answers: &Answers, row: usize) -> Vec<String> {
    match (targets, answers) {
        (Targets::Numbers(targets), Answers::Numbers(predictions)) => {
            vec![targets[row].to_string(), predictions[row].to_string()]
        }
        (Targets::Classes { labels, names }, Answers::Classes(answers)) => vec![
            names[labels[row] as usize].clone(),
            names[answers[row].class as usize].clone(),
            answers[row].probability.to_string(),
        ],
        // The trainer refuses rows whose targets are of another sort than its loss asks for.
        _ => Vec::new(),
    }
}

fn broken(error: csv::Error) -> LeftOut {
    LeftOut::Format(error.to_string())
}
