//! `calibration.json`: the temperature of a classification network, and the reliability of its probabilities with it and without.

use serde::Serialize;
use trawl_dataset::Targets;

use super::{Analysis, SkippedArtifact, to_json};
use crate::calibration::{Answered, Reliability, Sums};
use crate::{Control, Networks, Table};

/// Predictions of the rows held out by the folds of the refit's trial: file contents by name, or why there are none.
pub type HeldOutFiles = Result<Vec<(String, Vec<u8>)>, String>;

/// The temperature and the rows that it was fitted on, or why there is none.
pub(super) type Calibrated = Result<(f64, Answered), String>;

/// The file.
#[derive(Serialize)]
struct Calibration<'a> {
    /// Null where there is none.
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    /// On the rows that it was fitted on.
    #[serde(skip_serializing_if = "Option::is_none")]
    held_out: Option<Compared>,
    /// On the test rows, where they have targets.
    #[serde(skip_serializing_if = "Option::is_none")]
    test: Option<Compared>,
}

#[derive(Serialize)]
struct Compared {
    before: Reliability,
    after: Reliability,
}

/// Finds the temperature.
///
/// # Errors
/// It was stopped.
pub(super) fn calibrate(
    files: &HeldOutFiles,
    classes: &[String],
    control: &Control,
) -> Result<Calibrated, SkippedArtifact> {
    let answered = match files {
        Ok(files) => Answered::read(files, classes),
        Err(reason) => Err(reason.clone()),
    };
    let answered = match answered {
        Ok(answered) => answered,
        Err(reason) => return Ok(Err(reason)),
    };
    match answered.temperature(control) {
        Some(temperature) => Ok(Ok((temperature, answered))),
        None if control.must_end() => Err(SkippedArtifact::Interrupted),
        None => Ok(Err("its folds held out no rows".to_owned())),
    }
}

pub(super) fn calibration(analysis: &Analysis<'_, impl Networks>) -> Result<Option<Vec<u8>>, SkippedArtifact> {
    let (temperature, answered) = match &analysis.calibrated {
        None => return Ok(None),
        Some(Err(reason)) => {
            let none = Calibration {
                temperature: None,
                reason: Some(reason),
                held_out: None,
                test: None,
            };
            return to_json(&none).map(Some);
        }
        Some(Ok(calibrated)) => calibrated,
    };
    let file = Calibration {
        temperature: Some(*temperature),
        reason: None,
        held_out: Some(Compared {
            before: answered.reliability(1.0),
            after: answered.reliability(*temperature),
        }),
        test: of_test_rows(analysis, *temperature)?,
    };
    to_json(&file).map(Some)
}

fn of_test_rows(analysis: &Analysis<'_, impl Networks>, temperature: f64) -> Result<Option<Compared>, SkippedArtifact> {
    let Some(test) = &analysis.subject.test else {
        return Ok(None);
    };
    let Some(Targets::Classes { labels, .. }) = test.targets()? else {
        return Ok(None);
    };
    let (mut before, mut after) = (Sums::default(), Sums::default());
    let (ensemble, classes) = (analysis.ensemble, analysis.outputs().max(1));
    let rows: Vec<u32> = (0..test.rows()).collect();
    for rows in rows.chunks(analysis.networks.rows_at_once().max(1) as usize) {
        if analysis.control.must_end() {
            return Err(SkippedArtifact::Interrupted);
        }
        let outputs = ensemble.outputs(test, rows)?;
        for (row, outputs) in rows.iter().zip(outputs.chunks_exact(classes)) {
            before.add(outputs, labels[*row as usize], 1.0);
            after.add(outputs, labels[*row as usize], temperature);
        }
    }
    Ok(Some(Compared {
        before: before.reliability(),
        after: after.reliability(),
    }))
}
