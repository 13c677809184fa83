//! Predictions as CSV: a line for each row, written as soon as the network has answered.

use std::io::{self, Write};
use std::path::Path;

use trawl_dataset::{FeatureRows, Features, SampleShape, Samples, TargetKind};

use super::PredictError;
use super::network::Network;
use crate::analysis::{ClassAnswer, cell, named, yes_or_no};
use crate::ensemble::{Ensemble, probabilities};
use crate::{Engine, Networks};

/// Predictions that are being written.
pub(super) struct Answers<'a, E: Engine> {
    network: &'a Network,
    engine: &'a E,
    ensemble: &'a Ensemble<'a, E::Networks>,
    probabilities: bool,
    writer: csv::Writer<&'a mut dyn Write>,
}

impl<'a, E: Engine> Answers<'a, E> {
    /// Writes the header. For tables: `row`, the features, `prediction`; for images: `file`, `row`, `prediction`.
    /// Classes and binary targets add `probability`; classes, if requested, `p.CLASS` for each.
    pub(super) fn new(
        network: &'a Network,
        engine: &'a E,
        ensemble: &'a Ensemble<'a, E::Networks>,
        probabilities: bool,
        output: &'a mut dyn Write,
    ) -> Result<Self, PredictError> {
        let mut answers = Self {
            network,
            engine,
            ensemble,
            probabilities,
            writer: csv::Writer::from_writer(output),
        };
        let mut header = Vec::new();
        if answers.is_image() {
            header.push("file".to_owned());
        }
        header.push("row".to_owned());
        header.extend(network.inputs().names());
        header.extend(named("prediction", network.targets()));
        if network.kind() != TargetKind::Number {
            header.extend(named("probability", network.targets()));
        }
        if let Some(classes) = network.classes().filter(|_| probabilities) {
            header.extend(classes.iter().map(|class| format!("p.{class}")));
        }
        answers.record(&header)?;
        Ok(answers)
    }

    /// Predicts all rows of a file, in the pieces in which the refit's test rows were measured, so that those rows get
    /// the same predictions again.
    pub(super) fn write(&mut self, file: &Path, rows: FeatureRows) -> Result<(), PredictError> {
        let rows = Samples {
            rows: rows.rows,
            shape: rows.shape,
            features: rows.features,
            targets: None,
            inputs: None,
            row_keys: None,
            standardizes_target: false,
        };
        let table = self.engine.load(&rows)?;
        let piece = self.ensemble.first().rows_at_once();
        let mut start = 0;
        while start < rows.rows {
            let end = start.saturating_add(piece).min(rows.rows);
            let asked: Vec<u32> = (start..end).collect();
            let outputs = self.ensemble.outputs(&table, &asked)?;
            let width = outputs.len() / (end - start) as usize;
            for (row, outputs) in (start..end).zip(outputs.chunks_exact(width.max(1))) {
                if outputs.iter().any(|output| !output.is_finite()) {
                    let reason = format!("row {row}: the network's answer is not a finite number");
                    return Err(PredictError::file(file, reason));
                }
                let line = self.line(file, &rows.features, row, outputs);
                self.record(&line)?;
            }
            start = end;
        }
        Ok(())
    }

    /// Flushes the output.
    pub(super) fn finish(mut self) -> Result<(), PredictError> {
        self.writer.flush().map_err(PredictError::Output)
    }

    fn is_image(&self) -> bool {
        matches!(self.network.architecture().input, SampleShape::Image { .. })
    }

    fn line(&self, file: &Path, features: &Features, row: u32, outputs: &[f32]) -> Vec<String> {
        let mut line = Vec::new();
        if self.is_image() {
            line.push(file.display().to_string());
            line.push(row.to_string());
        } else {
            line.push(row.to_string());
            let width = self.network.inputs().len();
            let place = row as usize * width;
            match features {
                Features::Floats(values) => line.extend(values[place..][..width].iter().map(cell)),
                Features::Bytes(values) | Features::Whole(values) => {
                    line.extend(values[place..][..width].iter().map(u8::to_string));
                }
            }
        }
        let Some(classes) = self.network.classes() else {
            match self.network.kind() {
                TargetKind::Binary => line.extend(yes_or_no(&probabilities(outputs))),
                TargetKind::Number | TargetKind::Class => line.extend(outputs.iter().map(f32::to_string)),
            }
            return line;
        };
        let temperature = self.network.temperature();
        let answer = ClassAnswer::of(outputs, temperature);
        line.push(classes[answer.class as usize].clone());
        line.push(answer.probability.to_string());
        if self.probabilities {
            line.extend(
                answer
                    .probabilities(outputs, temperature)
                    .map(|probability| probability.to_string()),
            );
        }
        line
    }

    fn record(&mut self, record: &[String]) -> Result<(), PredictError> {
        self.writer
            .write_record(record)
            .map_err(|error| PredictError::Output(io::Error::from(error)))
    }
}
