//! Reads messages by their descriptors, and notes every fault under the path of its field.

use std::collections::BTreeMap;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};
use serde_json::Value as Json;
use trawl_dataset::spelling::nearest;

use super::path::Path;
use super::wrong::{JsonError, JsonErrors, shortened, what};

/// Most nested levels of a value that may hold any JSON. `trawl.v1` needs at most two.
const ANY_DEPTH_MAX: usize = 32;

/// Reads a message from its JSON form. An unknown field is an error, because a misspelt setting must not keep its default.
///
/// # Errors
/// All faults.
pub fn from_json<M>(json: &Json) -> Result<M, JsonErrors>
where
    M: prost::Message + prost::Name + Default,
{
    let mut reader = Reader::default();
    let message = reader.message(&super::descriptor::<M>(), json, &Path::WHOLE);
    let Some(message) = message.filter(|_| reader.wrong.is_empty()) else {
        return Err(reader.wrong);
    };
    message.transcode_to().map_err(|_| {
        reader.wrong(&Path::WHOLE, "cannot be read as a whole".to_owned());
        reader.wrong
    })
}

#[derive(Default)]
struct Reader {
    wrong: JsonErrors,
}

impl Reader {
    fn wrong(&mut self, at: &Path<'_>, reason: String) {
        self.wrong.add(JsonError::new(at.to_string(), reason));
    }

    fn wrong_with_help(&mut self, at: &Path<'_>, reason: String, help: Option<String>) {
        let help = help.filter(|help| !help.is_empty());
        self.wrong.add(JsonError {
            help,
            ..JsonError::new(at.to_string(), reason)
        });
    }

    /// A message; `None` if the JSON cannot be one. Notes faults within it.
    fn message(&mut self, descriptor: &MessageDescriptor, json: &Json, at: &Path<'_>) -> Option<DynamicMessage> {
        if descriptor.full_name().starts_with("google.protobuf.") {
            return self.well_known(descriptor, json, at);
        }
        let Json::Object(object) = json else {
            let help = match fields(descriptor) {
                names if names.is_empty() => "write {}".to_owned(),
                names => format!("its fields are {names}"),
            };
            self.wrong_with_help(
                at,
                format!("must be a mapping of fields, not {}", what(json)),
                Some(help),
            );
            return None;
        };
        let mut message = DynamicMessage::new(descriptor.clone());
        let mut given: BTreeMap<u32, &str> = BTreeMap::new();
        for (name, json) in object {
            let field = descriptor.get_field_by_name(name);
            let Some(field) = field.or_else(|| descriptor.get_field_by_json_name(name)) else {
                self.unknown(descriptor, name, at);
                continue;
            };
            let at = at.name(field.name());
            // As if it were omitted, as everywhere in protobuf's JSON; null settings are checked later.
            if json.is_null() && !takes_null(&field) {
                self.chosen_without_content(&field, &at);
                continue;
            }
            if let Some(before) = given.insert(field.number(), name) {
                self.wrong(&at, format!("is given twice, as {before} and as {name}"));
            }
            if let Some(value) = self.field(&field, json, &at) {
                message.set_field(&field, value);
            }
        }
        self.exclusive(descriptor, &given, at);
        Some(message)
    }

    /// Among exclusive fields, an empty one chooses nothing: `flatten:` alone is no layer.
    fn chosen_without_content(&mut self, field: &FieldDescriptor, at: &Path<'_>) {
        if field.containing_oneof().is_none_or(|group| group.is_synthetic()) {
            return;
        }
        let name = field.name();
        let help = match field.kind() {
            Kind::Message(descriptor) if descriptor.fields().len() == 0 => format!("write {name}: {{}}"),
            Kind::Message(descriptor) => format!("its fields are {}", fields(&descriptor)),
            _ => format!("write its value after {name}:"),
        };
        self.wrong_with_help(at, "holds nothing".to_owned(), Some(help));
    }

