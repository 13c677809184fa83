//! The columns of a CSV file on their way to a worker.

use trawl_dataset::{Columns, Dialect, Header, Missing, Prepare, Rule, Selection, SplitColumn};
use trawl_domain::violation::Violations;

use crate::v1;
use crate::v1::job_prepare::Missing as Wire;

pub(super) fn to_wire(columns: &Columns) -> v1::JobCsv {
    let (features, all_but) = match &columns.features {
        Selection::Named(names) => (names, false),
        Selection::AllBut(names) => (names, true),
    };
    let Dialect {
        header,
        delimiter,
        quoting,
        encoding,
        has_decimal_comma,
        missing,
    } = &columns.dialect;
    let rules = columns.prepare.columns.iter();
    v1::JobCsv {
        features: features.clone(),
        targets: columns.targets().cloned().collect(),
        header: match header {
            Header::Checked => None,
            Header::Present => Some(true),
            Header::Absent => Some(false),
        },
        all_but,
        prepare: Some(rule_to_wire(columns.prepare.usual)),
        columns: rules.map(|(name, rule)| (name.clone(), rule_to_wire(*rule))).collect(),
        delimiter: delimiter.map_or(0, u32::from),
        decimal_comma: *has_decimal_comma,
        quote: quoting.map_or_else(String::new, |quoting| quoting.to_string()),
        encoding: encoding.to_string(),
        missing: missing.clone().map(|texts| v1::JobTexts { texts }),
        standardize_target: columns.prepare.standardizes_target,
        split_column: columns
            .split
            .as_ref()
            .map_or_else(String::new, |split| split.name.clone()),
        split_column_says: columns
            .split
            .as_ref()
            .map_or_else(String::new, |split| split.says.to_string()),
    }
}

fn rule_to_wire(rule: Rule) -> v1::JobPrepare {
    let word = |word: &str| Some(Wire::MissingWord(word.to_owned()));
    v1::JobPrepare {
        r#as: rule.kind.map_or_else(String::new, |kind| kind.to_string()),
        numbers: rule.numbers.to_string(),
        missing: match rule.missing {
            Missing::Refused => None,
            Missing::Mean => word("mean"),
            Missing::Median => word("median"),
            Missing::Dropped => word("drop"),
            Missing::Value(value) => Some(Wire::MissingValue(value)),
        },
        indicator: rule.indicator,
        rare: rule.rare,
    }
}

pub(super) fn from_wire(csv: v1::JobCsv, v: &mut Violations) -> Option<Columns> {
    let split = match csv.split_column.as_str() {
        "" => None,
        name => Some(SplitColumn {
            name: name.to_owned(),
            says: super::parse("dataset.csv.split_column_says", &csv.split_column_says, v)?,
            field: "dataset.csv.split_column",
        }),
    };
    let quoting = match csv.quote.as_str() {
        "" => None,
        quote => Some(super::parse("dataset.csv.quote", quote, v)?),
    };
    let mut targets = csv.targets.into_iter();
    let columns = csv.columns.iter();
    let columns = columns.map(|(name, rule)| Some((name.clone(), rule_from_wire(rule, v)?)));
    let columns = columns.collect::<Option<_>>();
    Some(Columns {
        features: if csv.all_but {
            Selection::AllBut(csv.features)
        } else {
            Selection::Named(csv.features)
        },
        target: targets.next().unwrap_or_default(),
        more_targets: targets.collect(),
        dialect: Dialect {
            header: match csv.header {
                None => Header::Checked,
                Some(true) => Header::Present,
                Some(false) => Header::Absent,
            },
            delimiter: u8::try_from(csv.delimiter).ok().filter(|delimiter| *delimiter != 0),
            quoting,
            encoding: super::parse("dataset.csv.encoding", &csv.encoding, v)?,
            has_decimal_comma: csv.decimal_comma,
            missing: csv.missing.map(|missing| missing.texts),
        },
        prepare: Prepare {
            usual: rule_from_wire(&csv.prepare.unwrap_or_default(), v)?,
            columns: columns?,
            standardizes_target: csv.standardize_target,
        },
        split,
    })
}

fn rule_from_wire(rule: &v1::JobPrepare, v: &mut Violations) -> Option<Rule> {
    let field = |name: &str| format!("dataset.csv.prepare.{name}");
    let kind = match rule.r#as.as_str() {
        "" => None,
        word => Some(super::parse(&field("as"), word, v)?),
    };
    let missing = match &rule.missing {
        None => Missing::Refused,
        Some(Wire::MissingValue(value)) => Missing::Value(*value),
        Some(Wire::MissingWord(word)) => match word.as_str() {
            "mean" => Missing::Mean,
            "median" => Missing::Median,
            "drop" => Missing::Dropped,
            _ => {
                v.add(field("missing"), "is of no known kind");
                return None;
            }
        },
    };
    Some(Rule {
        kind,
        numbers: super::parse(&field("numbers"), &rule.numbers, v)?,
        missing,
        indicator: rule.indicator,
        rare: rule.rare,
    })
}
