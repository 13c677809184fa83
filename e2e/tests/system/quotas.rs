//! Quotas: a study that exceeds one is refused at the door, with the quota's name and number, and nothing of it is stored.

use tokio_stream::StreamExt;
use tonic::{Code, Status};
use trawl_e2e::{ScriptedWorker, System, look_for, owner_pool, studies};
use trawl_proto::v1;

async fn create(system: &System, study: v1::Study) -> anyhow::Result<Result<v1::StudySummary, Status>> {
    let request = v1::CreateStudyRequest {
        study: Some(study),
        dry_run: false,
    };
    let answer = system.studies().await?.create_study(request).await;
    Ok(answer.map(|answer| answer.into_inner().study.unwrap_or_default()))
}

async fn kept(system: &System) -> anyhow::Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM trawl.studies")
        .fetch_one(&system.sql)
        .await?)
}

async fn end_and_delete(system: &System, study: &str) -> anyhow::Result<()> {
    let name = || study.to_owned();
    let mut client = system.studies().await?;
    client.cancel_study(v1::CancelStudyRequest { study: name() }).await?;
    client.delete_study(v1::DeleteStudyRequest { study: name() }).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_study_beyond_the_quota_is_refused_and_leaves_nothing() -> anyhow::Result<()> {
    let system = System::start(&["--studies-max", "2"]).await?;
    let owner = owner_pool(&system.database_url).await?;
    for name in ["first", "second"] {
        system.submit(studies::one_job(name, 1, 1)?).await?;
    }
    // Its dataset is another one: that is not kept either.
    let third = || studies::from_json(&studies::small("third", 1, 1)?);
    let refused = create(&system, third()?).await?.expect_err("beyond the quota");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(
        refused.message(),
        "the quota of studies is used up: 2 of 2 are kept (--studies-max); delete some"
    );
    assert_eq!(kept(&system).await?, 2);
    let left: (i64, i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM trawl_store.studies), (SELECT count(*) FROM trawl_store.trials),
                (SELECT count(*) FROM trawl_store.dataset_files), (SELECT count(*) FROM trawl_store.pending_objects)",
    )
    .fetch_one(&owner)
    .await?;
    assert_eq!(left.0, 2);
    assert_eq!(left.1, 2);
    assert_eq!((left.2, left.3), (2, 0), "dataset files");

    // A request whose answer was lost gets the first answer again, quota or not.
    let again = create(&system, studies::one_job("second", 1, 1)?).await?;
    assert!(again.is_ok(), "{again:?}");
    end_and_delete(&system, "first").await?;
    let third = create(&system, third()?).await?;
    assert!(third.is_ok(), "a deleted study makes room: {third:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn submissions_at_once_do_not_slip_through_together() -> anyhow::Result<()> {
    // Another coordinator on the same database, so that it is Postgres that holds them apart.
    let flags = ["--studies-max", "3"];
    let system = System::start(&flags).await?;
    let store = trawl_e2e::StoreAt::folder(system.artifacts.path());
    let other = trawl_e2e::Coordinator::start(&system.database_url, &store, &flags, "127.0.0.1:0").await?;
    let other = trawl_e2e::Client::new(&other.url, &system.database_url)
        .await
        .map(|client| (other, client))?;
    let mut submissions = tokio::task::JoinSet::new();
    for number in 0..16 {
        let request = v1::CreateStudyRequest {
            study: Some(studies::one_job(&format!("study-{number}"), 1, 1)?),
            dry_run: false,
        };
        let mut client = if number % 2 == 0 {
            system.studies().await?
        } else {
            other.1.studies().await?
        };
        submissions.spawn(async move {
            client
                .create_study(request)
                .await
                .map(drop)
                .map_err(|status| status.code())
        });
    }
    let answers = submissions.join_all().await;
    let accepted = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(accepted, 3, "{answers:?}");
    assert!(
        answers
            .iter()
            .all(|answer| matches!(answer, Ok(()) | Err(Code::ResourceExhausted))),
        "{answers:?}"
    );
    assert_eq!(kept(&system).await?, 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn epoch_reports_are_bounded_for_a_study_and_for_all() -> anyhow::Result<()> {
    // 3 folds: a study of 2 trials and 10 epochs asks for 60.
    let system = System::start(&["--study-epoch-reports-max", "100", "--epoch-reports-max", "150"]).await?;
    let refused = create(&system, studies::one_job("large", 4, 10)?)
        .await?
        .expect_err("more than a study may leave");
    assert_eq!(refused.code(), Code::InvalidArgument, "no other moment would let it in");
    assert!(
        refused
            .message()
            .contains("make 120 epoch reports; a study may leave 100 here"),
        "{}",
        refused.message()
    );
    for name in ["first", "second"] {
        system.submit(studies::one_job(name, 2, 10)?).await?;
    }
    let refused = create(&system, studies::one_job("third", 2, 10)?)
        .await?
        .expect_err("more than all may leave");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(
        refused.message().contains("studies asked for 120 of 150") && refused.message().contains("would need 60"),
        "{}",
        refused.message()
    );
    // A smaller one fits, and a deleted one makes room once its rows are gone.
    system.submit(studies::one_job("small", 1, 10)?).await?;
    assert_eq!(kept(&system).await?, 3);
    end_and_delete(&system, "first").await?;
    look_for("room", async || {
        Ok(create(&system, studies::one_job("third", 2, 10)?).await?.ok())
    })
    .await?;

    // A refit asks for its own.
    let system = System::start(&["--epoch-reports-max", "20"]).await?;
    let mut study = studies::small("refitted", 1, 2)?;
    study["refit"]["set"]["batch_size"] = serde_json::json!(8);
    system.submit(studies::from_json(&study)?).await?;
    let asked: i64 = sqlx::query_scalar("SELECT epoch_budget FROM trawl_store.studies")
        .fetch_one(&owner_pool(&system.database_url).await?)
        .await?;
    assert_eq!(asked, 3 * 2 + 4 * 2, "the search, and the refit that ends it");
    let mut system = system;
    system.add_workers(1)?;
    assert_eq!(system.watch_to_end("refitted").await?.state, "completed");
    let request = v1::RefitStudyRequest {
        study: "refitted".into(),
        trial: None,
    };
    let refused = system
        .studies()
        .await?
        .refit_study(request)
        .await
        .expect_err("8 more than 14 of 20");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert_eq!(system.rows(trawl_e2e::View::Refits, "refitted").await?.len(), 1);
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
    assert!(
        refused
            .message()
            .contains("of 250000 are used (--study-bytes-max), and 60000 more"),
        "{}",
        refused.message()
    );
    let request = || v1::GetStudyRequest { study: "greedy".into() };
    let study = system.studies().await?.get_study(request()).await?.into_inner().study;
    let study = study.unwrap_or_default();
    assert_eq!(
        (study.state.as_str(), study.pause_reason.as_str()),
        ("paused", refused.message())
    );
    let shown = system.trawl_stdout(&["show", "greedy"])?;
    assert!(shown.contains(refused.message()), "{shown}");
    let in_sql: Option<String> = sqlx::query_scalar("SELECT pause_reason FROM trawl.studies WHERE name = 'greedy'")
        .fetch_one(&system.sql)
        .await?;
    assert_eq!(in_sql.as_deref(), Some(refused.message()));

    // The quota of all studies: the other study pauses too, and goes on once the first one is gone.
    let refused = put(&mut worker, &jobs[1], 0, 210_000)
        .await
        .expect_err("beyond what is left");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(
        refused.message().contains("of 400000 are used (--bytes-max)"),
        "{}",
        refused.message()
    );
    assert_eq!(worker.heartbeat(&[&jobs[1]]).await?, [false], "it is wanted back");
    assert!(worker.release(&jobs[1], "drain", "").await?);
    end_and_delete(&system, "greedy").await?;
    look_for("the files of the deleted study to go", async || {
        let objects: i64 = sqlx::query_scalar("SELECT count(*) FROM trawl_store.artifacts")
            .fetch_one(&owner_pool(&system.database_url).await?)
            .await?;
        Ok((objects == 0).then_some(()))
    })
    .await?;
    let request = v1::ResumeStudyRequest { study: "late".into() };
    let study = system.studies().await?.resume_study(request).await?.into_inner().study;
    let study = study.unwrap_or_default();
    assert_eq!((study.state.as_str(), study.pause_reason.as_str()), ("running", ""));
    let job = worker.lease_one().await?;
    assert!(put(&mut worker, &job, 0, 210_000).await?);
    worker.report_all(&job).await?;
    assert!(worker.finish(&job).await?);
    assert_eq!(system.watch_to_end("late").await?.state, "completed");

    // A dataset of a user's is no study's yet, and counts all the same.
    let head = v1::PutDatasetRequest {
        bytes: 300_000,
        sha256: "00".repeat(32),
        ..Default::default()
    };
    let refused = system
        .studies()
        .await?
        .put_dataset(tokio_stream::iter([head]))
        .await
        .expect_err("beyond what is left");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refit_that_finds_no_space_after_the_end_of_its_study_fails_and_says_why() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    system.add_workers(1)?;
    let study = studies::small("spent", 2, 2)?;
    system.submit(studies::from_json(&study)?).await?;
    assert_eq!(system.watch_to_end("spent").await?.state, "completed");
    let used: i64 = sqlx::query_scalar("SELECT sum(bytes)::bigint FROM trawl.artifacts WHERE study = 'spent'")
        .fetch_one(&system.sql)
        .await?;
    // Another coordinator with a quota of not one byte more: no pause can wait for space.
    let store = trawl_e2e::StoreAt::folder(system.artifacts.path());
    let quota = used.to_string();
    let flags = ["--study-bytes-max", quota.as_str()];
    let strict = trawl_e2e::Coordinator::start(&system.database_url, &store, &flags, "127.0.0.1:0").await?;
    system.workers.clear();
    let program = std::process::Command::new(trawl_e2e::binary("trawl-worker")?);
    let _worker = trawl_e2e::worker(program, &strict.url)?;
    let client = trawl_e2e::Client::new(&strict.url, &system.database_url).await?;
    let study = "spent".to_owned();
    let request = v1::RefitStudyRequest { study, trial: None };
    client.studies().await?.refit_study(request).await?;
    let owner = owner_pool(&system.database_url).await?;
    let error = look_for("the end of the refit", async || {
        let error: Option<String> =
            sqlx::query_scalar("SELECT error FROM trawl_store.refits WHERE state = 'failed' AND refit = 1")
                .fetch_optional(&owner)
                .await?;
        Ok(error)
    })
    .await?;
    assert!(error.contains("the study's quota of bytes does not suffice"), "{error}");
    let states: Vec<(String,)> = sqlx::query_as("SELECT state FROM trawl.studies")
        .fetch_all(&client.sql)
        .await?;
    assert_eq!(states, [("completed".to_owned(),)], "what was there stays as it is");
    Ok(())
}
