//! `trawl init`: a study file to begin with, for a table of the user's, or an example.

mod draft;
mod guess;

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use trawl_dataset::{Allowance, FileContent, Header, survey};

use crate::args::{InitArgs, Template};
use crate::error::{Error, say};
use crate::output::Output;
use crate::parquet_table::{is_parquet, to_csv};

/// Writes a study file.
pub(super) fn init(args: &InitArgs, output: &mut Output) -> Result<(), Error> {
    let (name, text) = match (&args.data, args.template) {
        (Some(data), _) => of_table(args, data)?,
        (None, Some(template)) => {
            let (name, text) = of_template(template);
            (name.to_owned(), text)
        }
        (None, None) => return Err(Error::Failed("name a file or a template".to_owned())),
    };
    match &args.output {
        Some(file) if file.as_os_str() == "-" => output.text(&text)?,
        file => {
            let file = file.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.yaml")));
            write_new(&file, &text)?;
            output.line(&format!("study {}", file.display()))?;
            say(&format!("next: trawl submit {} --watch", file.display()));
        }
    }
    output.flush()
}

fn of_template(template: Template) -> (&'static str, String) {
    let (name, text) = match template {
        Template::Regression => ("regression", include_str!("../../../../examples/regression.yaml")),
        Template::Tabular => ("tabular", include_str!("../../../../examples/houses.yaml")),
        Template::Images => ("images", include_str!("../../../../examples/fashion-mnist-quick.yaml")),
    };
    let head = "# An example of trawl. Put your own files, columns and settings in place of those here.\n";
    (name, format!("{head}{text}"))
}

fn of_table(args: &InitArgs, data: &Path) -> Result<(String, String), Error> {
    let failed = |reason: &dyn std::fmt::Display| Error::Failed(format!("{}: {reason}", data.display()));
    let written = if is_parquet(data) {
        Some(to_csv(data, true).map_err(|reason| failed(&reason))?)
    } else {
        None
    };
    let header = match &written {
        Some(_) => Header::Present,
        None => Header::Checked,
    };
    let content = File::open(written.as_deref().unwrap_or(data))
        .and_then(FileContent::new)
        .map_err(|error| failed(&error))?;
    let survey = survey(&content, header, &Allowance::whole()).map_err(|error| failed(&error.reason))?;
    let guess = guess::guess(&survey, args.target.as_deref()).map_err(|reason| failed(&reason))?;
    let name = study_name(data);
    // The path of the table as the study file has it: relative to itself.
    let path = match args.output.as_ref().and_then(|file| file.parent()) {
        Some(folder) if !folder.as_os_str().is_empty() => fs::canonicalize(data).map_err(|error| failed(&error))?,
        _ => data.to_owned(),
    };
    let path = path.to_str().ok_or_else(|| failed(&"its path is not UTF-8"))?;
    let file = match &args.output {
        Some(file) if file.as_os_str() != "-" => file.display().to_string(),
        _ => format!("{name}.yaml"),
    };
    let text = draft::draft(&name, &file, path, &guess);
    Ok((name, text))
}

/// What a study of a file may be called.
fn study_name(data: &Path) -> String {
    let stem = data.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let stem = stem.split('.').next().unwrap_or_default().to_lowercase();
    let allowed = |c: char| {
        if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' {
            c
        } else {
            '-'
        }
    };
    let name: String = stem.chars().map(allowed).take(63).collect();
    let name = name.trim_start_matches(['-', '_']);
    if name.is_empty() {
        "study".to_owned()
    } else {
        name.to_owned()
    }
}

fn write_new(file: &Path, text: &str) -> Result<(), Error> {
    let created = OpenOptions::new().write(true).create_new(true).open(file);
    let written = created.and_then(|mut created| created.write_all(text.as_bytes()));
    written.map_err(|error| {
        let what = match error.kind() {
            std::io::ErrorKind::AlreadyExists => "is there already; name another with -o".to_owned(),
            _ => error.to_string(),
        };
        Error::Failed(format!("{}: {what}", file.display()))
    })
}

#[cfg(test)]
mod tests;
