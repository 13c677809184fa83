//! The rows of a study in the views, to compare two runs of it.

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
    pub async fn all_rows(&self, study: &str) -> anyhow::Result<Vec<(View, Vec<String>)>> {
        let mut rows = Vec::new();
        for view in View::ALL {
            rows.push((view, self.rows(view, study).await?));
        }
        Ok(rows)
    }
}

/// Compares two runs of one study row by row, so that a failure names the first row that differs.
///
/// # Panics
/// They differ.
pub fn assert_same_rows(expected: &[(View, Vec<String>)], found: &[(View, Vec<String>)], run: &str) {
    for ((view, expected), (_, found)) in expected.iter().zip(found) {
        assert_eq!(expected.len(), found.len(), "{run}: rows of {view:?}");
        for (expected, found) in expected.iter().zip(found) {
            assert_eq!(expected, found, "{run}: {view:?}");
        }
    }
}

/// A view, without what differs between two runs of one study: ids and times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
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
    pub const ALL: [Self; 5] = [
        Self::Trials,
        Self::FoldMetrics,
        Self::EpochReports,
        Self::Refits,
        Self::RefitEpochReports,
    ];

    fn query(self) -> &'static str {
        match self {
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
