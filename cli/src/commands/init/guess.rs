//! Guesses the purpose of a table: the column to predict, the columns for the network, and their preparation.

use trawl_dataset::{Survey, SurveyCells, SurveyColumn};
use trawl_domain::limits::{CLASSES_MAX, FEATURES_MAX};

/// Names of columns that are predicted, where one is there.
const TARGETS: [&str; 6] = ["target", "label", "class", "y", "outcome", "response"];
/// Names of columns that number rows.
const IDS: [&str; 8] = ["", "id", "index", "row", "unnamed: 0", "__index_level_0__", "no", "nr"];
/// Most distinct whole numbers that are labels: more are numbers to predict.
const WHOLE_CLASSES_MAX: usize = 20;
/// Most words of a column: texts that nearly all differ tell nothing.
const WORDS_MAX: usize = 200;

/// What a table is for.
#[derive(Debug)]
pub(super) struct Guess<'a> {
    pub(super) survey: &'a Survey,
    pub(super) target: &'a SurveyColumn,
    /// Why it is the target.
    pub(super) why_target: &'static str,
    /// Rows of each class, from the most frequent one on; none where numbers are predicted.
    pub(super) classes: Vec<(String, u64)>,
    pub(super) features: Vec<Feature<'a>>,
    /// Columns that are no features, and why.
    pub(super) left_out: Vec<(&'a SurveyColumn, String)>,
    /// Texts that stand for no value, beside the usual ones.
    pub(super) missing: Vec<String>,
}

/// A column that goes into the network.
#[derive(Debug)]
pub(super) struct Feature<'a> {
    pub(super) column: &'a SurveyColumn,
    /// Different words; 0 where it has numbers.
    pub(super) words: usize,
    /// Whether the study file has to say that it has words.
    pub(super) must_say: bool,
    /// Cells without a value.
    pub(super) gaps: u64,
}

/// Guesses the purpose of a table.
///
/// # Errors
/// There is no such column, it cannot be predicted, or nothing is left to predict it from.
pub(super) fn guess<'a>(survey: &'a Survey, target: Option<&str>) -> Result<Guess<'a>, String> {
    let (target, why_target) = find_target(survey, target)?;
    if names_several(survey, &target.name) {
        return Err(format!(
            "column '{}' is to be predicted, and several columns have that name: give each its own",
            target.name
        ));
    }
    if target.cells != SurveyCells::Empty && target.missing > 0 {
        return Err(format!(
            "column '{}' is to be predicted, and {} of {} rows have no value there: leave these rows out of the file, or name another \
             with --target",
            target.name, target.missing, survey.rows
        ));
    }
    let classes = classes(target)?;
    let mut guess = Guess {
        survey,
        target,
        why_target,
        classes,
        features: Vec::new(),
        left_out: Vec::new(),
        missing: Vec::new(),
    };
    for (place, column) in survey.columns.iter().enumerate() {
        if column.name == target.name {
            continue;
        }
        if names_several(survey, &column.name) {
            let is_told = survey.columns[..place].iter().any(|other| other.name == column.name);
            let why = "is the name of several columns: give each its own".to_owned();
            guess.left_out.extend((!is_told).then_some((column, why)));
            continue;
        }
        match feature(survey, column, &mut guess.missing) {
            Ok(feature) => guess.features.push(feature),
            Err(reason) => guess.left_out.push((column, reason)),
        }
    }
    guess.leave_out_most_words()?;
    if guess.features.is_empty() {
        let reasons: Vec<String> = guess
            .left_out
            .iter()
            .map(|(column, why)| format!("'{}' {why}", column.name))
            .collect();
        return Err(format!(
            "no column is left to predict '{}' from: {}",
            target.name,
            reasons.join("; ")
        ));
    }
    Ok(guess)
}

fn names_several(survey: &Survey, name: &str) -> bool {
    survey.columns.iter().filter(|column| column.name == name).count() > 1
}

impl Feature<'_> {
    /// Inputs of the network: one for each word, and one for no value.
    fn inputs(&self) -> usize {
        self.words.max(1) + usize::from(self.words > 0 && self.gaps > 0)
    }
}

impl Guess<'_> {
    /// Leaves out the columns with the most words, until all inputs are no more than a network may have.
    fn leave_out_most_words(&mut self) -> Result<(), String> {
        let inputs = |features: &[Feature<'_>]| features.iter().map(Feature::inputs).sum::<usize>();
        while inputs(&self.features) > FEATURES_MAX {
            let widest = (0..self.features.len()).max_by_key(|place| self.features[*place].words);
            match widest.filter(|place| self.features[*place].words > 0) {
                Some(place) => {
                    let feature = self.features.remove(place);
                    let why = format!(
                        "has {} different words, and with an input for each there would be more than {FEATURES_MAX}",
                        feature.words
                    );
                    self.left_out.push((feature.column, why));
                }
                None => {
                    return Err(format!(
                        "has {} columns to predict '{}' from, and at most {FEATURES_MAX} are allowed: leave some out of the file",
                        self.features.len(),
                        self.target.name
                    ));
                }
            }
        }
        Ok(())
    }
}

