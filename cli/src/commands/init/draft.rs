//! The text of a study file for a table.

use std::fmt::Write as _;

use trawl_dataset::{Encoding, Header, MISSING_TEXTS, Quoting, SurveyCells};

use super::guess::{Feature, Guess};

/// Most columns that are listed one by one; in wider tables the kinds are counted.
const COLUMNS_TOLD_MAX: usize = 40;
/// Characters of a text of the file, or of a path, in a comment.
const SHOWN_CHARS_MAX: usize = 1_000;
/// Rows up to which five folds are trained; beyond, one split is enough.
const K_FOLD_ROWS_MAX: u64 = 20_000;
/// Of two classes, the share of the rarer one below which accuracy misleads.
const RARE_SHARE: f64 = 0.2;

/// A study of a table at `path`, to be written to `file`.
pub(super) fn draft(name: &str, file: &str, path: &str, guess: &Guess<'_>) -> String {
    let mut text = String::new();
    head(&mut text, file, path, guess);
    dataset(&mut text, name, path, guess);
    network(&mut text, guess);
    search(&mut text, guess);
    text
}

/// A text as YAML has it.
pub(super) fn quoted(text: &str) -> String {
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !["true", "false", "yes", "no", "on", "off", "null", "y", "n"].contains(&text.to_lowercase().as_str());
    if is_plain {
        return text.to_owned();
    }
    serde_json::Value::from(text).to_string()
}

fn list<'t>(texts: impl IntoIterator<Item = &'t str>) -> String {
    let quoted: Vec<String> = texts.into_iter().map(quoted).collect();
    format!("[{}]", quoted.join(", "))
}

/// A line with a remark behind it.
fn line(text: &mut String, line: &str, remark: &str) {
    let _ = match remark {
        "" => writeln!(text, "{line}"),
        _ => writeln!(text, "{line:<48} # {remark}"),
    };
}

fn head(text: &mut String, file: &str, path: &str, guess: &Guess<'_>) {
    let (survey, file) = (guess.survey, shown(file));
    let _ = writeln!(
        text,
        "# A study of {}, {} rows and {} columns, drafted by `trawl init`. It runs as it is:",
        shown(path),
        survey.rows,
        survey.columns.len()
    );
    let _ = writeln!(
        text,
        "#   trawl submit {file} --dry-run    # checks it\n#   trawl submit {file} --watch\n#"
    );
    let words = |feature: &Feature<'_>| match feature.column.cells {
        SurveyCells::Booleans => "true or false".to_owned(),
        SurveyCells::Dates => "dates, as the days since the earliest one".to_owned(),
        SurveyCells::Words | SurveyCells::Mixed if feature.words > 0 => format!("{} different words", feature.words),
        _ => "numbers".to_owned(),
    };
    if guess.features.len() <= COLUMNS_TOLD_MAX {
        let _ = writeln!(text, "# What goes into the network:");
        let width = guess
            .features
            .iter()
            .map(|feature| feature.column.name.chars().count())
            .max()
            .unwrap_or(0);
        for feature in &guess.features {
            let gaps = match feature.gaps {
                0 => String::new(),
                gaps => format!(", {gaps} without a value"),
            };
            let _ = writeln!(
                text,
                "#   {:<width$}  {}{gaps}",
                shown(&feature.column.name),
                words(feature)
            );
        }
    } else {
        let with_words = guess.features.iter().filter(|feature| feature.words > 0).count();
        let (all, gaps) = (
            guess.features.len(),
            guess.features.iter().filter(|feature| feature.gaps > 0).count(),
        );
        let _ = writeln!(
            text,
            "# {all} columns go into the network: {with_words} of words, {gaps} with cells without a value."
        );
    }
    if !guess.left_out.is_empty() {
        let _ = writeln!(text, "# What is left out:");
        for (column, why) in guess.left_out.iter().take(COLUMNS_TOLD_MAX) {
            let _ = writeln!(text, "#   {}: {why}", shown(&column.name));
        }
        if guess.left_out.len() > COLUMNS_TOLD_MAX {
            let _ = writeln!(text, "#   and {} more", guess.left_out.len() - COLUMNS_TOLD_MAX);
        }
    }
    if !guess.classes.is_empty() {
        let told = guess
            .classes
            .iter()
            .take(8)
            .map(|(class, rows)| format!("{} ({rows} rows)", shown(class)));
        let more = if guess.classes.len() > 8 { ", …" } else { "" };
        let _ = writeln!(text, "# Classes: {}{more}", told.collect::<Vec<_>>().join(", "));
    }
}

