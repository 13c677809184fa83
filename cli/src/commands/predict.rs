//! `trawl predict`: the network of a refit answers for new rows, on this machine.
//!
//! `trawl` knows no libtorch: it fetches the network's files and has trawl-worker compute.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use csv::StringRecord;
use serde_json::{Map, Value, json};
use tempfile::{TempDir, TempPath};
use tokio::process::Command;
use trawl_proto::v1::{Artifact, GetStudyRequest, RefitSummary, StudySummary};

use super::artifacts::fetch_one;
use crate::args::PredictArgs;
use crate::client::{Client, unary};
use crate::error::{Error, say};
use crate::output::{Cell, Column, Format, Listing, Output, Page, copy_for_spreadsheet, csv_error, write_whole};
use crate::parquet_table::{is_parquet, to_csv};
use crate::program;

/// The files that make a network usable.
const NETWORK: &str = "network.json";
const WEIGHTS: &str = "weights.safetensors";
/// The beginning of a line that trawl-worker notes beside its predictions.
const NOTE: &str = "note: ";
/// Features that a table of predictions shows; CSV and JSON have all.
const FEATURES_SHOWN_MAX: usize = 8;
/// Rows that are held at once while they are printed.
const PAGE_ROWS: usize = 1_000;

/// Predicts the rows of files.
pub(super) async fn predict(
    connect: impl AsyncFnOnce() -> Result<Client, Error>,
    args: &PredictArgs,
    output: &mut Output,
) -> Result<(), Error> {
    let worker = program::find("trawl-worker")?;
    let mut client = connect().await?;
    let request = GetStudyRequest {
        study: args.study.clone(),
    };
    let study = client
        .get_study(unary(request))
        .await?
        .into_inner()
        .study
        .unwrap_or_default();
    let refit = choose(&study, args.refit)?;
    if let Some(best) = study
        .best_trial
        .filter(|best| args.refit.is_none() && *best != refit.trial)
    {
        say(&format!(
            "note: refit {} predicts, the newest; it is of trial {}, and the best trial is {best}: --refit chooses another",
            refit.refit, refit.trial
        ));
    }
    let folder = tempfile::Builder::new()
        .prefix("trawl-predict-")
        .tempdir()
        .map_err(|error| Error::Failed(format!("cannot make a temporary folder: {error}")))?;
    for name in [NETWORK, WEIGHTS] {
        let artifact = artifact(&study, refit, name)?;
        // By id: another study could have the name a moment later.
        fetch_one(&mut client, &study.study_id, &artifact, folder.path()).await?;
    }
    let tables = Tables::of(args, &folder)?;
    let predictions = run(&worker, &folder, args, &tables).await?;
    if let Some(file) = &args.output {
        let for_spreadsheet = args.format.spreadsheet;
        write_whole(file, |draft| {
            if for_spreadsheet {
                let (from, to) = (File::open(&predictions)?, File::create(draft)?);
                Ok(copy_for_spreadsheet(from, io::BufWriter::new(to))?)
            } else {
                std::fs::copy(&predictions, draft).map(drop)
            }
        })?;
        output.line(&format!("predictions {}", file.display()))?;
        return output.flush();
    }
    match Format::from(args.format) {
        // As the worker wrote it, digit by digit.
        Format::Csv { for_spreadsheet: false } => {
            let mut file = File::open(&predictions).map_err(unreadable)?;
            io::copy(&mut file, output).map_err(Error::output)?;
            output.flush()
        }
        Format::Csv { for_spreadsheet: true } => {
            let file = File::open(&predictions).map_err(unreadable)?;
            copy_for_spreadsheet(file, &mut *output).map_err(csv_error)?;
            output.flush()
        }
        format => print(&folder.path().join(NETWORK), &predictions, format, output).await,
    }
}