fn find_target<'a>(survey: &'a Survey, named: Option<&str>) -> Result<(&'a SurveyColumn, &'static str), String> {
    let find = |is: &dyn Fn(&str) -> bool| survey.columns.iter().find(|column| is(&column.name));
    if let Some(named) = named {
        let names = || {
            survey
                .columns
                .iter()
                .map(|column| column.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        let found = find(&|name| name == named);
        return found
            .map(|column| (column, "as you said"))
            .ok_or_else(|| format!("has no column '{named}'; its columns are {}", names()));
    }
    let by_name = TARGETS
        .iter()
        .find_map(|target| find(&|name| name.eq_ignore_ascii_case(target)));
    match (by_name, survey.columns.last()) {
        (Some(column), _) => Ok((column, "by its name; --target names another")),
        (None, Some(last)) => Ok((last, "as it is the last column; --target names another")),
        (None, None) => Err("has no columns".to_owned()),
    }
}

/// The classes of a target; none where its numbers are predicted.
fn classes(target: &SurveyColumn) -> Result<Vec<(String, u64)>, String> {
    let name = &target.name;
    let values = target.values.as_ref().filter(|values| values.len() <= CLASSES_MAX);
    let is_classes = match target.cells {
        SurveyCells::Empty => {
            return Err(format!(
                "column '{name}' is to be predicted, and has no values: name another with --target"
            ));
        }
        SurveyCells::Mixed => {
            return Err(format!(
                "column '{name}' is to be predicted, and has numbers and texts, as '{}': name another with --target, or mend it",
                target.no_numbers.1.join("', '")
            ));
        }
        SurveyCells::Dates => {
            return Err(format!(
                "column '{name}' is to be predicted, and has dates: name another with --target"
            ));
        }
        SurveyCells::Words | SurveyCells::Booleans => true,
        SurveyCells::Whole => values.is_some_and(|values| values.len() <= WHOLE_CLASSES_MAX),
        SurveyCells::Numbers => values.is_some_and(|values| values.len() == 2),
    };
    if !is_classes {
        return Ok(Vec::new());
    }
    let Some(values) = values else {
        return Err(format!(
            "column '{name}' is to be predicted, and has more than {CLASSES_MAX} different texts: name another with --target"
        ));
    };
    if values.len() < 2 {
        return Err(format!(
            "column '{name}' is to be predicted, and is the same in every row: name another with --target"
        ));
    }
    let mut classes: Vec<(String, u64)> = values.iter().map(|(name, rows)| (name.clone(), *rows)).collect();
    classes.sort_by_key(|(_, rows)| std::cmp::Reverse(*rows));
    Ok(classes)
}

/// A column as a feature; or why it is none. `missing` gets texts that stand for no value in it.
fn feature<'a>(survey: &Survey, column: &'a SurveyColumn, missing: &mut Vec<String>) -> Result<Feature<'a>, String> {
    let distinct = column.values.as_ref().map(std::collections::BTreeMap::len);
    let different = distinct.unwrap_or(usize::MAX);
    let is_each = distinct.is_none_or(|distinct| distinct as u64 == survey.rows) && column.missing == 0;
    let numbers = |gaps: u64| Feature {
        column,
        words: 0,
        must_say: false,
        gaps,
    };
    let words = |must_say: bool| Feature {
        column,
        words: different,
        must_say,
        gaps: column.missing,
    };
    if different == 1 && column.missing == 0 {
        return Err("is the same in every row".to_owned());
    }
    let name = column.name.to_lowercase();
    let is_id = IDS.contains(&name.as_str()) || name.ends_with("_id") || name.ends_with(" id");
    match column.cells {
        SurveyCells::Whole if is_each && is_id => Err("is another in every row, and called an id".to_owned()),
        SurveyCells::Whole | SurveyCells::Numbers | SurveyCells::Booleans | SurveyCells::Dates => {
            Ok(numbers(column.missing))
        }
        SurveyCells::Words if different > WORDS_MAX => Err(format!(
            "has {} different texts in {} rows",
            distinct.map_or_else(|| "too many".to_owned(), |distinct| distinct.to_string()),
            survey.rows
        )),
        SurveyCells::Words => Ok(words(false)),
        SurveyCells::Mixed => {
            let (cells, texts) = &column.no_numbers;
            let is_word_elsewhere = |text: &String| {
                survey.columns.iter().any(|other| {
                    other.cells == SurveyCells::Words
                        && other.values.as_ref().is_none_or(|values| values.contains_key(text))
                })
            };
            // A text or two that come now and then stand for no value.
            if texts.len() <= 2 && *cells * 3 <= survey.rows && !texts.iter().any(is_word_elsewhere) {
                missing.extend(
                    texts
                        .iter()
                        .filter(|text| !missing.contains(text))
                        .cloned()
                        .collect::<Vec<_>>(),
                );
                return Ok(numbers(column.missing + cells));
            }
            if different <= WORDS_MAX {
                return Ok(words(true));
            }
            Err(format!("has numbers and texts, as '{}'", texts.join("', '")))
        }
        SurveyCells::Empty => Err("has no values".to_owned()),
    }
}
