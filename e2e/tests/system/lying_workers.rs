//! Workers with a token that lie. A worker may lie about the losses of the job that it trains. No other lie may outlive its lease,
//! cost others their jobs, or take more room than a job has.

use serde_json::json;
use sqlx::PgPool;
use tonic::Code;
use trawl_e2e::{Ask, ScriptedWorker, System, View, code_of, epoch_report, epochs_report, studies, wait_for};
use trawl_proto::v1;

/// A system without real workers, and a study of one job: 2 trials of 3 folds, so many epochs.
async fn one_job(epochs: u32, flags: &[&str]) -> anyhow::Result<System> {
    let system = System::start(flags).await?;
    system.submit(studies::one_job("job", 2, epochs)?).await?;
    Ok(system)
}

/// All members diverge in this epoch.
fn all_diverged(job: &v1::LeasedJob, epoch: u32) -> v1::ReportEpochsRequest {
    let mut report = epoch_report(job, epoch, 0.0);
    for of in &mut report.members {
        (of.train_loss, of.metrics, of.diverged) = (Vec::new(), Vec::new(), true);
    }
    report
}

/// Trial, fold, epoch and validation loss of each report.
async fn reports(system: &System) -> anyhow::Result<Vec<(i32, i32, i32, f64)>> {
    system
        .tuples("SELECT trial, fold, epoch, val_loss FROM trawl.epoch_reports ORDER BY trial, fold, epoch")
        .await
}

