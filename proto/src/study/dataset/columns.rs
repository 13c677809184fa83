//! Checks a study's columns of a CSV file.

use std::collections::BTreeSet;

use prost_types::Value;
use prost_types::value::Kind;
use trawl_dataset::word::UnknownWord;
use trawl_dataset::{Columns, Dialect, Encoding, Header, NUMBERED, Quoting, Says, Selection, SplitColumn};
use trawl_domain::limits::{CSV_COLUMNS_MAX, FEATURES_MAX, TARGETS_MAX};
use trawl_domain::space::ParamValue;
use trawl_domain::violation::Violations;

use super::prepare;
use crate::params::scalar;
use crate::v1;

const FEATURES: &str = "dataset.csv.features";
const TARGET: &str = "dataset.csv.target";
/// Most texts of cells without a value.
const MISSING_TEXTS_MAX: usize = 32;

/// Checks the columns; `split` is the split column, if any: the field that names it, its value, and its meaning.
pub(super) fn check(csv: &v1::CsvDataset, split: Option<&(&'static str, Value, Says)>, v: &mut Violations) -> Columns {
    let header = match csv.header {
        None => Header::Checked,
        Some(true) => Header::Present,
        Some(false) => Header::Absent,
    };
    let features = match csv.features.as_ref().and_then(|features| features.kind.as_ref()) {
        Some(Kind::ListValue(features)) => {
            if features.values.is_empty() || features.values.len() > FEATURES_MAX {
                v.add(FEATURES, format!("must name 1 to {FEATURES_MAX} columns"));
            }
            Selection::Named(list(FEATURES, &features.values, header, v))
        }
        Some(Kind::StringValue(word)) if word == "all" => Selection::AllBut(Vec::new()),
        Some(Kind::StructValue(settings)) if settings.fields.keys().eq(["all_but"]) => {
            let field = format!("{FEATURES}.all_but");
            match settings.fields["all_but"].kind.as_ref() {
                Some(Kind::ListValue(names)) => Selection::AllBut(list(&field, &names.values, header, v)),
                _ => {
                    v.add(field, "must be a list of columns, as [a, b]");
                    Selection::default()
                }
            }
        }
        kind => {
            let what = if kind.is_none() { "is missing: " } else { "" };
            v.add(
                FEATURES,
                format!("{what}must be a list of columns, as [a, b]; all; or {{ all_but: [a, b] }}"),
            );
            Selection::default()
        }
    };
    let mut targets = targets(csv, header, v);
    for target in &targets {
        if matches!(&features, Selection::Named(names) if names.contains(target)) {
            v.add(TARGET, format!("'{target}' is a feature too"));
        }
    }
    let split = split.and_then(|(field, named, says)| {
        let name = column(field, named, header, v)?;
        if targets.contains(&name) {
            v.add(*field, format!("'{name}' is the target"));
        }
        Some(SplitColumn {
            name,
            says: *says,
            field,
        })
    });
    let more_targets = targets.split_off(targets.len().min(1));
    Columns {
        features,
        target: targets.pop().unwrap_or_default(),
        more_targets,
        dialect: dialect(csv, header, v),
        prepare: prepare::check(csv.prepare.as_ref(), v),
        split,
    }
}

/// The target columns.
fn targets(csv: &v1::CsvDataset, header: Header, v: &mut Violations) -> Vec<String> {
    match csv.target.as_ref().map(|target| (target, target.kind.as_ref())) {
        None => {
            v.add(TARGET, "is missing");
            Vec::new()
        }
        Some((_, Some(Kind::ListValue(targets)))) => {
            if targets.values.is_empty() || targets.values.len() > TARGETS_MAX {
                v.add(TARGET, format!("must name 1 to {TARGETS_MAX} columns"));
            }
            list(TARGET, &targets.values, header, v)
        }
        Some((target, _)) => column(TARGET, target, header, v).into_iter().collect(),
    }
}

fn dialect(csv: &v1::CsvDataset, header: Header, v: &mut Violations) -> Dialect {
    let delimiter = match csv.delimiter.as_bytes() {
        [] => None,
        [byte] if byte.is_ascii() && !b"\"\r\n".contains(byte) && !byte.is_ascii_alphanumeric() => Some(*byte),
        _ => {
            v.add("dataset.csv.delimiter", "must be one character, as ';', '|' or a tab");
            None
        }
    };
    if !["", ".", ","].contains(&csv.decimal.as_str()) {
        v.add("dataset.csv.decimal", "must be '.' or ','");
    }
    if csv.missing.len() > MISSING_TEXTS_MAX {
        v.add(
            "dataset.csv.missing",
            format!("must be at most {MISSING_TEXTS_MAX} texts"),
        );
    }
    let mut word = |field: &str, word: &str, reason: String| {
        v.add(
            format!("dataset.csv.{field}"),
            format!("'{word}' is not known: it {reason}"),
        );
    };
    let quoting = match csv.quote.as_str() {
        "" => None,
        quote => quote
            .parse::<Quoting>()
            .map_err(|error| word("quote", quote, error.to_string()))
            .ok(),
    };
    let encoding = match csv.encoding.as_str() {
        "" => Encoding::default(),
        name => name.parse().unwrap_or_else(|error: UnknownWord| {
            word("encoding", name, error.to_string());
            Encoding::default()
        }),
    };
    if let (Some(Quoting::Character(quote)), Some(delimiter)) = (quoting, delimiter)
        && quote == delimiter
    {
        v.add("dataset.csv.quote", "is the delimiter too");
    }
    Dialect {
        header,
        delimiter,
        quoting,
        encoding,
        has_decimal_comma: csv.decimal == ",",
        missing: (!csv.missing.is_empty()).then(|| csv.missing.clone()),
    }
}

/// Names of columns, each once.
fn list(field: &str, columns: &[Value], header: Header, v: &mut Violations) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut names = Vec::with_capacity(columns.len());
    for (index, named) in columns.iter().enumerate() {
        let field = format!("{field}[{index}]");
        // A column may have an empty name, like an index written by pandas.
        let is_nameless = matches!(&named.kind, Some(Kind::StringValue(name)) if name.is_empty());
        let name = match is_nameless && header != Header::Absent {
            true => Some(String::new()),
            false => column(&field, named, header, v),
        };
        let Some(name) = name else { continue };
        if !seen.insert(name.clone()) {
            v.add(field, format!("'{name}' is named twice"));
        }
        names.push(name);
    }
    names
}

