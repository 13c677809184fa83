//! Reports: a study as one page that opens without a network, and its figures as PNG files.
//!
//! `data` reads a study, `artifacts` what refits left; `figures` says in plain data what there is to be seen, `svg` draws it, and `html` and
//! `png` put the drawings onto a page and into files. [`words`] writes numbers for people, in reports and elsewhere.

mod artifacts;
mod data;
mod facts;
mod figure;
mod figures;
mod html;
mod image;
mod metric;
mod numbers;
mod palette;
mod png;
mod scale;
mod svg;
pub mod words;

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;

use maud::Markup;

pub use data::{Source, StudyData};
use facts::Fact;
use figure::Figure;
use figures::RefitFigures;
pub use html::{chart_style, policy};
pub use image::ImageError;

/// All that a page shows.
#[derive(Clone, Debug)]
pub struct Report {
    /// The study's name.
    name: String,
    /// That more is to come; empty once the study ended.
    unfinished: String,
    /// What one wants to know first.
    headline: Vec<String>,
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

impl Report {
    /// The report of a study.
    pub fn of(study: &StudyData) -> Self {
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
                errors: errors
                    .iter()
                    .map(ToString::to_string)
                    .chain(
                        refit
                            .left_out
                            .iter()
                            .map(|name| format!("artifact {name} is too large for this page; `trawl report` draws it")),
                    )
                    .collect(),
                figures,
            }
        });
        Self {
            name: study.summary.name.clone(),
            unfinished: if study.is_finished() {
                String::new()
            } else {
                format!(
                    "This study is {}: the report shows what there is so far.",
                    study.summary.state
                )
            },
            headline: facts::headline(study),
            facts: facts::of_study(study),
            texts: facts::texts(study),
            search: figures::of_search(study),
            refits: refits.collect(),
        }
    }

    /// The page. It opens without a network, and under [`policy`].
    pub fn page(&self) -> String {
        html::page(self)
    }

    /// True if more is to come.
    pub fn is_unfinished(&self) -> bool {
        !self.unfinished.is_empty()
    }

    /// What is wrong with artifacts, whose figures are left out.
    pub fn errors(&self) -> impl Iterator<Item = String> {
        self.refits.iter().flat_map(|refit| {
            let number = refit.number;
            (refit.errors.iter()).map(move |error| format!("refit {number}: {error}; its figures are left out"))
        })
    }

    /// Every figure: its name, which no other of the report has, and how it becomes a PNG file.
    pub fn pictures(&self) -> impl Iterator<Item = Picture<'_>> {
        let of_refits = self.refits.iter().flat_map(|refit| &refit.figures);
        self.search.iter().chain(of_refits).map(Picture)
    }
}

/// The value of each trial, and the best so far, for a page with the [style](chart_style) of charts; `None` before a trial completed.
pub fn value_by_trial(study: &StudyData) -> Option<Markup> {
    figures::value_by_trial(study).as_ref().map(html::figure)
}

/// A figure of a report, as a file by itself.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a>(&'a Figure);

impl Picture<'_> {
    /// In kebab-case, for the name of a file.
    pub fn name(&self) -> &str {
        &self.0.id
    }

    /// The bytes of a PNG file.
    ///
    /// # Errors
    /// A figure that is too large to be drawn.
    pub fn png(&self) -> Result<Vec<u8>, ImageError> {
        png::draw(self.0)
    }
}