/// The study's own count of its reports, and the number of reports that there are.
async fn counted(owner: &PgPool) -> anyhow::Result<(i64, i64)> {
    owner
        .tuple("SELECT epochs_reported, (SELECT count(*) FROM trawl_store.epochs) FROM trawl_store.studies")
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_of_an_epoch_that_its_job_has_and_in_order() -> anyhow::Result<()> {
    let system = one_job(2, &[]).await?;
    let mut liar = ScriptedWorker::register(&system).await?;
    let job = liar.lease_one().await?;
    for epoch in [2, 5, 99_999] {
        assert_eq!(
            code_of(liar.send_report(epoch_report(&job, epoch, 0.0)).await),
            Code::InvalidArgument
        );
    }
    // Not yet: a stream that broke may be overtaken by the next one.
    assert_eq!(
        code_of(liar.send_report(epoch_report(&job, 1, 0.0)).await),
        Code::Unavailable
    );
    assert_eq!(
        code_of(liar.send_report(all_diverged(&job, 1)).await),
        Code::Unavailable
    );
    let mut beyond = epoch_report(&job, 0, 0.0);
    beyond.members[5].member = 6;
    assert_eq!(code_of(liar.send_report(beyond).await), Code::InvalidArgument);
    assert_eq!(reports(&system).await?, []);
    assert_eq!(code_of(liar.finish(&job).await), Code::InvalidArgument);

    // Reports before the lie on the same stream are kept, and the lease is what it was.
    let (sender, mut answers) = liar.open_reports(2).await?;
    for epoch in [0, 5] {
        sender.send(epoch_report(&job, epoch, 0.0)).await?;
    }
    let held = wait_for("an answer", async { Ok(answers.message().await?) }).await?;
    assert_eq!(
        held.map(|held| (held.first_epoch, held.status())),
        Some((0, v1::LeaseStatus::Held))
    );
    let refused = wait_for("an answer", async { Ok(answers.message().await) }).await?;
    assert_eq!(code_of(refused), Code::InvalidArgument);
    assert_eq!(
        code_of(liar.finish(&job).await),
        Code::InvalidArgument,
        "epochs 0 and 5 are not two epochs"
    );
    assert!(liar.report(&job, 1).await?);
    assert!(liar.finish(&job).await?);
    assert_eq!(system.watch_to_end("job").await?.epochs_reported, 12);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_liar_reported_after_the_checkpoint_goes_with_its_lease() -> anyhow::Result<()> {
    let system = one_job(4, &[]).await?;
    let owner = system.owner().await?;
    let mut liar = ScriptedWorker::register(&system).await?;
    let job = liar.lease_one().await?;
    assert!(liar.report(&job, 0).await?);
    let checkpoint = ScriptedWorker::checkpoint_messages(&job, 1, b"after one epoch");
    assert!(liar.put_checkpoint(tokio_stream::iter(checkpoint)).await?);
    for epoch in 1..4 {
        assert!(liar.report_with(&job, epoch, 1e3).await?);
    }
    assert!(liar.send_report(all_diverged(&job, 3)).await?);
    assert!(liar.release(&job, "error", "as if").await?);

    let honest_epochs = |epochs: std::ops::Range<i32>| {
        let of_fold = move |(trial, fold): (i32, i32)| {
            let loss = move |epoch: i32| f64::from(3 * trial + fold) + f64::from(epoch) / 1e3;
            epochs.clone().map(move |epoch| (trial, fold, epoch, loss(epoch)))
        };
        let folds = (0..2).flat_map(|trial| (0..3).map(move |fold| (trial, fold)));
        folds.flat_map(of_fold).collect::<Vec<_>>()
    };
    assert_eq!(
        reports(&system).await?,
        honest_epochs(0..1),
        "what the checkpoint covers stays"
    );
    assert_eq!(counted(&owner).await?, (6, 6));

    let mut honest = ScriptedWorker::register(&system).await?;
    let job = honest.lease_one().await?;
    let checkpoint = job.checkpoints.first().expect("a checkpoint");
    assert_eq!(checkpoint.epochs, 1);
    for epoch in 1..4 {
        assert!(honest.report(&job, epoch).await?);
    }
    assert!(honest.finish(&job).await?);
    assert_eq!(reports(&system).await?, honest_epochs(0..4));
    let study = system.watch_to_end("job").await?;
    assert_eq!((study.state.as_str(), study.epochs_reported), ("completed", 24));
    assert_eq!(study.best_value, Some((0.003 + 1.003 + 2.003) / 3.0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_within_a_report_cuts_it() -> anyhow::Result<()> {
    let system = one_job(4, &[]).await?;
    let owner = system.owner().await?;
    let mut worker = ScriptedWorker::register(&system).await?;
    let job = worker.lease_one().await?;
    let mut report = epochs_report(&job, 0..4, 0.0);
    // One member diverges before the checkpoint, one after it.
    for (member, epochs) in [(1, 1), (2, 3)] {
        let of = &mut report.members[member];
        of.train_loss.truncate(epochs);
        of.metrics.truncate(epochs);
        of.diverged = true;
    }
    assert!(worker.send_report(report).await?);
    let checkpoint = ScriptedWorker::checkpoint_messages(&job, 2, b"after two epochs");
    assert!(worker.put_checkpoint(tokio_stream::iter(checkpoint)).await?);
    assert_eq!(counted(&owner).await?, (4 * 4 + 1 + 3, 4 * 4 + 1 + 3));
    assert!(worker.release(&job, "drain", "").await?);
    assert_eq!(counted(&owner).await?, (5 * 2 + 1, 5 * 2 + 1));

    let job = worker.lease_one().await?;
    let mut rest = epochs_report(&job, 1..4, 0.0);
    rest.members.remove(1);
    assert!(worker.send_report(rest).await?);
    assert!(worker.finish(&job).await?);
    assert_eq!(counted(&owner).await?, (5 * 4 + 1, 5 * 4 + 1));
    let losses = |fold: i32, epochs: i32| {
        (0..epochs).map(move |epoch| (0, fold, epoch, f64::from(fold) + f64::from(epoch) / 1e3))
    };
    let of_trial: Vec<_> = reports(&system).await?.into_iter().filter(|row| row.0 == 0).collect();
    assert_eq!(
        of_trial,
        losses(0, 4).chain(losses(1, 1)).chain(losses(2, 4)).collect::<Vec<_>>()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn losses_whose_mean_overflows_are_divergence_and_no_failed_attempt() -> anyhow::Result<()> {
    let system = one_job(1, &[]).await?;
    let mut liar = ScriptedWorker::register(&system).await?;
    let job = liar.lease_one().await?;
    let mut huge = epoch_report(&job, 0, 0.0);
    for (member, loss) in [1.7e308, -1.7e308, 1.7e308].into_iter().enumerate() {
        huge.members[member].metrics = vec![loss];
    }
    huge.members[3].train_loss = vec![-1e101];
    assert!(liar.send_report(huge).await?);
    assert!(liar.finish(&job).await?);
    let study = system.watch_to_end("job").await?;
    assert_eq!((study.state.as_str(), study.trials_failed), ("failed", 2));
    let trials: Vec<(String, String, i32)> = system.tuples("SELECT state, error, attempts FROM trawl.trials").await?;
    let diverged = ("failed".to_owned(), "diverged".to_owned(), 1);
    assert_eq!(trials, [diverged.clone(), diverged]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refit_whose_test_loss_overflows_has_diverged() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    system.submit(studies::small("refitted", 1, 1)?).await?;
    let mut liar = ScriptedWorker::register(&system).await?;
    while let Some(job) = liar.lease(1).await?.pop() {
        liar.report_all(&job).await?;
        let dataset = job.job.and_then(|job| job.dataset).unwrap_or_default();
        let request = v1::FinishJobRequest {
            lease: job.lease,
            test_loss: dataset.test.map(|_| -1.7e308),
            ..Default::default()
        };
        let finished = system.worker_client().await?.finish_job(request).await?.into_inner();
        assert_eq!(finished.status(), v1::LeaseStatus::Held);
    }
    let study = system.watch_to_end("refitted").await?;
    assert_eq!(
        (study.state.as_str(), study.error.as_str()),
        ("failed", "refit 0: diverged")
    );
    Ok(())
}

/// One of the texts by which a worker describes itself.
type TextOf = fn(&mut v1::RegisterWorkerRequest) -> &mut String;

#[tokio::test(flavor = "multi_thread")]
async fn text_of_a_worker_controls_no_terminal() -> anyhow::Result<()> {
    const TITLE: &str = "\u{1b}]0;PWNED\u{7}\u{1b}[2K\r\0";
    let system = one_job(1, &[]).await?;
    let fields: [(&str, TextOf); 3] = [
        ("host", |request| &mut request.host),
        ("device", |request| &mut request.device),
        ("version", |request| &mut request.version),
    ];
    for (name, field) in fields {
        for text in [TITLE, "a\0b", "a\u{9b}31m", "a\u{202e}b", &"x".repeat(257), ""] {
            let mut request = ScriptedWorker::registration("55555555-5555-4555-8555-555555555555");
            *field(&mut request) = text.to_owned();
            let refused = system.worker_client().await?.register_worker(request).await;
            let refused = refused.expect_err("it controls a terminal, or is too long");
            assert_eq!(refused.code(), Code::InvalidArgument);
            assert!(refused.message().contains(name), "{refused}");
        }
    }
    let mut liar = ScriptedWorker::register(&system).await?;
    let job = liar.lease_one().await?;
    let error = format!("{TITLE}{}", "x".repeat(5_000));
    assert!(liar.release(&job, "bad_input", &error).await?);
    let kept: Vec<String> = system.values("SELECT DISTINCT error FROM trawl.trials").await?;
    let shown = "\u{fffd}]0;PWNED\u{fffd}\u{fffd}[2K \u{fffd}";
    assert_eq!(kept, [format!("{shown}{}", "x".repeat(1_000 - shown.chars().count()))]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_leaves_files_of_known_names_alone_and_an_empty_one_counts() -> anyhow::Result<()> {
    let system = System::start(&["--study-bytes-max", "30000"]).await?;
    system.submit(studies::one_job("job", 5, 1)?).await?;
    let mut liar = ScriptedWorker::register(&system).await?;
    let job = liar.lease_one().await?;
    let names = [
        ".",
        "..",
        "-rf",
        ".bashrc",
        "",
        "other",
        "fold-1.safetensors",
        "fold-00.safetensors",
        "weights.safetensors",
    ];
    for name in names {
        let refused = liar.leave(&job, 0, name, b"").await.expect_err(name);
        assert_eq!(refused.code(), Code::InvalidArgument, "{name}");
        assert!(
            refused.message().contains("name: must be fold-0.safetensors"),
            "{refused}"
        );
    }
    let mut messages = ScriptedWorker::artifact_messages(&job, Some(0), "network.json", b"");
    messages[0].kind = "network".into();
    assert_eq!(
        code_of(liar.put_artifact(tokio_stream::iter(messages)).await),
        Code::InvalidArgument
    );

    // A file for each of 15 folds and no more; and these are more than 30,000 bytes, empty as they are.
    let mut kept = 0;
    let refused = loop {
        let name = format!("fold-{}.safetensors", kept % 3);
        match liar.leave(&job, kept, &name, b"").await {
            Ok(held) => assert!(held),
            Err(refused) => break refused,
        }
        kept += 1;
    };
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("--study-bytes-max"), "{refused}");
    assert!((1..=7).contains(&kept), "{kept} empty files");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_is_bounded_by_its_jobs_networks_and_reports() -> anyhow::Result<()> {
    let system = one_job(2, &[]).await?;
    let mut liar = ScriptedWorker::register(&system).await?;
    let job = liar.lease_one().await?;
    let put = async |liar: &mut ScriptedWorker, epochs: u32, bytes: u64| {
        let mut messages = ScriptedWorker::checkpoint_messages(&job, epochs, &vec![7; bytes.min(1_000) as usize]);
        messages[0].bytes = bytes;
        liar.put_checkpoint(tokio_stream::iter(messages)).await
    };
    assert!(liar.report(&job, 0).await?);
    // Six networks of some hundred numbers.
    for (epochs, bytes, field) in [
        (0, 0, "bytes"),
        (0, 2 << 20, "bytes"),
        (0, 2 << 30, "bytes"),
        (0, u64::MAX, "bytes"),
        (2, 1_000, "epochs"),
        (99_999, 1_000, "epochs"),
        (u32::MAX, 1_000, "epochs"),
    ] {
        let refused = put(&mut liar, epochs, bytes).await.expect_err("a lie");
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(
            refused.message().starts_with(field),
            "{epochs} epochs, {bytes} bytes: {refused}"
        );
    }
    assert!(put(&mut liar, 1, 1_000).await?);
    assert_eq!(system.objects("checkpoints")?.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workers_id_belongs_to_the_token_that_registered_it() -> anyhow::Result<()> {
    const OPERATOR: &str = "the-operators-own-token";
    let system = System::start(&["--token", OPERATOR]).await?;
    let operator = system.client(OPERATOR).await?;
    operator.submit(studies::one_job("job", 1, 1)?).await?;
    let mut admin = system.admin(OPERATOR).await?;
    let own = system.client(&admin.create("own", "worker", None).await?).await?;
    let other = system.client(&admin.create("other", "worker", None).await?).await?;
    let mut worker = ScriptedWorker::register(&own).await?;
    let job = worker.lease_one().await?;
    let owner = system.owner().await?;
    let rows = async || -> anyhow::Result<Vec<serde_json::Value>> {
        owner.values("SELECT to_jsonb(w) FROM trawl_store.workers w").await
    };
    let before = rows().await?;
    let worker_id = || worker.id().to_owned();
    for stranger in [&other, &operator] {
        let mut client = stranger.worker_client().await?;
        let request = ScriptedWorker::registration(worker.id());
        assert_eq!(code_of(client.register_worker(request).await), Code::PermissionDenied);
        let leases = job.lease.clone().into_iter().collect();
        let request = v1::HeartbeatRequest {
            worker_id: worker_id(),
            leases,
        };
        assert_eq!(code_of(client.heartbeat(request).await), Code::PermissionDenied);
        let request = v1::LeaseJobsRequest {
            worker_id: worker_id(),
            slots: 1,
            wait: None,
        };
        assert_eq!(code_of(client.lease_jobs(request).await), Code::PermissionDenied);
        let request = v1::UnregisterWorkerRequest { worker_id: worker_id() };
        assert_eq!(code_of(client.unregister_worker(request).await), Code::PermissionDenied);
    }
    assert_eq!(rows().await?, before);
    assert_eq!(worker.heartbeat(&[&job]).await?, [true]);
    worker.train(&job).await?;
    worker.unregister().await?;
    operator.completed("job").await?;
    assert_ne!(rows().await?[0]["stopped_at"], json!(null));
    assert_eq!(operator.rows(View::Trials, "job").await?.len(), 1);
    Ok(())
}
