//! Rungs of the model: which trials go on, and in which jobs.

use std::collections::{BTreeMap, BTreeSet};

use trawl_coordinator::app::AppError;
use trawl_domain::id::JobId;
use trawl_domain::job::{self, TrialFold, WaitingFold};
use trawl_domain::metric::{FoldMetrics, TrialValue};
use trawl_domain::racing::AtRung;
use trawl_domain::state::{StudyState, TrialState};

use super::{Fold, Job, JobState, Model};

impl Model {
    /// Queues jobs of folds that wait for one, if no job is queued; false if none waits.
    pub(super) fn pack_waiting(&mut self) -> Result<bool, AppError> {
        let waits = |fold: &Fold| fold.state == TrialState::Queued && fold.job.is_none();
        let is_dry = self.jobs.iter().all(|job| job.state != JobState::Queued);
        if self.state != StudyState::Running || !is_dry {
            return Ok(false);
        }
        let mut waiting = Vec::new();
        for (key, fold) in self.folds.iter().filter(|(_, fold)| waits(fold)) {
            let config = self.study.config(&self.trials[key.trial as usize].params);
            let config = config.map_err(|violation| AppError::Internal(violation.description))?;
            waiting.push(WaitingFold {
                fold: *key,
                epochs: fold.epochs..fold.end_epoch,
                architecture: config.architecture,
            });
        }
        for planned in job::pack(&self.study, waiting.clone()) {
            let job = Job::new(JobId(self.new_id()), planned);
            for member in &job.members {
                if let Some(fold) = self.folds.get_mut(member) {
                    fold.job = Some(job.job_id);
                }
            }
            self.jobs.push(job);
        }
        Ok(!waiting.is_empty())
    }

    /// Decides the rungs to which all trials of these generations came.
    pub(super) fn race(&mut self, generations: &BTreeSet<u32>) {
        if self.study.racing.is_none() {
            return;
        }
        if self.state == StudyState::Running {
            for generation in generations {
                while self.decide(*generation) {}
            }
        }
        let live = |job: &Job| matches!(job.state, JobState::Queued | JobState::Leased);
        let needed = |job_id: JobId| {
            self.folds.values().any(|fold| {
                let paused = fold.job == Some(job_id) && fold.state == TrialState::Paused;
                // One that diverged in a job that has not ended may be trained again.
                let in_live = || self.jobs.iter().any(|job| Some(job.job_id) == fold.job && live(job));
                let goes_on = match fold.state {
                    TrialState::Queued | TrialState::Running => true,
                    TrialState::Failed => in_live(),
                    _ => false,
                };
                paused || goes_on && fold.checkpoint_job == Some(job_id)
            })
        };
        let kept: Vec<bool> = self.jobs.iter().map(|job| live(job) || needed(job.job_id)).collect();
        for (job, _) in self.jobs.iter_mut().zip(kept).filter(|(_, kept)| !kept) {
            job.checkpoints.clear();
        }
    }

    /// Decides one rung; false if it cannot be decided yet, or if something is to be trained then.
    fn decide(&mut self, generation: u32) -> bool {
        let Some(racing) = self.study.racing.clone() else {
            return false;
        };
        let of_generation = (0..)
            .zip(&self.trials)
            .filter(|(_, trial)| trial.generation == generation);
        let open: Vec<u32> = of_generation
            .clone()
            .filter(|(_, trial)| !trial.state.is_final())
            .map(|(number, _)| number)
            .collect();
        let rung = open.first().and_then(|number| self.trials[*number as usize].rung);
        let Some(rung) = rung.filter(|rung| *rung < racing.last_rung()) else {
            return false;
        };
        let came = of_generation.filter(|(_, trial)| trial.rung == Some(rung));
        let came: Vec<u32> = came.map(|(number, _)| number).collect();
        // One that diverged fails its trial once its job ends, and may yet be trained again before.
        let is_there = |fold: &Fold| matches!(fold.state, TrialState::Paused | TrialState::Completed);
        if !open.iter().all(|trial| self.of_trial(*trial).values().all(is_there)) {
            return false;
        }
        let value = |trial: &u32| -> Option<TrialValue> {
            let metrics: Vec<FoldMetrics> = self.of_trial(*trial).values().map(|fold| fold.metrics).collect();
            self.study
                .objective
                .of_trial(&metrics, 1)
                .filter(|_| open.contains(trial))
        };
        let values: BTreeMap<u32, TrialValue> = came.iter().filter_map(|trial| Some((*trial, value(trial)?))).collect();
        let at_rung = |trial: &u32| AtRung {
            trial: *trial,
            // One that is whole already has its value.
            keys: values
                .get(trial)
                .or(self.trials[*trial as usize].value.as_ref())
                .map(|value| vec![self.study.objective.rank_key(value.mean)]),
        };
        let promoted = racing.promote(&came.iter().map(at_rung).collect::<Vec<_>>());
        let mut trains = false;
        for trial in open {
            let of_trial = &mut self.trials[trial as usize];
            let Some(value) = values.get(&trial) else {
                of_trial.state = TrialState::Failed;
                of_trial.error = Some(format!("a fold has no {}", self.study.objective.metric));
                self.end_paused(trial);
                continue;
            };
            of_trial.compared = Some((value.mean, came.len() as u32));
            if !promoted.contains(&trial) {
                of_trial.state = TrialState::Pruned;
                self.end_paused(trial);
                continue;
            }
            of_trial.rung = Some(rung + 1);
            let (folds, end_epoch) = racing.folds(generation, rung + 1, self.study.validation, of_trial.epochs);
            for number in folds {
                let key = TrialFold { trial, fold: number };
                let fold = self.folds.entry(key).or_insert_with(|| Fold::new(None, end_epoch));
                if fold.state == TrialState::Paused && fold.epochs < end_epoch {
                    fold.state = TrialState::Queued;
                    fold.end_epoch = end_epoch;
                    fold.checkpoint_job = fold.job.take();
                }
                trains |= fold.state == TrialState::Queued;
            }
        }
        !trains && !promoted.is_empty()
    }

    /// Ends the paused folds of a trial that ended.
    pub(super) fn end_paused(&mut self, trial: u32) {
        for (key, fold) in &mut self.folds {
            if key.trial == trial && fold.state == TrialState::Paused {
                fold.state = TrialState::Pruned;
            }
        }
    }

    /// The folds of a trial.
    pub(super) fn of_trial(&self, trial: u32) -> BTreeMap<TrialFold, Fold> {
        let first = TrialFold { trial, fold: 0 };
        let last = TrialFold { trial, fold: u32::MAX };
        self.folds
            .range(first..=last)
            .map(|(key, fold)| (*key, fold.clone()))
            .collect()
    }
}