/// The refit of that number, or the newest completed one.
fn choose(study: &StudySummary, number: Option<u32>) -> Result<&RefitSummary, Error> {
    let name = &study.name;
    let Some(number) = number else {
        let completed = study.refits.iter().filter(|refit| refit.state == "completed");
        return completed.max_by_key(|refit| refit.refit).ok_or_else(|| {
            Error::Failed(format!(
                "study {name} has no completed refit; `trawl refit {name}` starts one"
            ))
        });
    };
    let found = study.refits.iter().find(|refit| refit.refit == number);
    let refit = found.ok_or_else(|| Error::Failed(format!("study {name} has no refit {number}")))?;
    if refit.state == "completed" {
        Ok(refit)
    } else {
        Err(Error::Failed(format!(
            "refit {number} of study {name} is {}; only a completed one has a network",
            refit.state
        )))
    }
}

fn artifact(study: &StudySummary, refit: &RefitSummary, name: &str) -> Result<Artifact, Error> {
    let found = refit.artifacts.iter().find(|artifact| artifact.name == name);
    let artifact = found.ok_or_else(|| {
        Error::Failed(format!(
            "refit {} of study {} left no {name}: it would have been too large, or not finite",
            refit.refit, study.name
        ))
    })?;
    Ok(Artifact {
        refit: Some(refit.refit),
        ..artifact.clone()
    })
}

/// The inputs, each with the file that the worker reads in its place: Parquet files are written as CSV.
struct Tables<'a>(Vec<(&'a Path, Option<TempPath>)>);

impl<'a> Tables<'a> {
    /// For a Parquet file, the settings of text are taken out of `network.json`; its columns, and whether they have names, remain.
    fn of(args: &'a PredictArgs, folder: &TempDir) -> Result<Self, Error> {
        let network = folder.path().join(NETWORK);
        let mut tables = Vec::with_capacity(args.inputs.len());
        for input in &args.inputs {
            if !is_parquet(input) {
                tables.push((input.as_path(), None));
                continue;
            }
            let wrong = |reason: String| Error::Usage(format!("{}: {reason}", input.display()));
            let json = std::fs::read(&network).map_err(unreadable)?;
            let mut json: Value = serde_json::from_slice(&json).map_err(unreadable)?;
            let with_names = json["input"]["header"] != json!(false);
            if let Some(of_input) = json["input"].as_object_mut() {
                as_parquet(of_input, with_names);
            }
            std::fs::write(&network, json.to_string()).map_err(unreadable)?;
            tables.push((input, Some(to_csv(input, with_names).map_err(wrong)?)));
        }
        Ok(Self(tables))
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0
            .iter()
            .map(|(given, written)| written.as_deref().unwrap_or(given))
    }

    /// The worker's messages, with the paths that were given.
    fn as_given(&self, said: &str) -> String {
        let mut said = said.to_owned();
        for (given, written) in &self.0 {
            if let Some(written) = written {
                let given = format!("{}, of whose rows the first is line 2 here", given.display());
                said = said.replace(&*written.to_string_lossy(), &given);
            }
        }
        said
    }
}

/// The network's description of its inputs, for rows that were written as CSV here.
fn as_parquet(input: &mut Map<String, Value>, with_names: bool) {
    for of_text in ["delimiter", "quote", "decimal", "encoding"] {
        input.remove(of_text);
    }
    input.insert("header".to_owned(), json!(with_names));
    if let Some(Value::Array(missing)) = input.get_mut("missing") {
        missing.push(json!(""));
    }
}

