//! The outline of a study in a dry run: its columns, rows, network and jobs.

use trawl_proto::v1::{LayerOutline, StudyOutline};

use crate::error::Error;
use crate::output::Output;

/// Most columns and classes that are shown; the rest is counted.
const SHOWN_MAX: usize = 60;

/// Prints it, a paragraph for each.
pub(super) fn print(outline: &StudyOutline, output: &mut Output) -> Result<(), Error> {
    columns(outline, output)?;
    paragraph(output, &format!("rows: {} for training", outline.train_rows))?;
    for folds in &outline.folds {
        let what = if folds.folds == 1 { "fold" } else { "folds" };
        output.line(&format!(
            "  {} {what}: {} train, {} validate",
            folds.folds, folds.train_rows, folds.validation_rows
        ))?;
    }
    if !outline.classes.is_empty() {
        paragraph(output, &format!("classes: {}", outline.classes.len()))?;
        let width = width(outline.classes.iter().map(|class| &class.name));
        for class in outline.classes.iter().take(SHOWN_MAX) {
            output.line(&format!("  {:<width$}  {:>8} rows", class.name, class.rows))?;
        }
        rest(outline.classes.len(), output)?;
    }
    layers(outline, output)?;
    let epochs = match outline.fold_epochs {
        Some(epochs) => format!("; {epochs} epochs of folds in all, if no trial fails"),
        None => String::new(),
    };
    paragraph(
        output,
        &format!(
            "jobs: the first {} trials train in {}{epochs}",
            outline.first_trials, outline.first_jobs
        ),
    )?;
    time(outline, output)
}

/// How long it may take, and what that rests on.
fn time(outline: &StudyOutline, output: &mut Output) -> Result<(), Error> {
    let (Some(low), Some(high)) = (outline.core_seconds_low, outline.core_seconds_high) else {
        return paragraph(output, "time: no estimate, as the number of epochs is searched");
    };
    let range = |by: f64| match (about(low / by), about(high / by)) {
        (low, high) if low == high => low,
        (low, high) => format!("{low} to {high}"),
    };
    paragraph(output, &format!("time: {} of one core of a CPU, roughly", range(1.0)))?;
    if outline.slots > 1 && high >= 1.0 {
        let slots = outline.slots;
        output.line(&format!(
            "  {} where the {slots} slots of the workers that are there have a core each",
            range(f64::from(slots))
        ))?;
    }
    output.line(
        "  estimated by the arithmetic of the first trials' networks, if no trial fails; what a GPU takes is not in it",
    )
}

/// A time in the nearest unit, without false precision.
fn about(seconds: f64) -> String {
    let (unit, name) = match seconds {
        seconds if seconds < 1.0 => return "under a second".to_owned(),
        seconds if seconds < 120.0 => (1.0, "s"),
        seconds if seconds < 7_200.0 => (60.0, "min"),
        seconds if seconds < 172_800.0 => (3_600.0, "h"),
        _ => (86_400.0, "days"),
    };
    format!("{:.0} {name}", seconds / unit)
}

fn columns(outline: &StudyOutline, output: &mut Output) -> Result<(), Error> {
    let inputs = outline.input.iter().map(u32::to_string).collect::<Vec<_>>().join(" x ");
    if outline.columns.is_empty() {
        return paragraph(output, &format!("inputs: {inputs}"));
    }
    paragraph(
        output,
        &format!("columns: {}, which are {inputs} inputs", outline.columns.len()),
    )?;
    let width = width(outline.columns.iter().map(|column| &column.name));
    for column in outline.columns.iter().take(SHOWN_MAX) {
        let gaps = match column.missing {
            0 => String::new(),
            gaps => format!(", {gaps} without a value"),
        };
        let inputs = match (column.kind.as_str(), column.inputs) {
            ("words", inputs) => format!("words, {inputs} inputs"),
            (kind, 1) => kind.to_owned(),
            (kind, inputs) => format!("{kind}, {inputs} inputs"),
        };
        output.line(&format!(
            "  {:<width$}  {inputs}{gaps}: {}",
            column.name, column.preparation
        ))?;
    }
    rest(outline.columns.len(), output)
}

