//! A short run of what `make faults` and `make soak` do: faults of some kinds in random order under load, and afterwards the
//! history of all operations held against SQL.

use std::sync::Arc;
use std::time::Duration;

use trawl_e2e::faults::{Kind, Settings, soak};
use trawl_e2e::load::{Reference, Size};

/// One of each quick kind; Postgres crashes in `make faults`.
const KINDS: [Kind; 4] = [
    Kind::KillWorker,
    Kind::KillCoordinator,
    Kind::LoseAnswers,
    Kind::KillConnections,
];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_under_faults_is_stored_once_and_nothing_else_is() -> anyhow::Result<()> {
    let size = Size { trials: 32, epochs: 40 };
    let settings = Settings {
        seed: 7,
        reference: Arc::new(Reference::train(size).await?),
        long_transaction: Duration::ZERO,
    };
    let row = soak(&settings, &KINDS, KINDS.len()).await?;
    assert!(row.holds(), "{row:#?}");
    assert!(row.findings.acknowledged > 1_000, "{row:#?}");
    assert!(row.findings.stale_tried > 0, "nobody came back too late: {row:#?}");
    Ok(())
}
