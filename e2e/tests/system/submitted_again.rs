//! A study that is submitted again: the same one is recognised, and a different one of that name refused.

use serde_json::json;
use trawl_e2e::{Ask, System, findings, studies};
use trawl_proto::v1;

#[tokio::test(flavor = "multi_thread")]
async fn the_same_study_twice_is_one_study_whatever_became_of_it() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    let study = studies::from_json(&studies::small("twice", 4, 2)?)?;
    let checked = system.create(study.clone(), true).await??;
    let summary = checked.study.unwrap_or_default();
    assert_eq!((summary.study_id.as_str(), checked.already_there), ("", false));
    let first = system.create(study.clone(), false).await??;
    assert!(!first.already_there);
    let first = first.study.unwrap_or_default();
    for state in ["running", "cancelled"] {
        for dry_run in [true, false] {
            let again = system.create(study.clone(), dry_run).await??;
            let there = again.study.unwrap_or_default();
            assert_eq!((there.study_id, there.state.as_str()), (first.study_id.clone(), state));
            assert!(again.already_there);
        }
        system.trawl_stdout(&["cancel", "twice"])?;
    }
    let names: Vec<String> = system.values("SELECT name FROM trawl.studies").await?;
    assert_eq!(names, ["twice"], "a dry run stores nothing");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_files_are_no_part_of_a_study() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    let study = studies::from_json(&studies::small("named", 1, 1)?)?;
    let mut client = system.studies().await?;
    let request = |name: &str| v1::CreateStudyRequest {
        study: Some(study.clone()),
        file_names: ["dataset.csv.train", "dataset.csv.other"]
            .map(|field| (field.to_owned(), name.to_owned()))
            .into(),
        ..Default::default()
    };
    let refused = client.create_study(request(&"x".repeat(4_097))).await;
    let fields: Vec<String> = findings(&refused.expect_err("too long"))
        .into_iter()
        .map(|(field, _)| field)
        .collect();
    assert_eq!(fields, ["file_names"]);

    client.create_study(request("houses.csv")).await?;
    let again = client.create_study(request("other.csv")).await?.into_inner();
    assert!(again.already_there);
    let found = client.get_study(v1::GetStudyRequest { study: "named".into() }).await?;
    let files = found.into_inner().data.unwrap_or_default().files;
    let test = study.dataset.and_then(|dataset| match dataset.kind {
        Some(v1::dataset::Kind::Csv(csv)) => Some(csv.test),
        _ => None,
    });
    let names: Vec<(&str, &str)> = files.iter().map(|file| (&*file.field, &*file.name)).collect();
    // The path of the other file is its name.
    let want = [
        ("dataset.csv.train", "houses.csv"),
        ("dataset.csv.test", test.as_deref().unwrap_or_default()),
    ];
    assert_eq!(names, want);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_study_under_a_taken_name_is_told_apart_by_field() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    let here = studies::small("taken", 4, 2)?;
    system.submit(&here).await?;
    let mut other = here.clone();
    other["seed"] = json!(8);
    other["max_trials"] = json!(5);
    other["dataset"]["csv"]["train"] = json!("e2e/tests/data/99_rows.csv");
    // The same file under another name is the same file.
    other["dataset"]["csv"]["test"] = json!("examples/../examples/data/test.csv");
    for dry_run in [true, false] {
        let refused = system.create(&other, dry_run).await?.expect_err("the name is taken");
        assert_eq!(refused.code(), tonic::Code::AlreadyExists);
        assert_eq!(
            refused.message(),
            "there is another study 'taken', which is running; it differs in max_trials, seed, dataset.csv.train"
        );
        let differences: Vec<String> = findings(&refused)
            .iter()
            .map(|(field, difference)| format!("{field}: {difference}"))
            .collect();
        assert_eq!(
            differences,
            [
                "max_trials: 4 here, 5 in this file",
                "seed: 7 here, 8 in this file",
                "dataset.csv.train: another file",
            ]
        );
    }
    let mut renamed = here.clone();
    renamed["dataset"]["csv"]["test"] = json!("examples/../examples/data/test.csv");
    assert!(system.create(&renamed, false).await??.already_there);
    Ok(())
}