/// Has the worker's program predict; gives the path of what it wrote.
async fn run(worker: &Path, folder: &TempDir, args: &PredictArgs, tables: &Tables<'_>) -> Result<PathBuf, Error> {
    let predictions = folder.path().join("predictions.csv");
    let file = File::create(&predictions)
        .map_err(|error| Error::Failed(format!("cannot write {}: {error}", predictions.display())))?;
    let mut command = Command::new(worker);
    command
        .args(["predict", "--device", &args.device, "--threads", "1", "--network"])
        .arg(folder.path().join(NETWORK))
        .arg("--weights")
        .arg(folder.path().join(WEIGHTS))
        .args(args.probabilities.then_some("--probabilities"))
        .arg("--")
        .args(tables.paths())
        // It talks to nobody.
        .env_remove("TRAWL_TOKEN")
        .env_remove("DATABASE_URL")
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let failed = |error: io::Error| Error::Failed(format!("cannot run {}: {error}", worker.display()));
    let child = command.spawn().map_err(failed)?;
    let done = tokio::select! {
        done = child.wait_with_output() => done.map_err(failed)?,
        // Removes the temporary folder, which a killed process would leave.
        _ = tokio::signal::ctrl_c() => return Err(Error::Failed("interrupted".into())),
    };
    let said = String::from_utf8_lossy(&done.stderr);
    let (notes, said) = apart(&said);
    notes.into_iter().for_each(say);
    if done.status.success() {
        return Ok(predictions);
    }
    let said = said.trim();
    let said = tables.as_given(said.strip_prefix("error: ").unwrap_or(said));
    Err(match done.status.code() {
        Some(2) => Error::Usage(said),
        Some(1) if !said.is_empty() => Error::Failed(said),
        _ => Error::Failed(format!("{} ended by {}: {said}", worker.display(), done.status)),
    })
}

/// The notes among the lines that trawl-worker said, and the others.
fn apart(said: &str) -> (Vec<&str>, String) {
    let (notes, others): (Vec<&str>, Vec<&str>) = said.lines().partition(|line| line.starts_with(NOTE));
    (notes, others.join("\n"))
}

fn unreadable(error: impl std::fmt::Display) -> Error {
    Error::Failed(format!("cannot read what trawl-worker wrote: {error}"))
}

/// What a column of the predictions holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    File,
    Row,
    Feature,
    Prediction {
        is_class: bool,
    },
    Probability,
    /// Of one class.
    ClassProbability,
}

impl Role {
    /// The roles of a line's columns, by their places: a name tells nothing, as a feature may be called `row`.
    fn of_line(columns: usize, network: &Value) -> Vec<Self> {
        let features = network["input"]["features"].as_array().map(Vec::len);
        let is_class = network["target"]["classes"].is_array();
        let mut roles = match features {
            None => vec![Self::File, Self::Row],
            Some(features) => std::iter::once(Self::Row)
                .chain(std::iter::repeat_n(Self::Feature, features))
                .collect(),
        };
        roles.push(Self::Prediction { is_class });
        if is_class {
            roles.push(Self::Probability);
        }
        roles.resize(columns, Self::ClassProbability);
        roles
    }

    fn cell(self, text: &str) -> Cell {
        match self {
            Self::File | Self::Prediction { is_class: true } => Cell::text(text),
            Self::Row => text.parse::<u64>().map_or_else(|_| Cell::text(text), Cell::Count),
            _ => text.parse().map_or_else(|_| Cell::text(text), Cell::Number),
        }
    }
}

/// Prints predictions for people, or as JSON.
async fn print(network: &Path, predictions: &Path, format: Format, output: &mut Output) -> Result<(), Error> {
    let network: Value = serde_json::from_slice(&std::fs::read(network).map_err(unreadable)?).map_err(unreadable)?;
    let mut reader = csv::Reader::from_path(predictions).map_err(unreadable)?;
    let header = reader.headers().map_err(unreadable)?.clone();
    let roles = Role::of_line(header.len(), &network);
    let features = roles.iter().filter(|role| **role == Role::Feature).count();
    let columns = header.iter().zip(&roles).enumerate().map(|(place, (name, role))| {
        let role = *role;
        let column = Column::new(name, move |line: &StringRecord| role.cell(&line[place]));
        if role == Role::Feature && features > FEATURES_SHOWN_MAX {
            column
        } else {
            column.titled(name)
        }
    });
    let listing = Listing {
        plural: "predictions",
        columns: columns.collect(),
    };
    let page = async |_| {
        let lines = reader.records().take(PAGE_ROWS);
        let items = lines.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
        let next = if items.len() == PAGE_ROWS { "next" } else { "" };
        Ok(Page {
            items,
            next_page_token: next.to_owned(),
        })
    };
    listing
        .print_as(format, &|line| Ok(in_json(&header, &roles, line)), output, page)
        .await
}