fn layers(outline: &StudyOutline, output: &mut Output) -> Result<(), Error> {
    let weights: u64 = outline.layers.iter().map(|layer| layer.weights).sum();
    paragraph(output, &format!("network of trial 0: {weights} weights"))?;
    // The layers of a residual are indented.
    let text = |layer: &LayerOutline| {
        let depth = layer.name.matches('.').count();
        format!("{:indent$}{} {}", "", layer.name, layer.text, indent = 2 * depth)
    };
    let texts: Vec<String> = outline.layers.iter().map(text).collect();
    let width = width(texts.iter());
    for (layer, text) in outline.layers.iter().zip(&texts) {
        let shape = layer.output.iter().map(u32::to_string).collect::<Vec<_>>().join(" x ");
        let weights = match layer.weights {
            0 => String::new(),
            weights => format!(", {weights} weights"),
        };
        output.line(&format!("  {text:<width$}  -> {shape}{weights}"))?;
    }
    Ok(())
}

/// A line behind an empty one.
fn paragraph(output: &mut Output, line: &str) -> Result<(), Error> {
    output.line("")?;
    output.line(line)
}

fn rest(all: usize, output: &mut Output) -> Result<(), Error> {
    match all.checked_sub(SHOWN_MAX) {
        Some(rest) if rest > 0 => output.line(&format!("  and {rest} more")),
        _ => Ok(()),
    }
}

fn width<'t>(texts: impl Iterator<Item = &'t String>) -> usize {
    texts
        .take(SHOWN_MAX)
        .map(|text| text.chars().count())
        .max()
        .unwrap_or(0)
        .min(40)
}

#[cfg(test)]
mod tests {
    use trawl_proto::v1::{ClassOutline, ColumnOutline, FoldOutline};

    use super::*;

    #[test]
    fn an_outline_is_read_at_a_glance() {
        let column = |name: &str, kind: &str, missing, inputs, preparation: &str| ColumnOutline {
            name: name.to_owned(),
            kind: kind.to_owned(),
            missing,
            inputs,
            preparation: preparation.to_owned(),
        };
        let layer = |name: &str, text: &str, weights| LayerOutline {
            name: name.to_owned(),
            text: text.to_owned(),
            output: vec![8],
            weights,
        };
        let outline = StudyOutline {
            columns: vec![
                column("size", "number", 3, 2, "standardize, missing: median, indicator"),
                column("town", "words", 0, 3, "an input for each word"),
            ],
            train_rows: 100,
            classes: vec![ClassOutline {
                name: "yes".to_owned(),
                rows: 40,
            }],
            folds: vec![FoldOutline {
                folds: 5,
                train_rows: 80,
                validation_rows: 20,
            }],
            input: vec![5],
            layers: vec![layer("0", "residual", 0), layer("0.0", "linear units=8", 48)],
            first_jobs: 2,
            first_trials: 16,
            fold_epochs: Some(4_000),
            core_seconds_low: Some(90.0),
            core_seconds_high: Some(810.0),
            slots: 4,
        };
        let (mut output, written) = Output::to_memory();
        print(&outline, &mut output).expect("printed");
        let text = String::from_utf8(written.borrow().clone()).expect("text");
        let expected = "
columns: 2, which are 5 inputs
  size  number, 2 inputs, 3 without a value: standardize, missing: median, indicator
  town  words, 3 inputs: an input for each word

rows: 100 for training
  5 folds: 80 train, 20 validate

classes: 1
  yes        40 rows

network of trial 0: 48 weights
  0 residual            -> 8
    0.0 linear units=8  -> 8, 48 weights

jobs: the first 16 trials train in 2; 4000 epochs of folds in all, if no trial fails

time: 90 s to 14 min of one core of a CPU, roughly
  22 s to 3 min where the 4 slots of the workers that are there have a core each
  estimated by the arithmetic of the first trials' networks, if no trial fails; what a GPU takes is not in it
";
        assert_eq!(text, expected);
        for (seconds, text) in [
            (0.4, "under a second"),
            (119.0, "119 s"),
            (7_000.0, "117 min"),
            (172_000.0, "48 h"),
            (1e6, "12 days"),
        ] {
            assert_eq!(about(seconds), text);
        }
    }
}
