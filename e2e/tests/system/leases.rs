//! Leases that fence, and writes that come twice, with workers whose every step is scripted.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use trawl_e2e::{Postgres, ScriptedWorker, System, View, epochs_report, look_for, studies, wait_for};
use trawl_proto::{WORKER_PROTOCOL, v1};

/// A system without real workers, and a study of one job: 2 trials of 3 folds, 2 epochs.
async fn one_job(flags: &[&str]) -> anyhow::Result<System> {
    let system = System::start(flags).await?;
    system.submit(studies::one_job("job", 2, 2)?).await?;
    Ok(system)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_copy_changes_nothing() -> anyhow::Result<()> {
    let system = one_job(&[]).await?;
    let mut worker = ScriptedWorker::register(&system).await?;
    let job = worker.lease_one().await?;
    assert_eq!(job.job.as_ref().map(|job| job.members.len()), Some(6));
    assert_eq!(worker.lease(8).await?.len(), 0, "a leased job is leased once");

    assert!(worker.report(&job, 0).await?);
    let first = system.rows(View::EpochReports, "job").await?;
    assert_eq!(first.len(), 6);
    // Acknowledged again, although other losses come under the same key: the first ones stay.
    assert!(worker.report_with(&job, 0, 7.0).await?);
    assert_eq!(system.rows(View::EpochReports, "job").await?, first);

    let early = worker.finish(&job).await.expect_err("an epoch is missing");
    assert_eq!(early.code(), tonic::Code::InvalidArgument);
    assert!(worker.report(&job, 1).await?);
    assert!(worker.finish(&job).await?);
    let trials = system.rows(View::Trials, "job").await?;
    assert!(worker.finish(&job).await?, "a repeated end is answered like the first");
    assert!(!worker.report(&job, 1).await?, "nothing is written after the end");
    assert_eq!(worker.heartbeat(&[&job]).await?, [false]);
    assert_eq!(system.rows(View::Trials, "job").await?, trials);
    let study = system.watch_to_end("job").await?;
    assert_eq!(
        (study.state.as_str(), study.trials_completed, study.epochs_reported),
        ("completed", 2, 12)
    );
    // Member m of the job reports m + epoch / 1000: trial 0 has members 0, 1, 2.
    assert_eq!(study.best_trial, Some(0));
    assert_eq!(study.best_value, Some((0.001 + 1.001 + 2.001) / 3.0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_lease_ran_out_can_write_nothing() -> anyhow::Result<()> {
    let system = one_job(&["--lease-ttl-ms", "400"]).await?;
    let mut silent = ScriptedWorker::register(&system).await?;
    let mut other = ScriptedWorker::register(&system).await?;
    let lost = silent.lease_one().await?;
    assert!(silent.report(&lost, 0).await?);
    // The other one waits until the lease of the silent one has run out and the job is queued again.
    let job = other.lease_one().await?;
    assert_eq!(
        job.lease.as_ref().map(|lease| &lease.job_id),
        lost.lease.as_ref().map(|lease| &lease.job_id)
    );
    assert_ne!(job.lease, lost.lease, "each grant has a token of its own");

    let before = system.rows(View::EpochReports, "job").await?;
    assert!(!silent.report_with(&lost, 1, 5.0).await?);
    assert!(!silent.finish(&lost).await?);
    assert!(!silent.release(&lost, "error", "too late").await?);
    assert_eq!(silent.heartbeat(&[&lost]).await?, [false]);
    assert_eq!(system.rows(View::EpochReports, "job").await?, before);

    assert_eq!(
        other.heartbeat(&[&job]).await?,
        [true],
        "the other's lease is untouched"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_keeps_a_lease_for_as_long_as_it_beats() -> anyhow::Result<()> {
    let ttl = Duration::from_millis(600);
    let system = one_job(&["--lease-ttl-ms", "600"]).await?;
    let mut worker = ScriptedWorker::register(&system).await?;
    let job = worker.lease_one().await?;
    let mut beats = tokio::time::interval(ttl / 6);
    let until = tokio::time::Instant::now() + 3 * ttl;
    while beats.tick().await < until {
        assert_eq!(worker.heartbeat(&[&job]).await?, [true]);
    }
    assert!(worker.report(&job, 0).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_use_up_the_retries_and_a_drain_does_not() -> anyhow::Result<()> {
    let system = one_job(&[]).await?;
    let mut worker = ScriptedWorker::register(&system).await?;
    for _ in 0..4 {
        let job = worker.lease_one().await?;
        assert!(worker.release(&job, "drain", "").await?);
        assert!(
            worker.release(&job, "drain", "").await?,
            "a repeated release is answered like the first"
        );
    }
    for attempt in 0..3 {
        let job = worker.lease_one().await?;
        assert!(
            worker
                .release(&job, "error", &format!("the device is on fire, attempt {attempt}"))
                .await?
        );
    }
    assert_eq!(worker.lease(1).await?.len(), 0, "the retries are used up");
    let study = system.watch_to_end("job").await?;
    assert_eq!(
        (study.state.as_str(), study.error.as_str()),
        (
            "failed",
            "no trial completed: 2 of 2 failed: the device is on fire, attempt 2"
        )
    );
    let errors: Vec<(String, String, i32)> =
        sqlx::query_as("SELECT state, error, attempts FROM trawl.trials WHERE study = 'job'")
            .fetch_all(&system.sql)
            .await?;
    let expected = ("failed".to_owned(), "the device is on fire, attempt 2".to_owned(), 3);
    assert_eq!(errors, [expected.clone(), expected]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_worker_uses_up_the_retries_too() -> anyhow::Result<()> {
    let system = one_job(&["--lease-ttl-ms", "300"]).await?;
    let mut worker = ScriptedWorker::register(&system).await?;
    // Another cause has attempts of its own.
    for _ in 0..2 {
        let job = worker.lease_one().await?;
        assert!(worker.release(&job, "out_of_memory", "too little").await?);
    }
    for _ in 0..10 {
        worker.lease_one().await?;
    }
    let study = system.watch_to_end("job").await?;
    assert_eq!(study.state, "failed");
    let errors: Vec<String> = sqlx::query_scalar("SELECT DISTINCT error FROM trawl.trials WHERE study = 'job'")
        .fetch_all(&system.sql)
        .await?;
    assert_eq!(errors, ["worker lost"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_survive_a_restart_of_the_coordinator() -> anyhow::Result<()> {
    let system = one_job(&["--lease-ttl-ms", "2000"]).await?;
    let mut worker = ScriptedWorker::register(&system).await?;
    let job = worker.lease_one().await?;
    assert!(worker.report(&job, 0).await?);
    let system = system.crash_coordinator().await?;
    let mut worker_again = worker.reconnect(&system).await?;
    assert_eq!(worker_again.heartbeat(&[&job]).await?, [true]);
    assert_eq!(worker_again.lease(8).await?.len(), 0, "no job runs twice");
    assert!(
        worker_again.report(&job, 0).await?,
        "what was acknowledged may come again"
    );
    assert!(worker_again.report(&job, 1).await?);
    assert!(worker_again.finish(&job).await?);
    assert_eq!(system.watch_to_end("job").await?.epochs_reported, 12);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_survive_an_outage_of_postgres_and_health_tells_it() -> anyhow::Result<()> {
    let postgres = Postgres::start_durable()?;
    let system = System::start_on(postgres.fresh_database().await?, &["--lease-ttl-ms", "4000"]).await?;
    system.submit(studies::one_job("job", 2, 6)?).await?;
    let mut worker = ScriptedWorker::register(&system).await?;
    let job = worker.lease_one().await?;
    assert_eq!(worker.heartbeat(&[&job]).await?, [true]);
    let runs_out = Instant::now() + Duration::from_secs(4);
    let serves = async |expected: bool| {
        look_for(&format!("serving: {expected}"), async || {
            let health = system.trawl(&["health"])?;
            Ok((health.status.success() == expected).then_some(()))
        })
        .await
    };
    postgres.stop_immediately()?;
    serves(false).await?;
    // While nobody can renew it.
    sleep_until(runs_out).await;
    postgres.start_again().await?;
    serves(true).await?;
    // Before this worker comes, the coordinator looks for what ran out.
    look_for("a renewal", async || {
        Ok(worker
            .heartbeat(&[&job])
            .await
            .ok()
            .map(|renewed| assert_eq!(renewed, [true])))
    })
    .await?;
    assert_eq!(worker.lease(8).await?.len(), 0, "no job runs twice");
    let attempts: i32 = sqlx::query_scalar("SELECT max(attempts) FROM trawl.trials")
        .fetch_one(&system.sql)
        .await?;
    assert_eq!(attempts, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_reports_are_refused_and_change_nothing() -> anyhow::Result<()> {
    let system = one_job(&[]).await?;
    let mut worker = ScriptedWorker::register(&system).await?;
    let job = worker.lease_one().await?;
    let good = epochs_report(&job, 0..2, 0.0);
    let broken = |member: usize, change: fn(&mut v1::MemberEpochs)| {
        let mut report = good.clone();
        change(&mut report.members[member]);
        report
    };
    let broken = [
        v1::ReportEpochsRequest {
            lease: None,
            ..good.clone()
        },
        v1::ReportEpochsRequest {
            first_epoch: u32::MAX,
            ..good.clone()
        },
        v1::ReportEpochsRequest {
            members: Vec::new(),
            ..good.clone()
        },
        v1::ReportEpochsRequest {
            members: good.members[..1].to_vec(),
            ..good.clone()
        },
        v1::ReportEpochsRequest {
            metrics: vec!["val_lost".into()],
            ..good.clone()
        },
        v1::ReportEpochsRequest {
            metrics: vec!["val_accuracy".into()],
            ..epochs_report(&job, 0..2, 2.0)
        },
        v1::ReportEpochsRequest {
            metrics: vec!["val_loss".into(); 2],
            ..good.clone()
        },
        broken(0, |of| of.member = 1),
        broken(1, |of| of.member = 9_999),
        broken(0, |of| of.train_loss.truncate(1)),
        broken(1, |of| of.train_loss[1] = f64::NAN),
        broken(0, |of| of.metrics[0] = f64::INFINITY),
        broken(0, |of| of.metrics[0] = f64::NAN),
        broken(0, |of| of.metrics.truncate(1)),
    ];
    for report in broken {
        let mut client = system.worker_client().await?;
        let mut answers = client
            .report_epochs(tokio_stream::iter([report.clone()]))
            .await?
            .into_inner();
        let refused = wait_for("an answer", async { Ok(answers.message().await) })
            .await?
            .expect_err("it is broken");
        assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{report:?}");
    }
    assert_eq!(system.rows(View::EpochReports, "job").await?.len(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_a_worker_could_not_train_goes_to_another_one_first() -> anyhow::Result<()> {
    let system = one_job(&[]).await?;
    let mut unlucky = ScriptedWorker::register(&system).await?;
    let mut other = ScriptedWorker::register(&system).await?;
    let job = unlucky.lease_one().await?;
    assert!(unlucky.release(&job, "error", "out of memory").await?);
    assert_eq!(unlucky.lease(1).await?.len(), 0, "others are asked first");
    let again = other.lease_one().await?;
    let id = |job: &v1::LeasedJob| job.lease.as_ref().map(|lease| lease.job_id.clone());
    assert_eq!(id(&again), id(&job));

    // No other worker is there: it gets the job that it could not train.
    assert!(other.release(&again, "drain", "").await?);
    let job = unlucky.lease_one().await?;
    assert!(unlucky.release(&job, "error", "out of memory").await?);
    other.unregister().await?;
    assert_eq!(unlucky.lease(1).await?.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_another_protocol_is_refused_in_words() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    let request = v1::RegisterWorkerRequest {
        worker_id: "55555555-5555-4555-8555-555555555555".into(),
        host: "old".into(),
        device: "cpu".into(),
        slots: 1,
        version: "0.0.9".into(),
        protocol: 0,
    };
    let refused = system
        .worker_client()
        .await?
        .register_worker(request)
        .await
        .expect_err("an old worker");
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
    let said = format!(
        "the worker speaks version 0 of the workers' protocol, the coordinator version {WORKER_PROTOCOL}: upgrade"
    );
    assert!(refused.message().starts_with(&said), "{}", refused.message());
    let workers: i64 = sqlx::query_scalar("SELECT count(*) FROM trawl.workers")
        .fetch_one(&system.sql)
        .await?;
    assert_eq!(workers, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_job_for_every_worker_is_not_tried_again() -> anyhow::Result<()> {
    let system = one_job(&[]).await?;
    let mut worker = ScriptedWorker::register(&system).await?;
    let job = worker.lease_one().await?;
    let refused = worker
        .release(&job, "worker_lost", "it says")
        .await
        .expect_err("not for it to say");
    assert!(
        refused
            .to_string()
            .contains("must be drain, out_of_memory, hung, bad_input or error"),
        "{refused}"
    );
    assert!(worker.release(&job, "bad_input", "row 3 is no number").await?);
    assert_eq!(worker.lease(1).await?.len(), 0);
    let study = system.watch_to_end("job").await?;
    assert_eq!(study.state, "failed");
    let errors: Vec<(String, i32)> =
        sqlx::query_as("SELECT DISTINCT error, attempts FROM trawl.trials WHERE study = 'job'")
            .fetch_all(&system.sql)
            .await?;
    assert_eq!(errors, [("row 3 is no number".to_owned(), 1)]);
    Ok(())
}
