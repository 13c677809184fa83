//! Quotas: a study that exceeds one is refused at the door, with the quota's name and number, and nothing of it is stored.

use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tonic::{Code, Status};
use trawl_e2e::studies::IntoStudy;
use trawl_e2e::{Ask, Client, ScriptedWorker, System, View, code_of, look_for, studies, worker};
use trawl_proto::v1;

/// The quota that refuses a study.
async fn refused(system: &System, study: impl IntoStudy) -> anyhow::Result<Status> {
    Ok(system.create(study, false).await?.expect_err("beyond a quota"))
}

async fn kept(system: &System) -> anyhow::Result<i64> {
    system.value("SELECT count(*) FROM trawl.studies").await
}

fn end_and_delete(system: &System, study: &str) -> anyhow::Result<()> {
    system.trawl_stdout(&["cancel", study])?;
    system.trawl_stdout(&["delete", study])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_study_beyond_the_quota_is_refused_and_leaves_nothing() -> anyhow::Result<()> {
    let system = System::start(&["--studies-max", "2"]).await?;
    let owner = system.owner().await?;
    for name in ["first", "second"] {
        system.submit(studies::one_job(name, 1, 1)?).await?;
    }
    // Its dataset is another one: that is not kept either.
    let third = studies::small("third", 1, 1)?;
    let beyond = refused(&system, &third).await?;
    assert_eq!(beyond.code(), Code::ResourceExhausted);
    assert_eq!(
        beyond.message(),
        "the quota of studies is used up: 2 of 2 are kept (--studies-max); delete some"
    );
    assert_eq!(kept(&system).await?, 2);
    let left: (i64, i64, i64, i64) = owner
        .tuple(
            "SELECT (SELECT count(*) FROM trawl_store.studies), (SELECT count(*) FROM trawl_store.trials),
                (SELECT count(*) FROM trawl_store.dataset_files), (SELECT count(*) FROM trawl_store.pending_objects)",
        )
        .await?;
    assert_eq!(left, (2, 2, 2, 0));

    // A request whose answer was lost gets the first answer again, quota or not.
    system.submit(studies::one_job("second", 1, 1)?).await?;
    // A deleted study makes room.
    end_and_delete(&system, "first")?;
    system.submit(third).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn submissions_at_once_do_not_slip_through_together() -> anyhow::Result<()> {
    // Another coordinator on the same database, so that it is Postgres that holds them apart.
    let flags = ["--studies-max", "3"];
    let system = System::start(&flags).await?;
    let (_coordinator, other) = system.another_coordinator(&flags).await?;
    let mut submissions = JoinSet::new();
    for number in 0..16 {
        let request = v1::CreateStudyRequest {
            study: Some(studies::one_job(&format!("study-{number}"), 1, 1)?),
            ..Default::default()
        };
        let client: &Client = if number % 2 == 0 { &system } else { &other };
        let mut client = client.studies().await?;
        submissions.spawn(async move { code_of(client.create_study(request).await) });
    }
    let answers = submissions.join_all().await;
    let count = |code: Code| answers.iter().filter(|answer| **answer == code).count();
    assert_eq!(
        (count(Code::Ok), count(Code::ResourceExhausted)),
        (3, 13),
        "{answers:?}"
    );
    assert_eq!(kept(&system).await?, 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn epoch_reports_are_bounded_for_a_study_and_for_all() -> anyhow::Result<()> {
    // 3 folds: a study of 2 trials and 10 epochs asks for 60.
    let system = System::start(&["--study-epoch-reports-max", "100", "--epoch-reports-max", "150"]).await?;
    let large = refused(&system, studies::one_job("large", 4, 10)?).await?;
    assert_eq!(large.code(), Code::InvalidArgument, "no other moment would let it in");
    let told = "make 120 epoch reports; a study may leave 100 here";
    assert!(large.message().contains(told), "{large}");
    for name in ["first", "second"] {
        system.submit(studies::one_job(name, 2, 10)?).await?;
    }
    let third = studies::one_job("third", 2, 10)?;
    let beyond = refused(&system, third.clone()).await?;
    assert_eq!(beyond.code(), Code::ResourceExhausted);
    for part in ["studies asked for 120 of 150", "would need 60"] {
        assert!(beyond.message().contains(part), "{beyond}");
    }
    // A smaller one fits, and a deleted one makes room once its rows are gone.
    system.submit(studies::one_job("small", 1, 10)?).await?;
    assert_eq!(kept(&system).await?, 3);
    end_and_delete(&system, "first")?;
    look_for("room", async || Ok(system.create(third.clone(), false).await?.ok())).await?;

    // A refit asks for its own.
    let mut system = System::start(&["--epoch-reports-max", "20"]).await?;
    let mut study = studies::small("refitted", 1, 2)?;
    study["refit"]["set"]["batch_size"] = serde_json::json!(8);
    system.submit(&study).await?;
    let owner = system.owner().await?;
    let asked: i64 = owner.value("SELECT epoch_budget FROM trawl_store.studies").await?;
    assert_eq!(asked, 3 * 2 + 4 * 2, "the search, and the refit that ends it");
    system.add_workers(1)?;
    system.completed("refitted").await?;
    let request = v1::RefitStudyRequest {
        study: "refitted".into(),
        trial: None,
    };
    let beyond = system.studies().await?.refit_study(request).await;
    assert_eq!(code_of(beyond), Code::ResourceExhausted, "8 more than 14 of 20");
    assert_eq!(system.rows(View::Refits, "refitted").await?.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_study_counts_the_epoch_reports_that_it_left() -> anyhow::Result<()> {
    // 3 folds: a study of 2 trials and 10 epochs asks for 60.
    let system = System::start(&["--epoch-reports-max", "75"]).await?;
    system.submit(studies::one_job("first", 2, 10)?).await?;
    let mut worker = ScriptedWorker::register(&system).await?;
    let job = worker.lease_one().await?;
    for epoch in 0..2 {
        assert!(worker.report(&job, epoch).await?);
    }
    // 60 of 75 are taken.
    let second = studies::one_job("second", 2, 10)?;
    let beyond = refused(&system, second.clone()).await?;
    assert_eq!(beyond.code(), Code::ResourceExhausted, "{beyond}");
    system.trawl_stdout(&["cancel", "first"])?;
    system.submit(second).await?;
    // 12 are left of the first, and 60 asked for by the second.
    let beyond = refused(&system, studies::one_job("third", 1, 2)?).await?;
    assert!(beyond.message().contains("studies asked for 72 of 75"), "{beyond}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_study_that_used_up_its_bytes_pauses_and_says_why() -> anyhow::Result<()> {
    let system = System::start(&["--bytes-max", "400000", "--study-bytes-max", "250000"]).await?;
    let mut worker = ScriptedWorker::register(&system).await?;
    let mut jobs = Vec::new();
    for name in ["greedy", "late"] {
        system.submit(studies::one_job(name, 1, 1)?).await?;
        jobs.push(worker.lease_one().await?);
    }
    let put = async |worker: &mut ScriptedWorker, job: &v1::LeasedJob, member: u32, bytes: usize| {
        let name = format!("fold-{member}.safetensors");
        let messages = ScriptedWorker::artifact_messages(job, Some(member), &name, &vec![7; bytes]);
        // The stream ends at the refusal.
        worker.put_artifact(tokio_stream::iter(messages).take(64)).await
    };
    assert!(put(&mut worker, &jobs[0], 0, 200_000).await?);
    let refused = put(&mut worker, &jobs[0], 1, 60_000)
        .await
        .expect_err("beyond the study's");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let told = "of 250000 are used (--study-bytes-max), and 60000 more";
    assert!(refused.message().contains(told), "{refused}");
    let study = system.study("greedy").await?;
    assert_eq!(
        (study.state.as_str(), study.pause_reason.as_str()),
        ("paused", refused.message())
    );
    let shown = system.trawl_stdout(&["show", "greedy"])?;
    assert!(shown.contains(refused.message()), "{shown}");
    let in_sql: Option<String> = system
        .value("SELECT pause_reason FROM trawl.studies WHERE name = 'greedy'")
        .await?;
    assert_eq!(in_sql.as_deref(), Some(refused.message()));

    // The quota of all studies: the other study pauses too, and goes on once the first one is gone.
    let refused = put(&mut worker, &jobs[1], 0, 210_000)
        .await
        .expect_err("beyond what is left");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(
        refused.message().contains("of 400000 are used (--bytes-max)"),
        "{refused}"
    );
    assert_eq!(worker.heartbeat(&[&jobs[1]]).await?, [false], "it is wanted back");
    assert!(worker.release(&jobs[1], "drain", "").await?);
    end_and_delete(&system, "greedy")?;
    let owner = system.owner().await?;
    look_for("the files of the deleted study to go", async || {
        let objects: i64 = owner.value("SELECT count(*) FROM trawl_store.artifacts").await?;
        Ok((objects == 0).then_some(()))
    })
    .await?;
    system.trawl_stdout(&["resume", "late"])?;
    let study = system.study("late").await?;
    assert_eq!((study.state.as_str(), study.pause_reason.as_str()), ("running", ""));
    let job = worker.lease_one().await?;
    assert!(put(&mut worker, &job, 0, 210_000).await?);
    worker.train(&job).await?;
    system.completed("late").await?;

    // A dataset of a user's is no study's yet, and counts all the same.
    let head = v1::PutDatasetRequest {
        bytes: 300_000,
        sha256: "00".repeat(32),
        ..Default::default()
    };
    let refused = system.studies().await?.put_dataset(tokio_stream::iter([head])).await;
    assert_eq!(code_of(refused), Code::ResourceExhausted);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refit_that_finds_no_space_after_the_end_of_its_study_fails_and_says_why() -> anyhow::Result<()> {
    let mut system = System::with_workers(&[], 1).await?;
    system.complete(studies::small("spent", 2, 2)?).await?;
    let used: i64 = system
        .value("SELECT sum(bytes)::bigint FROM trawl.artifacts WHERE study = 'spent'")
        .await?;
    // Another coordinator with a quota of not one byte more: no pause can wait for space.
    let (strict, client) = system
        .another_coordinator(&["--study-bytes-max", &used.to_string()])
        .await?;
    system.workers.clear();
    let _worker = worker(&strict.url, |_| {})?;
    client.trawl_stdout(&["refit", "spent"])?;
    let owner = system.owner().await?;
    let error = look_for("the end of the refit", async || {
        let error: Option<String> =
            sqlx::query_scalar("SELECT error FROM trawl_store.refits WHERE state = 'failed' AND refit = 1")
                .fetch_optional(&owner)
                .await?;
        Ok(error)
    })
    .await?;
    assert!(error.contains("the study's quota of bytes does not suffice"), "{error}");
    let state = client.study("spent").await?.state;
    assert_eq!(state, "completed", "what was there stays as it is");
    Ok(())
}