/// A text of a file on one line of a comment.
fn shown(text: &str) -> String {
    trawl_domain::text::shown(text, SHOWN_CHARS_MAX)
}

fn dataset(text: &mut String, name: &str, path: &str, guess: &Guess<'_>) {
    let dialect = &guess.survey.dialect;
    let _ = writeln!(text, "name: {}", quoted(name));
    line(
        text,
        "seed: 1",
        "everything random derives from it: the same seed, the same results",
    );
    let _ = writeln!(text, "dataset:\n  csv:");
    line(text, &format!("    train: {}", quoted(path)), "relative to this file");
    line(
        text,
        "    # test: test.csv",
        "rows like these that no fit ever sees: the best network is measured on them",
    );
    let left_out = guess.left_out.iter().map(|(column, _)| column.name.as_str());
    let features = match guess.left_out.len() {
        0 => "all".to_owned(),
        _ => format!("{{ all_but: {} }}", list(left_out)),
    };
    line(
        text,
        &format!("    features: {features}"),
        "or a list of columns, in which pixel* stands for all that are like it",
    );
    line(
        text,
        &format!("    target: {}", quoted(&guess.target.name)),
        guess.why_target,
    );
    if dialect.header == Header::Absent {
        line(text, "    header: false", "the first line is a row");
    }
    if let Some(delimiter) = dialect.delimiter.filter(|delimiter| *delimiter != b',') {
        line(
            text,
            &format!(
                "    delimiter: {}",
                serde_json::Value::from(char::from(delimiter).to_string())
            ),
            "",
        );
    }
    if let Some(quoting) = dialect.quoting.filter(|quoting| *quoting != Quoting::default()) {
        let quote = serde_json::Value::from(quoting.to_string());
        line(text, &format!("    quote: {quote}"), "what stands around cells");
    }
    if dialect.encoding != Encoding::default() {
        line(
            text,
            &format!("    encoding: {}", dialect.encoding),
            "it is not UTF-8: if special letters come out wrong, try the other of latin-1 and windows-1252",
        );
    }
    if dialect.has_decimal_comma {
        line(text, "    decimal: \",\"", "");
    }
    if !guess.missing.is_empty() {
        let texts = MISSING_TEXTS
            .iter()
            .copied()
            .chain(guess.missing.iter().map(String::as_str));
        line(
            text,
            &format!("    missing: {}", list(texts)),
            "texts of cells without a value",
        );
    }
    prepare(text, guess);
}

fn prepare(text: &mut String, guess: &Guess<'_>) {
    let gaps = guess.features.iter().any(|feature| feature.gaps > 0);
    let many_words = guess.features.iter().any(|feature| feature.words > 10);
    let says: Vec<&Feature<'_>> = guess.features.iter().filter(|feature| feature.must_say).collect();
    let _ = writeln!(
        text,
        "    # By what each fold's training rows show: numbers less their mean and by their deviation, an input for each word."
    );
    let _ = writeln!(text, "    prepare:");
    line(
        text,
        "      numbers: standardize",
        "min_max, quantile or log1p for long tails, or none",
    );
    if gaps {
        line(
            text,
            "      missing: median",
            "what stands for no value: mean, a number, or drop, which leaves the row out",
        );
        line(
            text,
            "      indicator: true",
            "one more input says where there was none",
        );
    }
    if many_words {
        line(text, "      rare: 10", "words of fewer training rows share an input");
    }
    if !says.is_empty() {
        let columns: Vec<String> = says
            .iter()
            .map(|feature| format!("{}: {{ as: words }}", quoted(&feature.column.name)))
            .collect();
        line(
            text,
            &format!("      columns: {{ {} }}", columns.join(", ")),
            "numbers and texts: each is a word",
        );
    }
}

fn network(text: &mut String, guess: &Guess<'_>) {
    let outputs = guess.classes.len().max(1);
    let _ = writeln!(text, "model:");
    let _ = writeln!(text, "  - repeat:");
    line(text, "      times: $depth", "how many hidden layers is searched too");
    let _ = writeln!(text, "      layers:\n        - linear: {{ units: $units }}");
    line(text, "        - activation: { kind: relu }", "or gelu, silu, tanh, …");
    line(
        text,
        "        - dropout: { p: $dropout }",
        "share of numbers that a step leaves out",
    );
    let what = if guess.classes.is_empty() {
        "the number that is predicted"
    } else {
        "one output a class"
    };
    line(text, &format!("  - linear: {{ units: {outputs} }}"), what);
    let rows = guess.survey.rows;
    let epochs = match rows {
        0..1_000 => 80,
        1_000..20_000 => 40,
        20_000..200_000 => 20,
        _ => 10,
    };
    let _ = writeln!(text, "training:");
    let loss = if guess.classes.is_empty() {
        "mse"
    } else {
        "cross_entropy"
    };
    let others = if guess.classes.is_empty() {
        "or huber or l1, which outliers pull less"
    } else {
        ""
    };
    line(text, &format!("  loss: {loss}"), others);
    if is_unbalanced(guess) {
        line(
            text,
            "  class_weights: balanced",
            "a class counts the same whatever its rows",
        );
    }
    let _ = writeln!(
        text,
        "  optimizer: adamw\n  learning_rate: $learning_rate\n  weight_decay: $weight_decay\n  batch_size: $batch_size"
    );
    line(text, &format!("  epochs: {epochs}"), "passes over the training rows");
}

