//! The rows of a study in the views, to compare two runs of it.

use anyhow::ensure;
use trawl_proto::v1;

use crate::system::Client;

impl Client {
    /// All rows of a view of one study as text, in order, without the columns of times.
    ///
    /// # Errors
    /// The view cannot be read.
    pub async fn rows(&self, view: View, study: &str) -> anyhow::Result<Vec<String>> {
        let query = format!("SELECT row_to_json(v)::text FROM ({}) v", view.query());
        Ok(sqlx::query_scalar(sqlx::AssertSqlSafe(query))
            .bind(study)
            .fetch_all(&self.sql)
            .await?)
    }

    /// The rows of each view, which must depend on nothing but the study.
    ///
    /// # Errors
    /// A view cannot be read.
    pub async fn all_rows(&self, study: &str) -> anyhow::Result<Rows> {
        let mut rows = Vec::new();
        for view in View::ALL {
            rows.push((view, self.rows(view, study).await?));
        }
        Ok(rows)
    }

    /// Watches a study to its end, where it has the rows of another run.
    ///
    /// # Errors
    /// It does not complete, or a row differs.
    pub async fn completes_as(&self, study: &str, expected: &Rows, run: &str) -> anyhow::Result<v1::StudySummary> {
        let ended = self.completed(study).await?;
        let difference = difference(expected, &self.all_rows(study).await?);
        ensure!(difference.is_none(), "{run}: {difference:?}");
        Ok(ended)
    }
}

/// The rows of a study in each view.
pub type Rows = Vec<(View, Vec<String>)>;

/// The first row in which a run of a study differs from another one, if there is one.
pub(crate) fn difference(expected: &[(View, Vec<String>)], found: &[(View, Vec<String>)]) -> Option<String> {
    expected.iter().zip(found).find_map(|((view, expected), (_, found))| {
        match expected.iter().zip(found).find(|(expected, found)| expected != found) {
            Some((expected, found)) => Some(format!("{view:?}: {found}, not {expected}")),
            None if expected.len() == found.len() => None,
            None => Some(format!("{view:?}: {} rows, not {}", found.len(), expected.len())),
        }
    })
}

/// Compares two runs of one study row by row, so that a failure names the first row that differs.
///
/// # Panics
/// They differ.
pub fn assert_same_rows(expected: &[(View, Vec<String>)], found: &[(View, Vec<String>)], run: &str) {
    assert_eq!(difference(expected, found), None, "{run}");
}

/// A view, without what differs between two runs of one study: ids and times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// `trawl.studies`.
    Studies,
    /// `trawl.trials`.
    Trials,
    /// `trawl.fold_metrics`.
    FoldMetrics,
    /// `trawl.epoch_reports`.
    EpochReports,
    /// `trawl.refits`.
    Refits,
    /// `trawl.refit_epoch_reports`.
    RefitEpochReports,
}

impl View {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Studies,
        Self::Trials,
        Self::FoldMetrics,
        Self::EpochReports,
        Self::Refits,
        Self::RefitEpochReports,
    ];

    fn query(self) -> &'static str {
        match self {
            Self::Studies => {
                "SELECT name AS study, state, goal, trials_total, trials_completed, trials_pruned, trials_failed, best_trial, best_value
                 FROM trawl.studies WHERE name = $1"
            }
            Self::Trials => {
                "SELECT study, trial, state, value, value_std, params, epochs, error, generation, rung, rung_value, rung_trials, objectives
                 FROM trawl.trials WHERE study = $1 ORDER BY trial"
            }
            Self::FoldMetrics => {
                "SELECT study, trial, fold, state, epochs, train_loss, val_loss, val_accuracy, best_epoch, best_val_loss,
                        best_val_accuracy
                 FROM trawl.fold_metrics WHERE study = $1 ORDER BY trial, fold"
            }
            Self::EpochReports => {
                "SELECT trial, fold, epoch, train_loss, val_loss, val_accuracy FROM trawl.epoch_reports
                 WHERE study = $1 ORDER BY trial, fold, epoch"
            }
            Self::Refits => {
                "SELECT study, refit, trial, state, epochs, test_loss, test_accuracy, value, value_std, params FROM trawl.refits
                 WHERE study = $1 ORDER BY refit"
            }
            Self::RefitEpochReports => {
                "SELECT refit, fold, epoch, train_loss, val_loss, val_accuracy FROM trawl.refit_epoch_reports
                 WHERE study = $1 ORDER BY refit, fold NULLS LAST, epoch"
            }
        }
    }
}
