//! Classes of which some are rare: weights, losses with searched settings, and metrics by class and by rank.

use anyhow::Context;
use serde_json::{Value, json};
use tempfile::TempDir;
use trawl_e2e::{Ask, System, studies, written};

/// A study file beside its rows, and the folder of both.
fn study_file(name: &str, rarest: usize, training: &Value) -> anyhow::Result<(TempDir, String)> {
    let folder = TempDir::new()?;
    let mut study = studies::with_classes(folder.path(), name, rarest)?;
    for (setting, value) in training.as_object().context("settings")? {
        study["training"][setting] = value.clone();
    }
    let file = written(folder.path(), "study.json", study)?;
    Ok((folder, file))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_study_of_rare_classes_is_ranked_by_what_it_names() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 2).await?;
    for (name, training) in [
        (
            "smooth",
            json!({ "loss": "cross_entropy", "label_smoothing": "$setting", "class_weights": "balanced" }),
        ),
        (
            "focal",
            json!({ "loss": "focal", "focal_gamma": "$setting", "class_weights": { "c": 4, "b": 1.5 } }),
        ),
    ] {
        let (_folder, file) = study_file(name, 6, &training)?;
        system.trawl_stdout(&["submit", &file])?;
        let ended = system.watch_to_end(name).await?;
        assert_eq!(
            (ended.state.as_str(), ended.goal.as_str()),
            ("completed", "maximize"),
            "{}",
            ended.error
        );
        let (best, measured, others): (f64, i64, i64) = sqlx::query_as(
            "SELECT (SELECT avg((metrics->>'val_auc')::float8) FROM trawl.fold_metrics WHERE study = $1 AND trial = $2),
                    (SELECT count(*) FROM trawl.epoch_reports
                     WHERE study = $1 AND metrics ?& array['val_loss', 'val_accuracy', 'val_auc', 'val_f1', 'val_log_loss']),
                    (SELECT count(*) FROM trawl.epoch_reports WHERE study = $1 AND metrics ?| array['val_brier', 'val_mae'])",
        )
        .bind(name)
        .bind(ended.best_trial.map(|trial| trial as i32))
        .fetch_one(&system.sql)
        .await?;
        let value = ended.best_value.context("a trial completed")?;
        assert!((best - value).abs() < 1e-12, "{value} is not {best}");
        assert_eq!((measured, others), (4 * 3 * 4, 0), "{name}");
        let shown = system.trawl_stdout(&["curves", name, "0"])?;
        assert!(shown.contains("  val AUC") && shown.contains("  val f1"), "{shown}");
        assert!(!shown.contains("val MAE"), "{shown}");
    }
    Ok(())
}

/// `examples/failures.yaml`, with fewer epochs: one row in sixteen is of the rare class.
#[tokio::test(flavor = "multi_thread")]
async fn a_rare_class_is_found_and_its_probabilities_are_calibrated() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 2).await?;
    let folder = TempDir::new()?;
    let study = studies::example("failures.yaml", &[("epochs: 27", "epochs: 9")])?;
    system.complete_file(folder.path(), study)?;
    let (auc, f1): (f64, f64) = system
        .tuple(
            "SELECT max(value), max((objectives->>'val_f1')::float8) FROM trawl.trials
             WHERE study = 'failures' AND state = 'completed'",
        )
        .await?;
    // A guess has 0.5, and an F1 of 0.11 of the rare class.
    assert!(auc > 0.85 && f1 > 0.3, "{auc} {f1}");

    let refit = system.fetch_refit("failures", folder.path())?;
    let calibration = refit.json("calibration.json")?;
    let held_out = &calibration["held_out"];
    let loss = |when: &str| held_out[when]["log_loss"].as_f64().context("a loss");
    assert!(loss("after")? < loss("before")?, "{calibration}");
    Ok(())
}

/// `examples/weather.yaml`, with fewer trials: a table that was published by others, and folds that follow its calendar.
#[tokio::test(flavor = "multi_thread")]
async fn the_weather_of_a_day_is_told_from_days_before_it() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 2).await?;
    let folder = TempDir::new()?;
    let study = studies::example("weather.yaml", &[("max_trials: 48", "max_trials: 8")])?;
    system.complete_file(folder.path(), study)?;
    let (loss, epochs, accuracy): (f64, i32, f64) = system
        .tuple(
            "SELECT b.value, r.epochs,
                    (SELECT avg(f.val_accuracy) FROM trawl.fold_metrics f WHERE f.study = b.study AND f.trial = b.trial)
             FROM trawl.best_trials b JOIN trawl.refits r USING (study, trial) WHERE b.study = 'weather' AND b.rank = 1",
        )
        .await?;
    // The shares of the five kinds alone have a loss of 1.20, and the most frequent one is right on 49 % of the days.
    assert!(
        loss < 1.15 && accuracy > 0.55 && epochs > 0,
        "{loss} {accuracy} {epochs}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_fails_whose_fold_has_none_of_a_class_where_it_is_ranked_by_the_area_under_the_curve()
-> anyhow::Result<()> {
    let system = System::with_workers(&[], 1).await?;
    let training = json!({ "loss": "cross_entropy", "label_smoothing": "$setting", "class_weights": "balanced" });
    let (_folder, file) = study_file("lacking", 1, &training)?;
    system.trawl_stdout(&["submit", &file])?;
    let ended = system.watch_to_end("lacking").await?;
    assert_eq!(ended.state, "failed");
    assert!(ended.error.contains("a fold has no val_auc"), "{}", ended.error);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_of_a_class_that_is_not_there_are_refused() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    let training =
        json!({ "loss": "cross_entropy", "label_smoothing": "$setting", "class_weights": { "c": 2, "d": 3 } });
    let (_folder, file) = study_file("unknown", 6, &training)?;
    let said = system.refused(&["submit", &file])?;
    assert!(
        said.contains("training.class_weights.d: is of no class") && !said.contains("class_weights.c"),
        "{said}"
    );
    Ok(())
}