    fn unknown(&mut self, descriptor: &MessageDescriptor, name: &str, at: &Path<'_>) {
        let allowed = match fields(descriptor) {
            names if names.is_empty() => "there are no fields here".to_owned(),
            names => format!("allowed are {names}"),
        };
        let names: Vec<FieldDescriptor> = descriptor.fields().collect();
        let meant = nearest(name, names.iter().map(FieldDescriptor::name));
        self.wrong.add(JsonError {
            field: at.name(&shortened(name)).to_string(),
            reason: format!("is not known; {allowed}"),
            help: meant
                .map(|meant| format!("did you mean '{meant}'?"))
                .or_else(|| said_elsewhere(name)),
            is_name: true,
        });
    }

    /// Among exclusive fields, at most one may be given.
    fn exclusive(&mut self, descriptor: &MessageDescriptor, given: &BTreeMap<u32, &str>, at: &Path<'_>) {
        for group in descriptor.oneofs().filter(|group| !group.is_synthetic()) {
            let here: Vec<&str> = group
                .fields()
                .filter_map(|field| given.get(&field.number()).copied())
                .collect();
            if here.len() < 2 {
                continue;
            }
            let all: Vec<FieldDescriptor> = group.fields().collect();
            let all: Vec<&str> = all.iter().map(FieldDescriptor::name).collect();
            let count = match here.len() {
                2 => "two".to_owned(),
                count => count.to_string(),
            };
            self.wrong(
                at,
                format!(
                    "name exactly one of {}; here are {count}: {}",
                    all.join(", "),
                    listed(&here)
                ),
            );
        }
    }

    fn field(&mut self, field: &FieldDescriptor, json: &Json, at: &Path<'_>) -> Option<Value> {
        let kind = field.kind();
        if matches!(kind, Kind::Bytes | Kind::Enum(_)) {
            return self.by_library(field, json, at);
        }
        if field.is_list() {
            let Json::Array(items) = json else {
                let help = match json {
                    Json::Array(_) | Json::Object(_) | Json::Null => None,
                    Json::String(text) => Some(format!("a list of one is [{}]", shortened(text))),
                    scalar => Some(format!("a list of one is [{scalar}]")),
                };
                self.wrong_with_help(at, format!("must be a list, not {}", what(json)), help);
                return None;
            };
            let read = items
                .iter()
                .enumerate()
                .filter_map(|(index, item)| self.single(&kind, item, &at.index(index)));
            return Some(Value::List(read.collect()));
        }
        if !field.is_map() {
            return self.single(&kind, json, at);
        }
        let (Json::Object(object), Kind::Message(entry)) = (json, &kind) else {
            self.wrong(at, format!("must be a mapping of names, not {}", what(json)));
            return None;
        };
        // Keys of all maps of `trawl.v1` are texts.
        let kind = entry.map_entry_value_field().kind();
        let read = object.iter().filter_map(|(name, json)| {
            let value = self.single(&kind, json, &at.name(name))?;
            Some((MapKey::String(name.clone()), value))
        });
        Some(Value::Map(read.collect()))
    }

    fn single(&mut self, kind: &Kind, json: &Json, at: &Path<'_>) -> Option<Value> {
        match kind {
            Kind::Message(descriptor) => self.message(descriptor, json, at).map(Value::Message),
            Kind::String => match json {
                Json::String(text) => Some(Value::String(text.clone())),
                other => {
                    let help = matches!(other, Json::Number(_) | Json::Bool(_))
                        .then(|| format!("quotes make a text of it: '{other}'"));
                    self.wrong_with_help(at, format!("must be a text, not {}", what(other)), help);
                    None
                }
            },
            Kind::Bool => match json {
                Json::Bool(value) => Some(Value::Bool(*value)),
                other => {
                    self.wrong(at, format!("must be true or false, not {}", what(other)));
                    None
                }
            },
            Kind::Double => self.number(json, at).map(Value::F64),
            Kind::Float => self.number(json, at).map(|number| Value::F32(number as f32)),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => self.whole(json, at, i32::MIN, i32::MAX).map(Value::I32),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => self.whole(json, at, i64::MIN, i64::MAX).map(Value::I64),
            Kind::Uint32 | Kind::Fixed32 => self.whole(json, at, u32::MIN, u32::MAX).map(Value::U32),
            Kind::Uint64 | Kind::Fixed64 => self.whole(json, at, u64::MIN, u64::MAX).map(Value::U64),
            Kind::Bytes | Kind::Enum(_) => {
                self.wrong(at, "is not what this field takes".to_owned());
                None
            }
        }
    }

