//! `trawl up` that is killed: the next one on the same data folder goes on as if nothing had happened.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use tokio::sync::OnceCell;
use trawl_e2e::{Ports, ProcessTree, Rows, Up, View, binary, ran, studies, undisturbed, wait_for};
use trawl_proto::v1;

const STUDY: &str = "outlived";

fn study() -> anyhow::Result<v1::Study> {
    studies::from_json(&studies::small(STUDY, 24, 50)?)
}

/// The rows of the undisturbed study, which one test waits for and the others share.
async fn expected() -> anyhow::Result<&'static Rows> {
    static ROWS: OnceCell<Rows> = OnceCell::const_new();
    ROWS.get_or_try_init(|| async { undisturbed(study()?).await }).await
}

/// Lets `crash` happen amid the study, starts `trawl up` again at once, and looks at the end that the study comes to.
async fn goes_on_after(crash: impl AsyncFnOnce(Up, &ProcessTree, &Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let expected = expected().await?;
    let folder = TempDir::new()?;
    let data_dir = folder.path().join("data");
    let up = Up::start(&data_dir, &Ports::free()).await?;
    up.submit(study()?).await?;
    let seen = up
        .watch_until(STUDY, "a quarter of the epochs", |study| {
            study.epochs_reported > study.epochs_total / 4
        })
        .await?;
    let (ports, first_tree) = (up.ports().clone(), up.tree()?);
    crash(up, &first_tree, &data_dir).await?;

    let up = Up::start(&data_dir, &ports).await?;
    assert_eq!(up.ports(), &ports);
    let found = up.watch_until(STUDY, "the study", |_| true).await?;
    assert_eq!(found.state, "running", "the crash came too late");
    assert!(
        found.epochs_reported >= seen.epochs_reported,
        "{} epoch reports were there, {} are left",
        seen.epochs_reported,
        found.epochs_reported
    );
    let study = up.completes_as(STUDY, expected, "after the crash").await?;
    let reports = expected
        .iter()
        .filter(|(view, _)| [View::EpochReports, View::RefitEpochReports].contains(view));
    assert_eq!(
        reports.map(|(_, rows)| rows.len() as u64).sum::<u64>(),
        study.epochs_reported,
        "each epoch report counts once"
    );
    let query = "SELECT state, count(*) AS trials FROM trawl.trials GROUP BY state";
    let mut sql = Command::new(binary("trawl")?);
    sql.args(["sql", query, "--csv", "--data-dir"]);
    let asked = ran(sql.arg(&data_dir))?;
    assert_eq!(asked.stdout, "state,trials\ncompleted,24\n", "{}", asked.stderr);
    wait_for("the end of what was left behind", first_tree.ended()).await?;
    let stopped = up.stop().await?;
    assert!(stopped.success(), "trawl up: {stopped}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_study_outlives_a_killed_up() -> anyhow::Result<()> {
    goes_on_after(async |up, _, _| up.crash().await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_study_outlives_the_death_of_every_process_at_once() -> anyhow::Result<()> {
    goes_on_after(async |up, tree, _| {
        tree.kill()?;
        up.crash().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_study_outlives_a_killed_postgres() -> anyhow::Result<()> {
    goes_on_after(async |mut up, _, data_dir| {
        let file = std::fs::read_to_string(data_dir.join("postgres/postmaster.pid"))?;
        let postmaster = file.lines().next().unwrap_or_default().parse()?;
        ProcessTree::of(postmaster)?.kill()?;
        // It cannot go on, and says so.
        let ended = up.ended().await?;
        assert_eq!(ended.code(), Some(1), "{ended}");
        Ok(())
    })
    .await
}
