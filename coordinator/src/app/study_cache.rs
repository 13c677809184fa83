//! Studies in memory. After its submission, only a study's number of trials changes: so its JSON form is read and
//! checked once, and the result is kept by the study's id.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use trawl_dataset::{FileHash, Part};
use trawl_domain::id::StudyId;
use trawl_domain::study::Study;
use trawl_proto::study::{Folds, TrainingRows};

use super::{App, AppError, load_spec};
use crate::store::Connection;
use crate::store::studies::{self, StudyRecord};

/// The last used studies that are kept. Each takes 2 MiB at most, as its message is 1 MiB at most.
const STUDIES_KEPT_MAX: usize = 32;

/// A stored study. Its number of trials and its growth may be older than the record's: [`App::study_of`] compares them.
#[derive(Debug)]
pub(super) struct LoadedStudy {
    /// The study.
    pub(super) study: Study,
    /// Files of the training part.
    pub(super) train: Part<FileHash>,
    /// Files of the validation part.
    pub(super) validation: Option<Part<FileHash>>,
    /// Files of the test part.
    pub(super) test: Option<Part<FileHash>>,
    /// True if there are test rows, and they have targets.
    pub(super) measures_tests: bool,
}

impl LoadedStudy {
    fn read(record: &StudyRecord) -> Result<Self, AppError> {
        let rows = match &record.fold_sizes {
            None => record.shape.into(),
            Some(sizes) => TrainingRows {
                shape: record.shape,
                folds: Folds::Sizes(sizes),
            },
        };
        let mut study = trawl_proto::study::check(&load_spec(record)?, Some(Ok(rows)))
            .map_err(|violations| AppError::Internal(format!("study {}: spec: {violations}", record.study_id)))?;
        study.max_trials = record.max_trials;
        study.growth = record.growth.clone();
        Ok(Self {
            study,
            train: record.train,
            validation: record.validation,
            test: record.test,
            measures_tests: record.measures_tests(),
        })
    }

    /// True if the study has not grown since.
    fn is_of(&self, record: &StudyRecord) -> bool {
        self.study.max_trials == record.max_trials && self.study.growth == record.growth
    }
}

/// The last used studies.
#[derive(Debug, Default)]
pub(super) struct StudyCache(Mutex<Recent<LoadedStudy>>);

impl StudyCache {
    fn get(&self, study_id: StudyId) -> Option<Arc<LoadedStudy>> {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recent.get(study_id)
    }

    fn put(&self, study_id: StudyId, study: Arc<LoadedStudy>) {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recent.put(study_id, study);
    }
}

impl App {
    /// A record's study, not kept in memory afterwards: a list of studies would displace running ones.
    pub(super) fn listed_study(&self, record: &StudyRecord) -> Result<Arc<LoadedStudy>, AppError> {
        match self.study_cache.get(record.study_id) {
            Some(study) if study.is_of(record) => Ok(study),
            _ => Ok(Arc::new(LoadedStudy::read(record)?)),
        }
    }

    /// A record's study.
    pub(super) fn study_of(&self, record: &StudyRecord) -> Result<Arc<LoadedStudy>, AppError> {
        if let Some(study) = self
            .study_cache
            .get(record.study_id)
            .filter(|study| study.is_of(record))
        {
            return Ok(study);
        }
        let study = Arc::new(LoadedStudy::read(record)?);
        self.study_cache.put(record.study_id, study.clone());
        Ok(study)
    }

    /// A study's name for the log, if the study is in memory.
    pub(super) fn name_of(&self, study_id: StudyId) -> Option<String> {
        Some(self.study_cache.get(study_id)?.study.name.clone())
    }

    /// A study by its id.
    pub(super) async fn study(&self, conn: &mut Connection, study_id: StudyId) -> Result<Arc<LoadedStudy>, AppError> {
        let study = self.studies(conn, &[study_id]).await?.remove(&study_id);
        study.ok_or_else(|| AppError::Internal(format!("study {study_id} is not there")))
    }

    /// Studies by their ids. One query reads all that are not in memory.
    pub(super) async fn studies(
        &self,
        conn: &mut Connection,
        ids: &[StudyId],
    ) -> Result<HashMap<StudyId, Arc<LoadedStudy>>, AppError> {
        let mut found = HashMap::new();
        let mut missing = Vec::new();
        for id in ids {
            match self.study_cache.get(*id) {
                Some(study) => {
                    found.insert(*id, study);
                }
                None => missing.push(*id),
            }
        }
        if !missing.is_empty() {
            for record in studies::get(conn, &missing).await? {
                found.insert(record.study_id, self.study_of(&record)?);
            }
        }
        Ok(found)
    }
}

/// Studies, the last used one at the end.
#[derive(Debug)]
struct Recent<T>(VecDeque<(StudyId, Arc<T>)>);

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Recent<T> {
    fn get(&mut self, study_id: StudyId) -> Option<Arc<T>> {
        let place = self.0.iter().position(|(kept, _)| *kept == study_id)?;
        let (_, study) = self.0.remove(place)?;
        self.0.push_back((study_id, study.clone()));
        Some(study)
    }

    fn put(&mut self, study_id: StudyId, study: Arc<T>) {
        // Two requests may have read the study at once.
        self.0.retain(|(kept, _)| *kept != study_id);
        if self.0.len() >= STUDIES_KEPT_MAX {
            self.0.pop_front();
        }
        self.0.push_back((study_id, study));
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_study_that_nobody_asked_for_longest_makes_room() {
        let id = |number: usize| StudyId(Uuid::from_u128(number as u128));
        let mut recent = Recent::default();
        for number in 0..STUDIES_KEPT_MAX {
            recent.put(id(number), Arc::new(number));
        }
        // Read twice at once: it is kept once.
        recent.put(id(1), Arc::new(1));
        assert_eq!(recent.get(id(0)).as_deref(), Some(&0));
        recent.put(id(STUDIES_KEPT_MAX), Arc::new(STUDIES_KEPT_MAX));
        let kept: Vec<bool> = (0..=STUDIES_KEPT_MAX)
            .map(|number| recent.get(id(number)).is_some())
            .collect();
        assert_eq!(kept.iter().filter(|kept| !**kept).count(), 1);
        assert!(!kept[2], "{kept:?}");
    }
}
