//! Several objectives: racing keeps trials that no other one dominates, and SQL, figures and commands show them.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use trawl_domain::pareto;
use trawl_e2e::{Ask, System, assert_same_rows, studies};

/// Loss against size: six generations of six trials, which are raced.
fn loss_and_size(name: &str) -> anyhow::Result<Value> {
    let mut study = studies::small(name, 36, 9)?;
    study["model"] = json!([
        { "linear": { "units": "$units" } },
        { "activation": { "kind": "$activation" } },
        { "linear": { "units": 1 } },
    ]);
    study["space"]["units"] = json!({ "int_log_uniform": { "low": 1, "high": 64 } });
    study["space"]["optimizer"] = json!({ "choice": ["adam"] });
    study["space"]["learning_rate"] = json!({ "choice": [0.01] });
    study["refit"]["set"] = json!({});
    study["sampler"] = json!({ "gp": {}, "generation": 6 });
    study["racing"] = json!({ "keep": 0.5 });
    study.as_object_mut().map(|study| study.remove("objective"));
    study["objectives"] = json!([{ "metric": "val_mae" }, { "metric": "parameters" }]);
    Ok(study)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_none_dominates_is_found_kept_and_told() -> anyhow::Result<()> {
    let mut expected: Option<Vec<_>> = None;
    for workers in [1, 3] {
        let system = System::with_workers(&[], workers).await?;
        system.complete(loss_and_size("two")?).await?;
        let rows = system.all_rows("two").await?;
        if let Some(expected) = &expected {
            assert_same_rows(expected, &rows, "by three workers");
            continue;
        }
        expected = Some(rows);

        system.trawl_stdout(&["replay", "two"])?;
        let trials: Vec<(i32, String, f64, Value, Value)> = system
            .tuples(
                "SELECT trial, state, COALESCE(value, rung_value), objectives, params FROM trawl.trials ORDER BY trial",
            )
            .await?;
        assert_eq!(trials.len(), 36);
        for (trial, _, value, objectives, params) in &trials {
            let units = params["units"].as_f64().unwrap_or(0.0);
            // A weight and a bias a unit, and as many weights and a bias behind them.
            assert_eq!(
                objectives["parameters"].as_f64(),
                Some(3.0 * units + 1.0),
                "trial {trial}"
            );
            assert_eq!(objectives["val_mae"].as_f64(), Some(*value), "trial {trial}");
        }
        let completed: Vec<_> = trials.iter().filter(|(_, state, ..)| state == "completed").collect();
        let keys: Vec<Vec<f64>> = completed
            .iter()
            .map(|(_, _, value, objectives, _)| vec![*value, objectives["parameters"].as_f64().unwrap_or(0.0)])
            .collect();
        let front: BTreeSet<i32> = pareto::front(&keys)
            .into_iter()
            .map(|index| completed[index].0)
            .collect();
        let told: Vec<i32> = system
            .values("SELECT trial FROM trawl.pareto WHERE study = 'two'")
            .await?;
        assert_eq!(told.into_iter().collect::<BTreeSet<i32>>(), front);
        assert!(
            (2..completed.len()).contains(&front.len()),
            "{front:?} of {}",
            completed.len()
        );

        // By the first objective alone the smallest networks would have been dropped at once.
        let smallest = |of: &[&(i32, String, f64, Value, Value)]| {
            let sizes = of
                .iter()
                .map(|trial| trial.3["parameters"].as_f64().unwrap_or(f64::MAX));
            sizes.fold(f64::MAX, f64::min)
        };
        let first: Vec<_> = trials.iter().take(6).collect();
        let survivors: Vec<_> = first.iter().filter(|trial| trial.1 == "completed").copied().collect();
        assert_eq!(
            smallest(&survivors),
            smallest(&first),
            "an end of the front is not dropped"
        );

        let volumes: Vec<(i32, f64)> = system
            .tuples("SELECT trial, hypervolume FROM trawl.hypervolume WHERE study = 'two' ORDER BY trial")
            .await?;
        assert_eq!(volumes.len(), completed.len());
        assert!(volumes.is_sorted_by(|a, b| a.1 <= b.1), "{volumes:?}");
        assert!(
            volumes.last().is_some_and(|(_, volume)| (0.3..1.0).contains(volume)),
            "{volumes:?}"
        );

        let shown = system.trawl_stdout(&["show", "two"])?;
        assert!(
            shown.contains("  parameters ") && shown.contains("  val_mae "),
            "{shown}"
        );
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        let (page, figures) = (path("report.html"), path("figures"));
        system.trawl_stdout(&["report", "two", "-o", &page, "--png", &figures])?;
        for figure in ["front", "hypervolume"] {
            assert!(
                std::fs::exists(folder.path().join(format!("figures/{figure}.png")))?,
                "{figure}"
            );
        }
    }
    Ok(())
}

/// Time depends on the workers: it is measured and shown, and no trial is dropped for it.
#[tokio::test(flavor = "multi_thread")]
async fn time_is_an_objective_that_drops_nothing() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 1).await?;
    let mut study = loss_and_size("slow")?;
    study["max_trials"] = json!(20);
    study["objectives"] = json!([{}, { "metric": "worker_seconds" }, { "metric": "val_r2" }]);
    let findings = system.findings(&study).await?;
    assert!(
        matches!(&findings[..], [(field, _)] if field == "racing"),
        "it would be raced by time: {findings:?}"
    );

    study.as_object_mut().map(|study| study.remove("racing"));
    let answer = system.create(&study, false).await??;
    let warned = "worker_seconds depends on the workers";
    assert!(answer.notes.iter().any(|note| note.starts_with(warned)), "{answer:?}");
    assert_eq!(system.completed("slow").await?.trials_completed, 20);
    let alike: bool = system
        .value(
            "SELECT bool_and((objectives->>'worker_seconds')::double precision = worker_seconds
                             AND (objectives->>'val_loss')::double precision = value
                             AND (objectives->>'val_r2')::double precision < 1)
             FROM trawl.trials",
        )
        .await?;
    assert!(alike, "each is what its column says");
    system.trawl_stdout(&["replay", "slow"])?;
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (page, figures) = (path("report.html"), path("figures"));
    system.trawl_stdout(&["report", "slow", "-o", &page, "--png", &figures])?;
    assert!(std::fs::exists(folder.path().join("figures/partial-dependence.png"))?);
    Ok(())
}
