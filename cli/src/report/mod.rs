//! `trawl report`: a study as one page that opens without a network, and its figures as PNG files.
//!
//! `data` fetches, `artifacts` reads what refits left, `figures` says in plain data what there is to be seen, and `html` and
//! `png` draw it, so that no figure is computed twice.

mod artifacts;
mod data;
mod facts;
mod figure;
mod figures;
mod html;
mod image;
mod metric;
mod palette;
mod plotly;
mod png;
mod scale;

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;

use std::path::Path;

use crate::client::Client;
use crate::error::{Error, say};
use crate::output::write_whole;
use facts::Fact;
use figure::Figure;
use figures::RefitFigures;

/// All that a page shows.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// The study's name.
    name: String,
    /// That more is to come; empty once the study ended.
    unfinished: String,
    facts: Vec<Fact>,
    /// Pieces of text under their titles: the dataset and the model as written, the query of the ranking.
    texts: Vec<(&'static str, String)>,
    search: Vec<Figure>,
    refits: Vec<RefitSection>,
}

/// What a page shows of one refit.
#[derive(Clone, Debug)]
struct RefitSection {
    number: u32,
    title: String,
    facts: Vec<Fact>,
    /// Why it left no network to be drawn.
    note: Option<String>,
    /// What is wrong with its artifacts.
    errors: Vec<String>,
    figures: Vec<Figure>,
}

/// Fetches a study and makes its report.
///
/// # Errors
/// An unknown study, or a connection that broke.
pub(crate) async fn make(client: &mut Client, study: &str) -> Result<Report, Error> {
    let study = data::fetch(client, study).await?;
    let report = of_study(&study);
    for refit in &report.refits {
        for error in &refit.errors {
            say(&format!("refit {}: {error}; its figures are left out", refit.number));
        }
    }
    Ok(report)
}

fn of_study(study: &data::StudyData) -> Report {
    let refits = study.refits.iter().map(|refit| {
        let RefitFigures {
            figures,
            calibration,
            errors,
        } = figures::of_refit(refit);
        RefitSection {
            number: refit.summary.refit,
            title: format!("Refit {} of trial {}", refit.summary.refit, refit.summary.trial),
            facts: facts::of_refit(&refit.summary, calibration.as_ref()),
            note: facts::refit_note(&refit.summary),
            errors: errors.iter().map(ToString::to_string).collect(),
            figures,
        }
    });
    Report {
        name: study.summary.name.clone(),
        unfinished: if study.is_finished() {
            String::new()
        } else {
            format!(
                "This study is {}: the report shows what there is so far.",
                study.summary.state
            )
        },
        facts: facts::of_study(study),
        texts: facts::texts(study),
        search: figures::of_search(study),
        refits: refits.collect(),
    }
}

impl Report {
    /// Writes the page. A reader of the file finds the old page or the new one, and never half of one.
    ///
    /// # Errors
    /// A folder that cannot be written to.
    pub(crate) fn write_html(&self, path: &Path) -> Result<(), Error> {
        let page = html::page(self);
        write_whole(path, |draft| std::fs::write(draft, page))
    }

    /// Writes every figure as a PNG file into a folder, which is made if it is missing; gives their number.
    ///
    /// # Errors
    /// A folder that cannot be made or written to.
    pub(crate) fn write_png(&self, folder: &Path) -> Result<usize, Error> {
        let failed = |error: std::io::Error| Error::Failed(format!("cannot make {}: {error}", folder.display()));
        std::fs::create_dir_all(folder).map_err(failed)?;
        let figures = self
            .search
            .iter()
            .chain(self.refits.iter().flat_map(|refit| &refit.figures));
        let mut written = 0;
        for figure in figures {
            let png = png::draw(figure)
                .map_err(|error| Error::Failed(format!("cannot draw {} as PNG: {error}", figure.id)))?;
            write_whole(&folder.join(format!("{}.png", figure.id)), |draft| {
                std::fs::write(draft, png)
            })?;
            written += 1;
        }
        Ok(written)
    }
}
