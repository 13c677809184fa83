//! Several coordinators on one database: one dies, nothing stops; and what one uploads is swept by another only once it is dead.

use sqlx::{Connection, PgConnection, PgPool};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use trawl_dataset::FileHash;
use trawl_e2e::{Ask, Client, System, look_for, studies, undisturbed, worker};
use trawl_proto::v1;

#[tokio::test(flavor = "multi_thread")]
async fn a_study_goes_on_when_its_coordinator_dies() -> anyhow::Result<()> {
    let study = studies::from_json(&studies::small("both", 40, 60)?)?;
    let expected = undisturbed(study.clone()).await?;

    let system = System::start(&[]).await?;
    let (second, client) = system.another_coordinator(&[]).await?;
    let both = format!("{},{}", system.coordinator.url, second.url);
    let _workers = [worker(&both, |_| {})?, worker(&both, |_| {})?];
    let total = system.submit(study).await?.epochs_total;
    // The second one knows of everything that the first one does.
    client
        .watch_until("both", "a third of the epochs", |study| {
            study.epochs_reported > total / 3
        })
        .await?;
    let System { coordinator, .. } = system;
    coordinator.process.crash()?;
    client
        .completes_as("both", &expected, "through the second coordinator")
        .await?;
    let attempts: i32 = client
        .value("SELECT max(attempts) FROM trawl.trials WHERE study = 'both'")
        .await?;
    assert_eq!(attempts, 1, "no lease ran out");
    Ok(())
}

/// A dataset file of which the first half has been sent.
struct HalfSent {
    rest: v1::PutDatasetRequest,
    sender: mpsc::Sender<v1::PutDatasetRequest>,
    call: tokio::task::JoinHandle<Result<tonic::Response<v1::PutDatasetResponse>, tonic::Status>>,
}

async fn half(client: &Client, owner: &PgPool, content: &[u8]) -> anyhow::Result<HalfSent> {
    let (first, rest) = content.split_at(content.len() / 2);
    let sha256 = FileHash::of(content);
    let first = v1::PutDatasetRequest {
        sha256: sha256.to_string(),
        bytes: content.len() as u64,
        chunk: first.to_vec(),
    };
    let rest = v1::PutDatasetRequest {
        chunk: rest.to_vec(),
        ..Default::default()
    };
    let (sender, receiver) = mpsc::channel(1);
    let mut studies = client.studies().await?;
    let call = tokio::spawn(async move { studies.put_dataset(ReceiverStream::new(receiver)).await });
    sender.send(first).await?;
    let key = format!("datasets/{sha256}");
    look_for("the note of the upload", async || {
        Ok(is_noted(owner, &key).await?.then_some(()))
    })
    .await?;
    Ok(HalfSent { rest, sender, call })
}

async fn is_noted(owner: &PgPool, key: &str) -> anyhow::Result<bool> {
    let query = "SELECT EXISTS (SELECT FROM trawl_store.pending_objects WHERE object_key = $1)";
    Ok(sqlx::query_scalar(query).bind(key).fetch_one(owner).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_coordinator_uploads_is_swept_once_it_is_dead() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    let owner = system.owner().await?;
    let of_living = half(&system, &owner, b"x,y\n1,2\n3,4\n").await?;
    let (second, client) = system.another_coordinator(&[]).await?;
    let of_dead = b"x,y\n5,6\n7,8\n";
    let cut_off = half(&client, &owner, of_dead).await?;
    second.process.crash()?;
    assert!(cut_off.call.await?.is_err());
    // The sweep that gives this upload up has looked at all uploads, the living coordinator's among them.
    let key = format!("datasets/{}", FileHash::of(of_dead));
    look_for("the sweep", async || Ok((!is_noted(&owner, &key).await?).then_some(()))).await?;

    of_living.sender.send(of_living.rest).await?;
    drop(of_living.sender);
    let kept = of_living.call.await??.into_inner();
    assert!(!kept.already_there);
    assert_eq!(system.objects("datasets")?.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_results_does_not_keep_uploads_of_the_dead() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    let owner = system.owner().await?;
    let (second, client) = system.another_coordinator(&[]).await?;
    let content = b"x,y\n7,8\n9,0\n";
    let key = format!("datasets/{}", FileHash::of(content));
    let cut_off = half(&client, &owner, content).await?;

    // A reader gets the lock of the other coordinator the moment that one is gone.
    sqlx::raw_sql("CREATE ROLE keeps_the_dead LOGIN IN ROLE trawl_reader")
        .execute(&owner)
        .await?;
    let url = system.database_url.replacen("//postgres@", "//keeps_the_dead@", 1);
    let mut reader = PgConnection::connect(&url).await?;
    let (class, number): (i32, i32) = sqlx::query_as(
        "SELECT l.classid::bigint::int, o.coordinator FROM trawl_store.pending_objects o
         JOIN pg_locks l ON l.locktype = 'advisory' AND l.objid::bigint = (o.coordinator::bigint & 4294967295)
         WHERE o.object_key = $1",
    )
    .bind(&key)
    .fetch_one(&owner)
    .await?;
    let taken = tokio::spawn(async move {
        let lock = sqlx::query("SELECT pg_advisory_lock($1, $2)").bind(class).bind(number);
        lock.execute(&mut reader).await.map(|_| reader)
    });
    look_for("a reader that waits for the lock", async || {
        let waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid::bigint = ($1::bigint & 4294967295))";
        let waits: bool = sqlx::query_scalar(waiting).bind(number).fetch_one(&owner).await?;
        Ok(waits.then_some(()))
    })
    .await?;
    second.process.crash()?;
    assert!(cut_off.call.await?.is_err());
    let _reader = taken.await??;
    look_for("the sweep", async || Ok((!is_noted(&owner, &key).await?).then_some(()))).await
}
