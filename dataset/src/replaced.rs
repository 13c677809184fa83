//! Cells that go into a trained network as something else: words that it has no input for, and gaps. Nobody else would notice them.

use super::FeatureRows;
use super::columns::Missing;
use super::inputs::{Cells, InputColumn, Inputs};

/// Characters of a word that is kept as an example.
const EXAMPLE_CHARS_MAX: usize = 40;
/// Columns that are told one by one.
const COLUMNS_MAX: usize = 20;
const RARE: &str = "the input of rare words stands for it";
const NOTHING: &str = "all inputs of the column's words are 0";

/// Cells of a column that go in as something else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replaced {
    /// Rows without a value.
    pub gaps: u32,
    /// Rows with a word that has no input of its own.
    pub unknown: u32,
    /// The first of these words; cut if it is long.
    pub example: String,
}

impl Replaced {
    /// Records a word that has no input of its own.
    pub(super) fn look(&mut self, word: &str) {
        if self.unknown == 0 {
            self.example = word.chars().take(EXAMPLE_CHARS_MAX).collect();
            if self.example.len() < word.len() {
                self.example.push('…');
            }
        }
        self.unknown += 1;
    }
}

impl FeatureRows {
    /// A line for each column with replaced cells: how many rows have one, and what goes in for it. Of many columns, the last line
    /// has the number of the others.
    pub fn replacements(&self, inputs: &Inputs) -> Vec<String> {
        let columns = inputs.columns().iter().zip(&self.replaced);
        let lines = columns.filter_map(|(column, replaced)| line(column, replaced, self.rows));
        let mut lines: Vec<String> = lines.collect();
        let more = lines.len().saturating_sub(COLUMNS_MAX);
        if more > 0 {
            lines.truncate(COLUMNS_MAX);
            lines.push(format!(
                "{more} more column(s): something else stands for words or gaps"
            ));
        }
        lines
    }
}

fn line(column: &InputColumn, replaced: &Replaced, rows: u32) -> Option<String> {
    let have = |count: u32| format!("{count} of {rows} rows {}", if count == 1 { "has" } else { "have" });
    let mut parts = Vec::new();
    if replaced.unknown > 0 {
        // Rare words are not kept, so they cannot be told from unknown ones.
        let (whose, stand_in) = match &column.cells {
            Cells::Words { others: true, .. } => ("no or few training rows have", RARE),
            _ => ("no training row has", NOTHING),
        };
        parts.push(format!(
            "{} a word that {whose}, such as '{}': {stand_in}",
            have(replaced.unknown),
            replaced.example
        ));
    }
    if replaced.gaps > 0 {
        let indicator = match column.indicator {
            true => format!(", and '{} is missing' is 1", column.name),
            false => String::new(),
        };
        parts.push(format!(
            "{} no value: {}{indicator}",
            have(replaced.gaps),
            for_gap(column)
        ));
    }
    (!parts.is_empty()).then(|| format!("column '{}': {}", column.name, parts.join("; ")))
}

/// What goes in for a cell without a value.
fn for_gap(column: &InputColumn) -> String {
    let number = match (&column.cells, column.missing()) {
        (Cells::Words { words, .. }, _) if words.first().is_some_and(String::is_empty) => {
            return "a word of its own stands for it".to_owned();
        }
        (Cells::Words { others: true, .. }, _) => return RARE.to_owned(),
        (Cells::Words { .. }, _) => return NOTHING.to_owned(),
        (Cells::Date { since, .. }, Missing::Value(value)) => format!("{value} days since {since}"),
        (_, Missing::Value(value)) => value.to_string(),
        (_, Missing::Mean) => "the mean of the training rows".to_owned(),
        (_, Missing::Median) => "the median of the training rows".to_owned(),
        // The file was refused.
        (_, Missing::Refused | Missing::Dropped) => "nothing".to_owned(),
    };
    format!("{number} stands for it")
}

#[cfg(test)]
mod tests {
    use super::super::{Dialect, FeatureFormat, Moment, Scale, read_features};
    use super::*;