/// A column's name; in a file without a header, its number.
fn column(field: &str, column: &Value, header: Header, v: &mut Violations) -> Option<String> {
    let is_numbered = header == Header::Absent;
    let numbers = format!("a file with header: false has columns 0 to {}", CSV_COLUMNS_MAX - 1);
    let reason = match scalar(column) {
        Ok(ParamValue::Text(name)) if name.is_empty() => "is empty".to_owned(),
        Ok(ParamValue::Text(name)) if is_numbered => {
            let number = name
                .strip_prefix(NUMBERED)
                .and_then(|number| number.parse::<usize>().ok());
            if number.is_some_and(|number| number < CSV_COLUMNS_MAX && name == format!("{NUMBERED}{number}")) {
                return Some(name);
            }
            format!("'{name}' is no column: {numbers}, which are also called {NUMBERED}0 and so on")
        }
        Ok(ParamValue::Text(name)) => return Some(name),
        Ok(ParamValue::Int(number)) if is_numbered => {
            match usize::try_from(number).ok().filter(|number| *number < CSV_COLUMNS_MAX) {
                Some(number) => return Some(format!("{NUMBERED}{number}")),
                None => format!("{number} is no column: {numbers}"),
            }
        }
        Ok(ParamValue::Int(number)) => format!(
            "is a number, and columns are taken by number only with header: false; a column that is called {number} is written \
             '{number}', in quotes"
        ),
        Ok(other) => format!("must be the name of a column, and {other} is not"),
        Err(kind) => format!("must be the name of a column, and is {kind}"),
    };
    v.add(field, reason);
    None
}
