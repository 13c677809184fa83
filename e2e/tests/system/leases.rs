//! Leases that fence, and writes that come twice, with workers whose every step is scripted.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tonic::Code;
use trawl_e2e::{Ask, Postgres, ScriptedWorker, System, View, code_of, epochs_report, look_for, studies, wait_for};
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

    let early = worker.finish(&job).await;
    assert_eq!(code_of(early), Code::InvalidArgument, "an epoch is missing");
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
        let error = format!("the device is on fire, attempt {attempt}");
        assert!(worker.release(&job, "error", &error).await?);
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
    let errors: Vec<(String, String, i32)> = system
        .tuples("SELECT state, error, attempts FROM trawl.trials WHERE study = 'job'")
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
    let errors: Vec<String> = system
        .values("SELECT DISTINCT error FROM trawl.trials WHERE study = 'job'")
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
    let mut worker = worker.reconnect(&system).await?;
    assert_eq!(worker.heartbeat(&[&job]).await?, [true]);
    assert_eq!(worker.lease(8).await?.len(), 0, "no job runs twice");
    assert!(worker.report(&job, 0).await?, "what was acknowledged may come again");
    assert!(worker.report(&job, 1).await?);
    assert!(worker.finish(&job).await?);
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
            Ok(((health.code == Some(0)) == expected).then_some(()))
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
    let attempts: i32 = system.value("SELECT max(attempts) FROM trawl.trials").await?;
    assert_eq!(attempts, 1);
    Ok(())
}

/// Breaks a report.
type Broken = fn(&mut v1::ReportEpochsRequest);

#[tokio::test(flavor = "multi_thread")]
async fn broken_reports_are_refused_and_change_nothing() -> anyhow::Result<()> {
    let system = one_job(&[]).await?;
    let mut worker = ScriptedWorker::register(&system).await?;
    let job = worker.lease_one().await?;
    let good = epochs_report(&job, 0..2, 0.0);
    let broken: [Broken; 14] = [
        |report| report.lease = None,
        |report| report.first_epoch = u32::MAX,
        |report| report.members.clear(),
        |report| report.members.truncate(1),
        |report| report.metrics = vec!["val_lost".into()],
        |report| {
            report.metrics = vec!["val_accuracy".into()];
            report.members[0].metrics = vec![2.0; 2];
        },
        |report| report.metrics = vec!["val_loss".into(); 2],
        |report| report.members[0].member = 1,
        |report| report.members[1].member = 9_999,
        |report| report.members[0].train_loss.truncate(1),
        |report| report.members[1].train_loss[1] = f64::NAN,
        |report| report.members[0].metrics[0] = f64::INFINITY,
        |report| report.members[0].metrics[0] = f64::NAN,
        |report| report.members[0].metrics.truncate(1),
    ];
    for change in broken {
        let mut report = good.clone();
        change(&mut report);
        let answer = worker.send_report(report.clone());
        let answer = wait_for("an answer", async { Ok(answer.await) }).await?;
        assert_eq!(code_of(answer), Code::InvalidArgument, "{report:?}");
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
        protocol: 0,
        ..ScriptedWorker::registration("55555555-5555-4555-8555-555555555555")
    };
    let mut client = system.worker_client().await?;
    let refused = client.register_worker(request).await.expect_err("an old worker");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let said = format!(
        "the worker speaks version 0 of the workers' protocol, the coordinator version {WORKER_PROTOCOL}: upgrade"
    );
    assert!(refused.message().starts_with(&said), "{}", refused.message());
    let workers: i64 = system.value("SELECT count(*) FROM trawl.workers").await?;
    assert_eq!(workers, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_job_for_every_worker_is_not_tried_again() -> anyhow::Result<()> {
    let system = one_job(&[]).await?;
    let mut worker = ScriptedWorker::register(&system).await?;
    let job = worker.lease_one().await?;
    let refused = worker.release(&job, "worker_lost", "not for it to say").await;
    let refused = refused.expect_err("no cause of a worker's").to_string();
    assert!(
        refused.contains("must be drain, out_of_memory, hung, bad_input or error"),
        "{refused}"
    );
    assert!(worker.release(&job, "bad_input", "row 3 is no number").await?);
    assert_eq!(worker.lease(1).await?.len(), 0);
    let study = system.watch_to_end("job").await?;
    assert_eq!(study.state, "failed");
    let errors: Vec<(String, i32)> = system
        .tuples("SELECT DISTINCT error, attempts FROM trawl.trials WHERE study = 'job'")
        .await?;
    assert_eq!(errors, [("row 3 is no number".to_owned(), 1)]);
    Ok(())
}
