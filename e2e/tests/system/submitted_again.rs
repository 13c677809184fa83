//! A study that is submitted again: the same one is recognised, and a different one of that name refused.

use serde_json::json;
use tonic_types::StatusExt;
use trawl_e2e::{System, studies};
use trawl_proto::v1;

/// What the coordinator answers to a study.
async fn submit(system: &System, study: &v1::Study, dry_run: bool) -> Result<v1::CreateStudyResponse, tonic::Status> {
    let request = v1::CreateStudyRequest {
        study: Some(study.clone()),
        dry_run,
    };
    let mut client = system.studies().await.expect("a connection");
    Ok(client.create_study(request).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_study_twice_is_one_study_whatever_became_of_it() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    let study = studies::from_json(&studies::small("twice", 4, 2)?)?;
    let checked = submit(&system, &study, true).await?;
    let summary = checked.study.unwrap_or_default();
    assert_eq!((summary.study_id.as_str(), checked.already_there), ("", false));
    let first = submit(&system, &study, false).await?;
    assert!(!first.already_there);
    let first = first.study.unwrap_or_default();
    for state in ["running", "cancelled"] {
        for dry_run in [true, false] {
            let again = submit(&system, &study, dry_run).await?;
            let there = again.study.unwrap_or_default();
            assert_eq!((there.study_id, there.state.as_str()), (first.study_id.clone(), state));
            assert!(again.already_there);
        }
        system.trawl_stdout(&["cancel", "twice"])?;
    }
    let names: Vec<String> = sqlx::query_scalar("SELECT name FROM trawl.studies")
        .fetch_all(&system.sql)
        .await?;
    assert_eq!(names, ["twice"], "a dry run stores nothing");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_study_under_a_taken_name_is_told_apart_by_field() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    let here = studies::small("taken", 4, 2)?;
    submit(&system, &studies::from_json(&here)?, false).await?;
    let mut other = here.clone();
    other["seed"] = json!(8);
    other["max_trials"] = json!(5);
    other["dataset"]["csv"]["train"] = json!("e2e/tests/data/99_rows.csv");
    // The same file under another name is the same file.
    other["dataset"]["csv"]["test"] = json!("examples/../examples/data/test.csv");
    for dry_run in [true, false] {
        let refused = submit(&system, &studies::from_json(&other)?, dry_run)
            .await
            .expect_err("the name is taken");
        assert_eq!(refused.code(), tonic::Code::AlreadyExists);
        assert_eq!(
            refused.message(),
            "there is another study 'taken', which is running; it differs in max_trials, seed, dataset.csv.train"
        );
        let details = refused.get_details_bad_request().expect("the fields");
        let told: Vec<String> = details
            .field_violations
            .into_iter()
            .map(|field| format!("{}: {}", field.field, field.description))
            .collect();
        assert_eq!(
            told,
            [
                "max_trials: 4 here, 5 in this file",
                "seed: 7 here, 8 in this file",
                "dataset.csv.train: another file",
            ]
        );
    }
    let mut renamed = here.clone();
    renamed["dataset"]["csv"]["test"] = json!("examples/../examples/data/test.csv");
    assert!(
        submit(&system, &studies::from_json(&renamed)?, false)
            .await?
            .already_there
    );
    Ok(())
}