/// One line as JSON; features and probabilities of classes each in an object of their own, where names may be any.
fn in_json(header: &StringRecord, roles: &[Role], line: &StringRecord) -> Value {
    let (mut object, mut features, mut classes) = (Map::new(), Map::new(), Map::new());
    for ((name, text), role) in header.iter().zip(line).zip(roles) {
        let value = match role.cell(text) {
            Cell::Count(count) => json!(count),
            Cell::Number(number) => json!(number),
            // A cell without a value.
            _ if *role == Role::Feature && text.is_empty() => Value::Null,
            _ => json!(text),
        };
        let (into, name) = match role {
            Role::Feature => (&mut features, name),
            Role::ClassProbability => (&mut classes, name.strip_prefix("p.").unwrap_or(name)),
            _ => (&mut object, name),
        };
        into.insert(name.to_owned(), value);
    }
    for (name, part) in [("features", features), ("probabilities", classes)] {
        if !part.is_empty() {
            object.insert(name.to_owned(), Value::Object(part));
        }
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn study(states: &[&str]) -> StudySummary {
        let refits = states.iter().zip(0..).map(|(state, refit)| RefitSummary {
            refit,
            state: (*state).to_owned(),
            ..Default::default()
        });
        StudySummary {
            name: "s".into(),
            refits: refits.collect(),
            ..Default::default()
        }
    }

    #[test]
    fn the_newest_completed_refit_is_taken() {
        let chosen = |states: &[&str], number| {
            let chosen = choose(&study(states), number).map(|refit| refit.refit);
            chosen.map_err(|error| error.to_string())
        };
        assert_eq!(chosen(&["completed", "completed", "running"], None), Ok(1));
        assert_eq!(chosen(&["completed", "completed"], Some(0)), Ok(0));
        assert_eq!(
            chosen(&["failed"], None),
            Err("study s has no completed refit; `trawl refit s` starts one".to_owned())
        );
        assert_eq!(
            chosen(&["completed"], Some(1)),
            Err("study s has no refit 1".to_owned())
        );
        assert_eq!(
            chosen(&["running"], Some(0)),
            Err("refit 0 of study s is running; only a completed one has a network".to_owned())
        );
    }

    #[test]
    fn notes_are_no_part_of_an_error() {
        let said =
            "note: column 'a': 1 of 2 rows has no value\nerror: row 1: the network's answer is not a finite number\n";
        let (notes, others) = apart(said);
        assert_eq!(notes, ["note: column 'a': 1 of 2 rows has no value"]);
        assert_eq!(others, "error: row 1: the network's answer is not a finite number");
    }

    #[test]
    fn json_keeps_names_apart() {
        let network = json!({
            "input": { "shape": [2], "features": ["row", "prediction"] },
            "target": { "classes": ["no", "yes"] },
        });
        let header = StringRecord::from(vec![
            "row",
            "row",
            "prediction",
            "prediction",
            "probability",
            "p.no",
            "p.yes",
        ]);
        let line = StringRecord::from(vec!["0", "0.1", "2", "yes", "0.75", "0.25", "0.75"]);
        let roles = Role::of_line(header.len(), &network);
        let expected = json!({
            "row": 0, "prediction": "yes", "probability": 0.75,
            "features": { "row": 0.1, "prediction": 2.0 },
            "probabilities": { "no": 0.25, "yes": 0.75 },
        });
        assert_eq!(in_json(&header, &roles, &line), expected);
    }
}
