//! What ended leaves after a stated time, and what anybody may make without end has a limit.

use sqlx::PgPool;
use tonic::Code;
use trawl_e2e::{Ask, ScriptedWorker, System, call, code_of, look_for, studies};

const OPERATOR: &str = "the-operators-own-token";

async fn age(owner: &PgPool, update: &'static str, worker: &ScriptedWorker) -> anyhow::Result<()> {
    sqlx::query(update).bind(worker.id()).execute(owner).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_are_gone_are_forgotten_and_their_attempts_stay() -> anyhow::Result<()> {
    let system = System::start(&["--lease-ttl-ms", "3600000"]).await?;
    system.submit(studies::one_job("job", 1, 1)?).await?;
    let owner = system.owner().await?;
    let mut workers = Vec::new();
    for _ in 0..4 {
        workers.push(ScriptedWorker::register(&system).await?);
    }
    let job = workers[0].lease_one().await?;
    assert!(workers[0].release(&job, "drain", "").await?);
    workers[1].lease_one().await?;
    // Two that are gone, one that holds a lease, and one that was here yesterday.
    let stopped = "UPDATE trawl_store.workers SET stopped_at = clock_timestamp() - interval '25 hours'
                   WHERE worker_id = $1::uuid";
    let unseen = "UPDATE trawl_store.workers SET last_seen_at = clock_timestamp() - interval '31 days'
                  WHERE worker_id = $1::uuid";
    let yesterday = "UPDATE trawl_store.workers SET last_seen_at = clock_timestamp() - interval '29 days'
                     WHERE worker_id = $1::uuid";
    for (worker, update) in workers.iter().zip([stopped, unseen, unseen, yesterday]) {
        age(&owner, update, worker).await?;
    }
    let left = look_for("the end of two workers", async || {
        let left: Vec<String> = owner
            .values("SELECT worker_id::text FROM trawl_store.workers ORDER BY 1")
            .await?;
        Ok((left.len() < 4).then_some(left))
    })
    .await?;
    let mut expected = [workers[1].id().to_owned(), workers[3].id().to_owned()];
    expected.sort();
    assert_eq!(left, expected);
    let attempts: Vec<String> = owner
        .values("SELECT worker_id::text FROM trawl_store.job_attempts ORDER BY lease_epoch")
        .await?;
    assert_eq!(attempts, [workers[0].id(), workers[1].id()]);
    let gone = workers[0].heartbeat(&[]).await;
    assert_eq!(code_of(gone), Code::NotFound, "it is forgotten, and registers again");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_ended_are_forgotten_and_the_door_stays_closed() -> anyhow::Result<()> {
    let system = System::start(&["--token", OPERATOR]).await?;
    let owner = system.owner().await?;
    let mut admin = system.admin(OPERATOR).await?;
    for name in ["first", "second", "last"] {
        admin.create(name, "reader", Some(3_600)).await?;
    }
    let lately = admin.create("lately", "reader", None).await?;
    admin.revoke("first").await?;
    admin.revoke("lately").await?;
    sqlx::query(
        "UPDATE trawl_store.tokens SET created_at = created_at - interval '1 year',
                                       expires_at = expires_at - interval '91 days',
                                       revoked_at = revoked_at - interval '91 days'
         WHERE name <> 'lately'",
    )
    .execute(&owner)
    .await?;
    let names = async || -> anyhow::Result<Vec<String>> {
        owner
            .values("SELECT name FROM trawl_store.tokens ORDER BY created_at")
            .await
    };
    look_for("the end of three tokens", async || {
        Ok((names().await? == ["lately"]).then_some(()))
    })
    .await?;
    sqlx::query("UPDATE trawl_store.tokens SET revoked_at = revoked_at - interval '91 days'")
        .execute(&owner)
        .await?;

    // The last one stays, as a coordinator without the operator's token would be open to all without it.
    let (_coordinator, client) = system.another_coordinator(&[]).await?;
    let channel = client.channel().await?;
    // Its first round is over once it has swept what was due.
    sqlx::query(
        "INSERT INTO trawl_store.pending_objects (object_key, due_at) VALUES ('artifacts/none', clock_timestamp())",
    )
    .execute(&owner)
    .await?;
    look_for("a round of the coordinator", async || {
        let due: i64 = owner.value("SELECT count(*) FROM trawl_store.pending_objects").await?;
        Ok((due == 0).then_some(()))
    })
    .await?;
    assert_eq!(names().await?, ["lately"]);
    for token in [None, Some(lately.as_str())] {
        let answer = call(&channel, "StudyService/ListStudies", token, &()).await;
        assert_eq!(code_of(answer), Code::Unauthenticated, "the door is closed");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_that_were_handed_back_do_not_pile_up() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    system.submit(studies::one_job("job", 1, 1)?).await?;
    let mut worker = ScriptedWorker::register(&system).await?;
    let failed = worker.lease_one().await?;
    assert!(worker.release(&failed, "error", "once").await?);
    let mut last = None;
    for _ in 0..130 {
        let job = worker.lease_one().await?;
        assert!(worker.release(&job, "drain", "").await?);
        last = Some(job);
    }
    let last = last.expect("it was leased");
    assert!(
        worker.release(&last, "drain", "").await?,
        "a repeated release is answered like the first"
    );
    let attempts: Vec<(String, i64)> = system
        .owner()
        .await?
        .tuples("SELECT outcome, count(*) FROM trawl_store.job_attempts GROUP BY outcome ORDER BY outcome")
        .await?;
    assert_eq!(attempts, [("drained".to_owned(), 100), ("failed".to_owned(), 1)]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_so_many_workers_are_known_and_silent_ones_make_room() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    let owner = system.owner().await?;
    sqlx::query(
        "INSERT INTO trawl_store.workers (worker_id, host, device, slots, version, lost_after)
         SELECT gen_random_uuid(), 'crowd', 'cpu', 1, '0', interval '1 hour' FROM generate_series(1, 10000)",
    )
    .execute(&owner)
    .await?;
    let known = async || -> anyhow::Result<(i64, i64)> {
        let sql = "SELECT count(*), count(*) FILTER (WHERE host = 'crowd') FROM trawl_store.workers";
        Ok(sqlx::query_as(sql).fetch_one(&owner).await?)
    };
    let (one, other) = (
        "11111111-2222-4333-8444-555555555555",
        "11111111-2222-4333-8444-666666666666",
    );
    let mut client = system.worker_client().await?;
    let register = ScriptedWorker::registration;
    let refused = client.register_worker(register(one)).await;
    assert_eq!(code_of(refused), Code::ResourceExhausted, "all of them live");
    assert_eq!(known().await?, (10_000, 10_000));

    let ended = "UPDATE trawl_store.workers SET stopped_at = clock_timestamp()
                 WHERE worker_id = (SELECT worker_id FROM trawl_store.workers LIMIT 1)";
    sqlx::query(ended).execute(&owner).await?;
    client.register_worker(register(one)).await?;
    client.register_worker(register(one)).await?;
    assert_eq!(known().await?, (10_000, 9_999), "one that stopped made room");
    let lost = "UPDATE trawl_store.workers SET last_seen_at = clock_timestamp() - interval '2 hours'
                WHERE worker_id = (SELECT worker_id FROM trawl_store.workers WHERE host = 'crowd' LIMIT 1)";
    sqlx::query(lost).execute(&owner).await?;
    client.register_worker(register(other)).await?;
    assert_eq!(known().await?, (10_000, 9_998), "one that is lost made room");
    Ok(())
}
