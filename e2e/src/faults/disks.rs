//! Disks that are full: that of the object store, amid checkpoints and artifacts, and that of Postgres.

use std::time::Duration;

use tempfile::TempDir;
use tokio::time::sleep;
use trawl_domain::seed::Stream;
use trawl_proto::v1;

use super::{Outcome, Row, Settings};
use crate::postgres::{Postgres, fresh_database, owner_pool};
use crate::small_disk::SmallDisk;
use crate::studies;
use crate::system::{StoreAt, System, look_for};
use crate::views::View;

const STUDY: &str = "full";
const EPOCHS: u32 = 6_000;
/// How often the disk is filled amid one study.
const ROUNDS: usize = 4;
/// Up to this time a study trains before the disk is filled again.
const BETWEEN_MAX: Duration = Duration::from_millis(1_500);
const FLAGS: [&str; 4] = ["--checkpoint-interval-ms", "50", "--lease-ttl-ms", "1500"];

type Rows = Vec<(View, Vec<String>)>;

/// Fills the disk of the object store while checkpoints and artifacts come.
pub(super) async fn of_store(settings: &Settings) -> anyhow::Result<Outcome> {
    let Some(disk) = SmallDisk::new(256 << 20)? else {
        return Ok(Outcome::Skipped("no disk can be mounted".into()));
    };
    let study = || studies::long_job(STUDY, EPOCHS);
    let expected = undisturbed(study()?).await?;
    let mut system = System::start_with(fresh_database().await?, TempDir::new()?, StoreAt::disk(&disk), &FLAGS).await?;
    let process = system.coordinator.process.id();
    system.add_workers(1)?;
    system.submit(study()?).await?;
    let mut row = Row::default();
    let full = (|| disk.fill(process, 0), || disk.free(process));
    fill_again_and_again(
        &system,
        &mut settings.chance("disk-full-store"),
        full,
        "the object store is full",
        &mut row,
    )
    .await?;
    end(&system, &expected, &mut row).await?;
    Ok(Outcome::Done(row))
}

/// Fills the disk that has the rows of reports.
pub(super) async fn of_postgres(settings: &Settings) -> anyhow::Result<Outcome> {
    if !rustix::process::geteuid().is_root() {
        return Ok(Outcome::Skipped("only root can give Postgres a disk of its own".into()));
    }
    let Some(disk) = SmallDisk::new(64 << 20)? else {
        return Ok(Outcome::Skipped("no disk can be mounted".into()));
    };
    let study = || studies::long_job(STUDY, EPOCHS);
    let expected = undisturbed(study()?).await?;
    let postgres = Postgres::start_beside(&disk)?;
    let mut system = System::start_on(postgres.fresh_database().await?, &FLAGS).await?;
    put_reports_on(&disk, &system.database_url).await?;
    system.add_workers(1)?;
    system.submit(study()?).await?;
    let mut row = Row::default();
    let process = postgres.process();
    let full = (|| disk.fill(process, 0), || disk.free(process));
    let reason = "the disk of the database is full";
    fill_again_and_again(
        &system,
        &mut settings.chance("disk-full-postgres"),
        full,
        reason,
        &mut row,
    )
    .await?;
    end(&system, &expected, &mut row).await?;
    Ok(Outcome::Done(row))
}

/// Moves the rows of reports to a disk of their own: only this one fills up, and the rest of Postgres still works.
///
/// # Errors
/// Postgres cannot have the disk.
pub async fn put_reports_on(disk: &SmallDisk, database_url: &str) -> anyhow::Result<()> {
    let owner = owner_pool(database_url).await?;
    for statement in [
        format!("CREATE TABLESPACE small LOCATION '{}'", disk.folder().display()),
        "ALTER TABLE trawl_store.job_reports SET TABLESPACE small".to_owned(),
        "ALTER TABLE trawl_store.curves SET TABLESPACE small".to_owned(),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&owner).await?;
    }
    Ok(())
}

async fn undisturbed(study: v1::Study) -> anyhow::Result<Rows> {
    let mut system = System::start(&[]).await?;
    system.add_workers(1)?;
    system.submit(study).await?;
    system.watch_to_end(STUDY).await?;
    system.all_rows(STUDY).await
}

async fn summary(system: &System) -> anyhow::Result<v1::StudySummary> {
    let request = v1::GetStudyRequest { study: STUDY.into() };
    let answer = system.studies().await?.get_study(request).await?.into_inner();
    Ok(answer.study.unwrap_or_default())
}

/// At random moments, as long as the study trains: fills the disk until the study pauses, frees it, and resumes the study.
async fn fill_again_and_again(
    system: &System,
    chance: &mut Stream,
    (fill, free): (impl Fn() -> anyhow::Result<()>, impl Fn() -> anyhow::Result<()>),
    reason: &str,
    row: &mut Row,
) -> anyhow::Result<()> {
    system
        .watch_until(STUDY, "first epochs", |study| study.epochs_reported > 0)
        .await?;
    while row.injected < ROUNDS {
        sleep(Duration::from_micros(chance.below(BETWEEN_MAX.as_micros() as u64))).await;
        let found = look_for("the study to pause", async || {
            // The sweep may have made room meanwhile.
            fill()?;
            let study = summary(system).await?;
            Ok((study.state != "running").then_some(study))
        })
        .await?;
        free()?;
        if found.state != "paused" {
            break;
        }
        row.injected += 1;
        row.expect(found.pause_reason == reason, || {
            format!("it paused because {}", found.pause_reason)
        });
        let request = v1::ResumeStudyRequest { study: STUDY.into() };
        system.studies().await?.resume_study(request).await?;
    }
    Ok(())
}

async fn end(system: &System, expected: &Rows, row: &mut Row) -> anyhow::Result<()> {
    let study = system.watch_to_end(STUDY).await?;
    row.expect(study.state == "completed", || study.error.clone());
    row.expect(row.injected > 0, || {
        "the study had ended before the disk was full".into()
    });
    let is_same = *expected == system.all_rows(STUDY).await?;
    row.expect(is_same, || "rows differ from the undisturbed run's".into());
    row.see(format!(
        "paused with its reason and resumed, {} times; rows as undisturbed, {} of reports",
        row.injected, study.epochs_reported
    ));
    Ok(())
}