/// Whether the share of a class makes accuracy misleading.
fn is_unbalanced(guess: &Guess<'_>) -> bool {
    let rows = guess.survey.rows as f64;
    let fair = 2.0 / guess.classes.len().max(1) as f64;
    guess
        .classes
        .last()
        .is_some_and(|(_, rarest)| (*rarest as f64) < RARE_SHARE * fair * rows)
}

fn search(text: &mut String, guess: &Guess<'_>) {
    let rows = guess.survey.rows;
    let (validation, why) = if rows <= K_FOLD_ROWS_MAX {
        (
            "{ k_fold: 5 }",
            "group: COLUMN keeps rows together, order: COLUMN trains on the past alone",
        )
    } else {
        (
            "{ holdout: 0.2 }",
            "with so many rows one split tells enough; k_fold: 5 tells more and takes five times as long",
        )
    };
    let mut dates = guess
        .features
        .iter()
        .filter(|feature| feature.column.cells == SurveyCells::Dates);
    let by_time = dates.next().map(|feature| {
        let column = quoted(&feature.column.name);
        format!("{{ k_fold: {{ folds: 5, order: {column} }} }} trains on the past alone")
    });
    line(
        text,
        &format!("validation: {validation}"),
        &by_time.unwrap_or_else(|| why.to_owned()),
    );
    let (objective, why) = match guess.classes.len() {
        0 => ("{ metric: val_r2 }", "or val_mae, val_rmse, val_loss, …"),
        2 if is_unbalanced(guess) => (
            "{ metric: val_auc }",
            "one class is rare, and accuracy would mislead; or val_f1, val_average_precision, …",
        ),
        _ if is_unbalanced(guess) => (
            "{ metric: val_balanced_accuracy }",
            "some classes are rare; or val_f1, val_accuracy, …",
        ),
        _ => ("{ metric: val_accuracy }", "or val_log_loss, val_auc, val_f1, …"),
    };
    line(text, &format!("objective: {objective}"), why);
    let units = match rows {
        0..1_000 => "[8, 16, 32, 64]",
        1_000..20_000 => "[16, 32, 64, 128]",
        _ => "[32, 64, 128, 256]",
    };
    // A step has at least one row, and a training fold has four fifths of all.
    let batch_sizes: Vec<u64> = match rows {
        0..500 => vec![8, 16, 32],
        500..20_000 => vec![16, 32, 64, 128],
        _ => vec![64, 128, 256, 512],
    };
    let batch_sizes: Vec<String> = batch_sizes
        .into_iter()
        .filter(|size| *size <= (rows / 2).max(1))
        .map(|size| size.to_string())
        .collect();
    let batch_sizes = if batch_sizes.is_empty() {
        "1".to_owned()
    } else {
        batch_sizes.join(", ")
    };
    let _ = writeln!(text, "space:");
    line(
        text,
        "  depth: { int_uniform: { low: 1, high: 4 } }",
        "a whole number from 1 to 4",
    );
    line(
        text,
        &format!("  units: {{ ordered: {units} }}"),
        "choices whose neighbours are alike",
    );
    line(
        text,
        "  dropout: { uniform: { low: 0, high: 0.5 } }",
        "any number between these",
    );
    line(text, "  learning_rate: { log_uniform: { low: 3e-4, high: 3e-2 } }", "");
    line(text, "  weight_decay: { log_uniform: { low: 1e-5, high: 1e-1 } }", "");
    line(text, &format!("  batch_size: {{ ordered: [{batch_sizes}] }}"), "");
    line(text, "max_trials: 64", "trawl extend makes it longer");
    line(
        text,
        "refit: { epochs: best }",
        "the best one is trained again, on all rows, as long as its folds got better: trawl predict asks it",
    );
}
