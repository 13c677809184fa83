//! The winner's corrected value: from the losses of single rows to the views.

use serde_json::json;
use trawl_e2e::{Ask, System, studies};

#[tokio::test(flavor = "multi_thread")]
async fn a_winner_is_judged_by_the_losses_of_rows() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 2).await?;
    let owner = system.owner().await?;
    let mut study = studies::small("judged", 24, 6)?;
    study["racing"] = json!("none");
    system.complete(&study).await?;
    // A winner is judged after the end, or earlier for a caller who asks for it.
    let study = system.study("judged").await?;

    // Each completed fold left a loss for each of its validation rows, whose mean is the fold's loss.
    let folds: Vec<(i32, i32, i64, f64, f64)> = owner
        .tuples(
            "SELECT m.trial, m.fold, cardinality(r.losses)::bigint, (SELECT avg(l::float8) FROM unnest(r.losses) AS l), m.val_loss
             FROM trawl.fold_metrics m
             JOIN trawl_store.folds f ON f.study_id = m.study_id AND f.trial = m.trial AND f.fold = m.fold
             JOIN trawl_store.row_losses r USING (fold_id)",
        )
        .await?;
    assert_eq!(folds.len() as u32, 3 * study.trials_completed);
    for (trial, fold, rows, mean, loss) in folds {
        assert!(rows > 0);
        assert!(
            (mean - loss).abs() <= 1e-6 * loss.abs(),
            "trial {trial}, fold {fold}: {mean} {loss}"
        );
    }

    let winner = study.winner.clone().expect("a winner");
    assert_eq!(Some(winner.trial), study.best_trial);
    assert_eq!(Some(winner.value), study.best_value);
    assert_eq!(winner.contenders, study.trials_completed);
    let (low, corrected, high) = (winner.corrected_low, winner.corrected_value, winner.corrected_high);
    assert!(low < corrected && corrected < high, "{winner:?}");
    assert!(winner.p_better.is_some_and(|p| (0.0..=1.0).contains(&p)), "{winner:?}");
    assert!(
        winner.test_low < winner.test_loss && winner.test_loss < winner.test_high,
        "{winner:?}"
    );

    // The views have the same numbers.
    let row: (i32, f64, f64, f64, f64, f64, Vec<i32>, f64) = system
        .tuple(
            "SELECT trial, value, corrected_value, corrected_low, corrected_high, p_better, not_separable_from, test_loss
             FROM trawl.winners",
        )
        .await?;
    let others: Vec<i32> = winner.not_separable_from.iter().map(|trial| *trial as i32).collect();
    assert_eq!(
        (Some(row.2), Some(row.3), Some(row.4), Some(row.5), Some(row.7)),
        (corrected, low, high, winner.p_better, winner.test_loss)
    );
    assert_eq!((row.0 as u32, row.1, row.6), (winner.trial, winner.value, others));
    let baselines: Vec<(String, f64, Option<f64>)> = system
        .tuples("SELECT baseline, value, value_std FROM trawl.baselines WHERE study = 'judged' ORDER BY baseline")
        .await?;
    let told = study.baselines.iter();
    let told: Vec<_> = told
        .map(|one| (one.baseline.clone(), one.value, one.value_std))
        .collect();
    assert_eq!(baselines, told);
    let names: Vec<&str> = baselines.iter().map(|row| row.0.as_str()).collect();
    assert_eq!(names, ["constant", "linear"]);
    // The points lie about a curve.
    assert!(baselines[1].1 < baselines[0].1, "{baselines:?}");
    let importance: Vec<(String, f64, i32, Option<i32>)> = system
        .tuples("SELECT parameter, importance, trials, rung FROM trawl.importance ORDER BY importance DESC")
        .await?;
    assert_eq!(importance.len(), study.importance.len());
    assert!(
        (importance.iter().map(|row| row.1).sum::<f64>() - 1.0).abs() < 1e-9,
        "{importance:?}"
    );
    assert!(
        importance
            .iter()
            .all(|row| row.2 as u32 == study.trials_completed && row.3.is_none())
    );

    let shown = system.trawl_stdout(&["show", "judged"])?;
    for fact in ["corrected", "P(better)", "importance"] {
        assert!(shown.contains(fact), "{fact} in {shown}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_race_the_first_rung_says_what_matters() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 2).await?;
    let owner = system.owner().await?;
    let mut study = studies::small("raced", 32, 9)?;
    study["racing"] = json!({ "keep": 0.5 });
    system.submit(&study).await?;
    system.watch_to_end("raced").await?;
    let study = system.study("raced").await?;
    let came: i64 = system
        .value(
            "SELECT count(*) FROM trawl.epoch_reports e JOIN trawl.trials t USING (study, trial)
             WHERE e.epoch = 0 AND e.val_loss IS NOT NULL AND e.fold = t.generation % 3",
        )
        .await?;
    assert!(came > i64::from(study.trials_completed), "trials were pruned");
    assert!(!study.importance.is_empty());
    assert!(
        study
            .importance
            .iter()
            .all(|one| one.rung == Some(0) && i64::from(one.trials) == came),
        "{came} {:?}",
        study.importance
    );
    // Of trials that were pruned nothing is kept.
    let kept: Vec<String> = owner
        .values(
            "SELECT DISTINCT t.state FROM trawl_store.row_losses r JOIN trawl_store.trials t USING (study_id, trial)",
        )
        .await?;
    assert_eq!(kept, ["completed"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_row_losses_the_value_stays_as_it_is() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 1).await?;
    let owner = system.owner().await?;
    let mut study = studies::small("bare", 6, 3)?;
    study["row_losses"] = json!(false);
    system.submit(&study).await?;
    system.watch_to_end("bare").await?;
    let winner = system.study("bare").await?.winner.expect("a winner");
    assert!(
        winner.corrected_value.is_none() && winner.test_low.is_none(),
        "{winner:?}"
    );
    assert!(winner.p_better.is_some() && winner.test_loss.is_some(), "{winner:?}");
    let kept: i64 = owner.value("SELECT count(*) FROM trawl_store.row_losses").await?;
    assert_eq!(kept, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accuracy_is_corrected_by_rows_that_are_missed() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 1).await?;
    let owner = system.owner().await?;
    let study = studies::small_fashion("classes");
    system.complete(&study).await?;
    let off: Vec<(f64, f64)> = owner
        .tuples(
            "SELECT 1 - (SELECT avg(l::float8) FROM unnest(r.losses) AS l), m.val_accuracy
             FROM trawl.fold_metrics m
             JOIN trawl_store.folds f ON f.study_id = m.study_id AND f.trial = m.trial AND f.fold = m.fold
             JOIN trawl_store.row_losses r USING (fold_id)",
        )
        .await?;
    assert!(!off.is_empty());
    assert!(
        off.iter().all(|(mean, accuracy)| (mean - accuracy).abs() < 1e-9),
        "{off:?}"
    );
    let winner = system.study("classes").await?.winner.expect("a winner");
    assert!(winner.corrected_low < winner.corrected_value && winner.corrected_value < winner.corrected_high);
    assert!(
        winner.corrected_high < Some(1.0) && winner.corrected_low > Some(0.0),
        "{winner:?}"
    );
    Ok(())
}
