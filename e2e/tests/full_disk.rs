//! A full disk: the write that finds no space is reported, its study pauses with the reason, stored files stay whole, and once there is
//! space the study goes on to the rows of an undisturbed run.

use std::io::Write;

use tempfile::TempDir;
use trawl_dataset::FileHash;
use trawl_e2e::{
    Ask, Postgres, Rows, SmallDisk, StoreAt, System, View, fresh_database, look_for, studies, undisturbed,
};
use trawl_proto::v1;

const STUDY: &str = "full";

/// Fills a disk until the study has paused, and no worker trains it any more.
async fn fill_until_paused(system: &System, fill: impl Fn() -> anyhow::Result<()>) -> anyhow::Result<()> {
    look_for("the study to pause", async || {
        // The sweep may have made room meanwhile.
        fill()?;
        Ok((system.study(STUDY).await?.state == "paused").then_some(()))
    })
    .await
}

/// All that users see of a pause, after a check of its reason.
async fn assert_says_why(system: &System, reason: &str) -> anyhow::Result<()> {
    assert_eq!(system.study(STUDY).await?.pause_reason, reason);
    let in_sql: Option<String> = system.value("SELECT pause_reason FROM trawl.studies").await?;
    assert_eq!(in_sql.as_deref(), Some(reason));
    let shown = system.trawl_stdout(&["show", STUDY])?;
    assert!(shown.contains("paused because") && shown.contains(reason), "{shown}");
    Ok(())
}

/// Resumes a study as users do, and sees it to its end.
async fn resume_to_end(system: &System, expected: &Rows) -> anyhow::Result<()> {
    system.trawl_stdout(&["resume", STUDY])?;
    assert_eq!(system.study(STUDY).await?.pause_reason, "");
    system.completes_as(STUDY, expected, "after a full disk").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_that_find_no_space_pause_their_study_and_leave_the_old_ones_whole() -> anyhow::Result<()> {
    let Some(disk) = SmallDisk::new(16 << 20)? else {
        return Ok(());
    };
    let study = || studies::long_job(STUDY, 4_000);
    let expected = undisturbed(study()?).await?;
    let flags = ["--checkpoint-interval-ms", "50", "--lease-ttl-ms", "1500"];
    let mut system = System::start_with(fresh_database().await?, TempDir::new()?, StoreAt::disk(&disk), &flags).await?;
    let owner = system.owner().await?;
    system.add_workers(1)?;
    system.submit(study()?).await?;
    let kept = async || -> anyhow::Result<Vec<(i32, String, Vec<u8>)>> {
        owner
            .tuples("SELECT number, object_key, sha256 FROM trawl_store.checkpoints ORDER BY number")
            .await
    };
    look_for("two checkpoints", async || Ok((kept().await?.len() == 2).then_some(()))).await?;
    let coordinator = system.coordinator.process.id();
    fill_until_paused(&system, || disk.fill(coordinator, 0)).await?;
    assert_says_why(&system, "the object store is full").await?;
    look_for("the job to be handed back", async || {
        let queued: bool = owner
            .value("SELECT bool_and(state = 'queued') FROM trawl_store.jobs")
            .await?;
        Ok(queued.then_some(()))
    })
    .await?;
    let kept_before = kept().await?;
    assert_eq!(kept_before.len(), 2);
    for (number, key, sha256) in &kept_before {
        let content = std::fs::read(disk.seen_by(coordinator, key))?;
        assert_eq!(FileHash::of(&content).0.as_slice(), sha256, "checkpoint {number}");
    }
    disk.free(coordinator)?;
    resume_to_end(&system, &expected).await?;
    let outcomes: Vec<String> = owner
        .values("SELECT outcome FROM trawl_store.job_attempts ORDER BY granted_at")
        .await?;
    assert_eq!(outcomes, ["drained", "finished"], "no attempt counts as failed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn artifacts_that_find_no_space_pause_their_study_amid_search_and_refit() -> anyhow::Result<()> {
    const DISK_BYTES: u64 = 256 << 20;
    let Some(disk) = SmallDisk::new(DISK_BYTES)? else {
        return Ok(());
    };
    let study = || studies::wide(STUDY);
    let expected = undisturbed(study()?).await?;
    let flags = ["--lease-ttl-ms", "1500"];
    let mut system = System::start_with(fresh_database().await?, TempDir::new()?, StoreAt::disk(&disk), &flags).await?;
    let coordinator = system.coordinator.process.id();
    // Room for the dataset and for one fold's weights, and not for all.
    disk.fill(coordinator, studies::WIDE_WEIGHTS_BYTES + (1 << 20))?;
    system.submit(study()?).await?;
    system.add_workers(1)?;
    let paused = |study: &v1::StudySummary| study.state == "paused";
    system.watch_until(STUDY, "the search to pause", paused).await?;
    assert_says_why(&system, "the object store is full").await?;

    disk.free(coordinator)?;
    system.trawl_stdout(&["resume", STUDY])?;
    let refitting = |study: &v1::StudySummary| study.state == "refitting";
    system.watch_until(STUDY, "its refit", refitting).await?;
    fill_until_paused(&system, || disk.fill(coordinator, 0)).await?;
    assert_says_why(&system, "the object store is full").await?;
    disk.free(coordinator)?;
    resume_to_end(&system, &expected).await?;
    assert!(system.fetch_all_artifacts().await? > 0, "artifacts can be fetched");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_of_postgres_is_told_in_words_and_costs_no_report() -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        writeln!(
            std::io::stderr(),
            "skipped: only root can give Postgres a disk of its own"
        )?;
        return Ok(());
    }
    let Some(disk) = SmallDisk::new(32 << 20)? else {
        return Ok(());
    };
    let study = || studies::long_job(STUDY, 3_000);
    let expected = undisturbed(study()?).await?;
    let postgres = Postgres::start_beside(&disk)?;
    let database_url = postgres.fresh_database().await?;
    let flags = ["--lease-ttl-ms", "3000", "--checkpoint-interval-ms", "200"];
    let mut system = System::start_on(database_url, &flags).await?;
    // The rows of reports alone are on the disk that will be full: the rest of Postgres still works.
    let owner = system.owner().await?;
    for statement in [
        format!("CREATE TABLESPACE small LOCATION '{}'", disk.folder().display()),
        "ALTER TABLE trawl_store.job_reports SET TABLESPACE small".to_owned(),
        "ALTER TABLE trawl_store.curves SET TABLESPACE small".to_owned(),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&owner).await?;
    }
    system.add_workers(1)?;
    system.submit(study()?).await?;
    system
        .watch_until(STUDY, "some epochs", |study| study.epochs_reported > 600)
        .await?;
    fill_until_paused(&system, || disk.fill(postgres.process(), 0)).await?;
    assert_says_why(&system, "the disk of the database is full").await?;
    let stored = system.rows(View::EpochReports, STUDY).await?;
    assert!(!stored.is_empty());
    disk.free(postgres.process())?;
    resume_to_end(&system, &expected).await?;
    Ok(())
}