    fn words(name: &str, words: &[&str], others: bool) -> InputColumn {
        InputColumn {
            name: name.to_owned(),
            cells: Cells::Words {
                words: words.iter().map(|word| (*word).to_owned()).collect(),
                others,
                missing: Missing::Median,
            },
            indicator: false,
        }
    }

    fn number(name: &str, missing: Missing, indicator: bool) -> InputColumn {
        InputColumn {
            name: name.to_owned(),
            cells: Cells::Number {
                scale: Scale::Standardize,
                missing,
            },
            indicator,
        }
    }

    fn told(columns: Vec<InputColumn>, text: &str) -> Vec<String> {
        let (inputs, dialect) = (&Inputs(columns), &Dialect::default());
        let rows = read_features(FeatureFormat::Csv { inputs, dialect }, inputs.shape(), &text);
        rows.expect("a table").replacements(inputs)
    }

    #[test]
    fn words_that_training_rows_lack_are_counted_by_column() {
        let long = "e".repeat(EXAMPLE_CHARS_MAX + 1);
        let columns = vec![
            words("street", &["Ash", "Oak"], false),
            words("town", &["Ahlen"], true),
            words("known", &["x"], false),
        ];
        let text = format!("street,town,known\nElm,{long},x\nAsh,Ahlen,x\nYew,Ahlen,x\n");
        let shown = "e".repeat(EXAMPLE_CHARS_MAX);
        assert_eq!(
            told(columns, &text),
            [
                "column 'street': 2 of 3 rows have a word that no training row has, such as 'Elm': all inputs of the column's \
                 words are 0"
                    .to_owned(),
                format!(
                    "column 'town': 1 of 3 rows has a word that no or few training rows have, such as '{shown}…': the input of rare words \
                     stands for it"
                ),
            ]
        );
    }

    #[test]
    fn gaps_are_told_with_what_stands_for_them() {
        let columns = vec![
            number("area", Missing::Median, true),
            number("debt", Missing::Value(2.5), false),
            InputColumn {
                cells: Cells::Date {
                    since: Moment::parse("2026-01-31").expect("a date"),
                    scale: Scale::Standardize,
                    missing: Missing::Mean,
                },
                ..number("sold", Missing::Mean, false)
            },
            words("town", &["", "Ahlen"], false),
            words("street", &["Ash"], false),
        ];
        let text = "area,debt,sold,town,street\n,,,,\n1,NA,2026-02-01,Elm,Ash\n";
        assert_eq!(
            told(columns, text),
            [
                "column 'area': 1 of 2 rows has no value: the median of the training rows stands for it, and 'area is missing' is 1",
                "column 'debt': 2 of 2 rows have no value: 2.5 stands for it",
                "column 'sold': 1 of 2 rows has no value: the mean of the training rows stands for it",
                "column 'town': 1 of 2 rows has a word that no training row has, such as 'Elm': all inputs of the column's words are 0; \
                 1 of 2 rows has no value: a word of its own stands for it",
                "column 'street': 1 of 2 rows has no value: all inputs of the column's words are 0",
            ]
        );
    }

    #[test]
    fn of_many_columns_the_first_are_told() {
        let names: Vec<String> = (0..=COLUMNS_MAX).map(|column| format!("c{column}")).collect();
        let columns = names.iter().map(|name| number(name, Missing::Mean, false)).collect();
        let lines = told(columns, &format!("{}\n{}\n", names.join(","), ",".repeat(COLUMNS_MAX)));
        assert_eq!(lines.len(), COLUMNS_MAX + 1);
        assert_eq!(
            lines[COLUMNS_MAX],
            "1 more column(s): something else stands for words or gaps"
        );
    }

    #[test]
    fn a_table_that_goes_in_as_it_is_has_nothing_to_tell() {
        let columns = vec![number("area", Missing::Median, true), words("town", &["Ahlen"], true)];
        assert_eq!(told(columns, "area,town\n1,Ahlen\n"), Vec::<String>::new());
    }
}