    /// A number, or a text of one.
    fn number(&mut self, json: &Json, at: &Path<'_>) -> Option<f64> {
        let number = match json {
            Json::Number(number) => number.as_f64(),
            Json::String(text) => text.parse().ok(),
            _ => None,
        };
        if number.is_none() {
            self.wrong(at, format!("must be a number, not {}", what(json)));
        }
        number
    }

    /// A whole number, or a text of one.
    fn whole<T>(&mut self, json: &Json, at: &Path<'_>, least: T, most: T) -> Option<T>
    where
        T: TryFrom<i128> + std::fmt::Display,
    {
        let whole = match json {
            Json::Number(number) => whole(number),
            Json::String(text) => text.parse().ok(),
            _ => None,
        };
        let number = whole.and_then(|whole| T::try_from(whole).ok());
        if number.is_none() {
            self.wrong(
                at,
                format!("must be a whole number from {least} to {most}, not {}", what(json)),
            );
        }
        number
    }

    /// A message with a JSON form of its own.
    fn well_known(&mut self, descriptor: &MessageDescriptor, json: &Json, at: &Path<'_>) -> Option<DynamicMessage> {
        let name = descriptor.name();
        let is_fit = match name {
            "ListValue" => json.is_array(),
            "Struct" => json.is_object(),
            _ => true,
        };
        if !is_fit {
            let wanted = if name == "ListValue" { "a list" } else { "a mapping" };
            self.wrong(at, format!("must be {wanted}, not {}", what(json)));
            return None;
        }
        if is_deeper(json, ANY_DEPTH_MAX) {
            self.wrong(at, "is nested too deeply".to_owned());
            return None;
        }
        let read = DynamicMessage::deserialize(descriptor.clone(), json);
        if read.is_err() {
            self.wrong(at, format!("is not what this field takes: {}", what(json)));
        }
        read.ok()
    }

    /// A field of a type that no study uses.
    fn by_library(&mut self, field: &FieldDescriptor, json: &Json, at: &Path<'_>) -> Option<Value> {
        let alone = serde_json::json!({ field.name(): json });
        match DynamicMessage::deserialize(field.parent_message().clone(), alone) {
            Ok(message) => Some(message.get_field(field).into_owned()),
            Err(_) => {
                self.wrong(at, format!("is not what this field takes: {}", what(json)));
                None
            }
        }
    }
}

/// A whole number, in any notation.
fn whole(number: &serde_json::Number) -> Option<i128> {
    if let Some(whole) = number.as_i64() {
        return Some(whole.into());
    }
    if let Some(whole) = number.as_u64() {
        return Some(whole.into());
    }
    // Whole numbers beyond 128 bits become the largest one, which no field accepts.
    number.as_f64().filter(|x| x.fract() == 0.0).map(|x| x as i128)
}

/// True if null is a value of the field.
fn takes_null(field: &FieldDescriptor) -> bool {
    let kind = field.kind();
    let any = kind
        .as_message()
        .is_some_and(|message| message.full_name() == "google.protobuf.Value");
    any && !field.is_list() && !field.is_map()
}

fn is_deeper(json: &Json, levels: usize) -> bool {
    let Some(levels) = levels.checked_sub(1) else {
        return true;
    };
    match json {
        Json::Array(items) => items.iter().any(|item| is_deeper(item, levels)),
        Json::Object(object) => object.values().any(|item| is_deeper(item, levels)),
        _ => false,
    }
}

/// The names of a message's fields.
fn fields(descriptor: &MessageDescriptor) -> String {
    let fields: Vec<FieldDescriptor> = descriptor.fields().collect();
    let names: Vec<&str> = fields.iter().map(FieldDescriptor::name).collect();
    names.join(", ")
}

/// Words as a sentence lists them.
fn listed(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

/// trawl's name for a term of other tools.
fn said_elsewhere(name: &str) -> Option<String> {
    let here = match name {
        "initial_trials" | "initial_configs" | "points_to_evaluate" | "start_trials" => {
            "configurations of your own are trials: [{ … }]"
        }
        "max_time" | "timeout" | "time_budget" | "time_budget_s" | "time_limit" => {
            "a bound on time is stop: { hours: 1 }"
        }
        "max_failed_trials" | "max_failures" => "a bound on failures is stop: { failed_trials: 3 }",
        "pruner" | "pruning" => {
            "hopeless trials are stopped by racing, and a search without gain by stop: { generations_without_gain: 5 }"
        }
        "early_stopping" | "patience" | "min_delta" => {
            "a fold that gets no better is stopped by training.early_stopping: { patience: 10 }, and a hopeless trial by racing"
        }
        "scheduler" | "lr_scheduler" | "lr_scheduler_type" | "learning_rate_schedule" | "CosineAnnealingLR" => {
            "a step size that changes is training.schedule: cosine, and hopeless trials are stopped by racing"
        }
        "warmup_steps" | "warmup_epochs" | "warmup_ratio" | "pct_start" => {
            "a rise of the step size is training.warmup: 0.1, a share of all steps"
        }
        "gamma" | "lr_decay" | "factor" => "what a schedule multiplies the step size by is training.decay",
        "step_size" => "the epochs between two drops of the step size are training.decay_epochs",
        "eta_min" | "min_lr" => "the least step size is training.min_rate, a share of learning_rate",
        "grad_clip" | "gradient_clip_val" | "clip_grad_norm" | "max_norm" | "max_grad_norm" => {
            "a bound on the gradient's norm is training.clip_norm: 1, and on each of its numbers training.clip_value"
        }
        "augmentation" | "augment" | "transforms" | "random_crop" | "mixup" | "cutout" | "random_erasing" => {
            "images are changed while networks train by training.augment: { flip: 0.5, crop: 2 }"
        }
        "epsilon" => "it is training.eps",
        "lr" => "the step size is training.learning_rate",
        "amsgrad" => "there is none: adam, adamw and nadam are PyTorch's without it",
        "ema" | "swa" | "polyak" => "an average of the weights is training.ema_decay: 0.99",
        "skip" | "skip_connection" | "shortcut" => "x + layers(x) is residual: { layers: [ … ] }",
        "n_layers" | "num_layers" | "num_hidden_layers" | "hidden_layers" | "hidden_layer_sizes" => {
            "a number of layers that is searched is repeat: { times: $depth, layers: [ … ] }"
        }
        "exclude" | "drop" | "ignore" | "drop_columns" => "columns are left out by features: { all_but: [ … ] }",
        "standardize" | "normalize" | "scale" | "scaler" => {
            "numbers of a CSV file are standardised unless its prepare says otherwise, and arrays and pictures are where prepare: standardize says so"
        }
        "sep" | "separator" => "what stands between cells is csv.delimiter",
        "quotechar" | "quoting" | "quote_char" => "what stands around cells is csv.quote",
        "na_values" | "nan_values" => "texts of cells without a value are csv.missing",
        "stratified" | "stratify" | "shuffle" => {
            "folds have more to say as k_fold: { folds: 5, stratify: true, shuffle: true }"
        }
        "groups" | "group_column" | "group_k_fold" => {
            "rows of a group stay together by k_fold: { folds: 5, group: COLUMN }"
        }
        "time_series" | "time_column" | "time_series_split" => {
            "no fold trains on what comes after by k_fold: { folds: 5, order: COLUMN }"
        }
        "validation_split" | "val_split" | "test_size" | "val_size" => {
            "a share is held out by validation: { holdout: 0.2 }"
        }
        "n_splits" | "cv" | "n_folds" => "the number of folds is k_fold",
        "n_repeats" => "folds are cut again by k_fold: { folds: 5, repeats: 3 }",
        "n_trials" | "num_trials" | "num_samples" | "max_evals" => "the number of trials is max_trials",
        "search_space" | "hyperparameters" | "param_space" => "the searched parameters are the space",
        "direction" | "mode" => "which way is better is objective: { goal: … }",
        "monitor" => "early stopping goes by the study's objective",
        "restore_best_weights" => "a fold that stops always has its best weights again",
        _ => return None,
    };
    Some(here.to_owned())
}
