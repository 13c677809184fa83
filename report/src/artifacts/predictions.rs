//! `predictions.csv`: the model's answer for rows of a table, or for test images.

use super::ArtifactError;

/// The model's answers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Predictions {
    /// None for images.
    pub(crate) features: Vec<String>,
    pub(crate) rows: Vec<PredictedRow>,
}

/// One answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PredictedRow {
    pub(crate) split: Split,
    /// In the order of the features.
    pub(crate) features: Vec<Option<f64>>,
    pub(crate) outcome: Outcome,
}

/// Which file a row is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Split {
    Train,
    Test,
}

/// What was to be predicted, and what was predicted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    Number { target: f64, prediction: f64 },
    Class,
}

impl Predictions {
    /// # Errors
    /// Another header than the documented one, or a cell that is no number where one is due; with its line.
    pub(crate) fn parse(name: &str, bytes: &[u8]) -> Result<Self, ArtifactError> {
        let refuse = |reason: String| ArtifactError::new(name, reason);
        let mut reader = csv::Reader::from_reader(bytes);
        let header = reader.headers().map_err(|error| refuse(error.to_string()))?.clone();
        let columns: Vec<&str> = header.iter().collect();
        let last = |begin: &str| {
            columns
                .iter()
                .rev()
                .take_while(|column| column.starts_with(begin))
                .count()
        };
        // Of several targets: how many, and how many columns there are of each.
        let (several, of_each) = match (last("prediction."), last("probability.")) {
            (0, several) => (several, 3),
            (several, _) => (several, 2),
        };
        let (features, has_classes) = match columns.as_slice() {
            ["split", "row", features @ .., "target", "prediction"] => (features, false),
            ["split", "row", features @ .., "target", "prediction", "probability"] => (features, true),
            // Of several targets the first one is shown.
            ["split", "row", others @ ..] if several > 0 && others.len() >= of_each * several => {
                (&others[..others.len() - of_each * several], of_each == 3)
            }
            _ => return Err(refuse(format!("its header is {}", columns.join(",")))),
        };
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|error| refuse(error.to_string()))?;
            let line = record.position().map_or(0, csv::Position::line);
            rows.push(
                row(&record, features.len(), has_classes, several.max(1))
                    .map_err(|reason| refuse(format!("line {line}: {reason}")))?,
            );
        }
        let features = features.iter().map(|&feature| feature.to_owned()).collect();
        Ok(Self { features, rows })
    }

    /// True if numbers are predicted.
    pub(crate) fn is_regression(&self) -> bool {
        self.rows
            .iter()
            .all(|row| matches!(row.outcome, Outcome::Number { .. }))
    }
}

fn row(record: &csv::StringRecord, features: usize, has_classes: bool, targets: usize) -> Result<PredictedRow, String> {
    // The reader refuses records that are not as long as the header.
    let number = |column: usize| {
        let text = record.get(column).unwrap_or_default();
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err(format!("{text:?} is no number")),
        }
    };
    let feature = |column: usize| match record.get(column) {
        Some("") => Ok(None),
        _ => number(column).map(Some),
    };
    let split = match record.get(0) {
        Some("train") => Split::Train,
        Some("test") => Split::Test,
        other => return Err(format!("{:?} is no split", other.unwrap_or_default())),
    };
    number(1)?;
    let outcome = if has_classes {
        number(features + 2 + 2 * targets)?;
        Outcome::Class
    } else {
        let (target, prediction) = (number(features + 2)?, number(features + 2 + targets)?);
        Outcome::Number { target, prediction }
    };
    Ok(PredictedRow {
        split,
        features: (2..features + 2).map(feature).collect::<Result<_, _>>()?,
        outcome,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_images_and_classes_are_read() {
        let table = Predictions::parse("p", b"split,row,a,target,target,prediction\ntest,3,1,,0.5,0.25\n").unwrap();
        assert_eq!(table.features, ["a", "target"]);
        let want = PredictedRow {
            split: Split::Test,
            features: vec![Some(1.0), None],
            outcome: Outcome::Number {
                target: 0.5,
                prediction: 0.25,
            },
        };
        assert_eq!(table.rows, [want]);
        let images = b"split,row,target,prediction,probability\ntest,0,Bag,Coat,0.75\n";
        let images = Predictions::parse("p", images).unwrap();
        assert!(images.features.is_empty());
        assert_eq!(images.rows[0].outcome, Outcome::Class);
        assert!(!images.is_regression());
    }

    #[test]
    fn broken_ones_are_refused_by_name_and_line() {
        let refused = |bytes: &[u8]| Predictions::parse("predictions.csv", bytes).unwrap_err().to_string();
        assert_eq!(
            refused(b"row,target\n"),
            "artifact predictions.csv: its header is row,target"
        );
        assert_eq!(
            refused(b"split,row,x,target,prediction\ntrain,0,1,2,NaN\n"),
            "artifact predictions.csv: line 2: \"NaN\" is no number"
        );
        assert_eq!(
            refused(b"split,row,x,target,prediction\nval,0,1,2,3\n"),
            "artifact predictions.csv: line 2: \"val\" is no split"
        );
        assert!(refused(b"split,row,x,target,prediction\ntrain,0\n").starts_with("artifact predictions.csv: "));
    }
}
