//! The columns of a CSV file that a study names.

use std::collections::BTreeSet;

use prost_types::Value;
use prost_types::value::Kind;
use trawl_domain::dataset::{Columns, Header, NUMBERED};
use trawl_domain::limits::{CSV_COLUMNS_MAX, FEATURES_MAX};
use trawl_domain::space::ParamValue;
use trawl_domain::violation::Violations;

use crate::params::scalar;
use crate::v1;

pub(super) fn check(csv: &v1::CsvDataset, v: &mut Violations) -> Columns {
    let header = match csv.header {
        None => Header::Checked,
        Some(true) => Header::Present,
        Some(false) => Header::Absent,
    };
    let none = Vec::new();
    let features = match csv.features.as_ref().map(|features| &features.kind) {
        None => &none,
        Some(Some(Kind::ListValue(features))) => &features.values,
        Some(_) => {
            v.add("dataset.csv.features", "must be a list of columns, as [a, b]");
            &none
        }
    };
    if features.is_empty() || features.len() > FEATURES_MAX {
        v.add("dataset.csv.features", format!("must name 1 to {FEATURES_MAX} columns"));
    }
    let mut seen = BTreeSet::new();
    let mut names = Vec::with_capacity(features.len());
    for (index, feature) in features.iter().enumerate() {
        let field = format!("dataset.csv.features[{index}]");
        let Some(name) = column(&field, feature, header, v) else {
            continue;
        };
        if !seen.insert(name.clone()) {
            v.add(field, format!("'{name}' is named twice"));
        }
        names.push(name);
    }
    let target = match &csv.target {
        None => {
            v.add("dataset.csv.target", "is missing");
            None
        }
        Some(target) => column("dataset.csv.target", target, header, v),
    };
    if let Some(target) = target.as_ref().filter(|target| seen.contains(*target)) {
        v.add("dataset.csv.target", format!("'{target}' is a feature too"));
    }
    Columns {
        features: names,
        target: target.unwrap_or_default(),
        header,
    }
}

/// The name of a column. Those of a file without a header have numbers.
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
