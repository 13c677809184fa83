//! Every RPC, by all kinds of callers, with requests that a seed makes up: each is answered, no answer is a mistake of trawl, and the
//! coordinator goes on.
//!
//! `make fuzz SEEDS=10 CASES=20000` runs more; `make fuzz FROM=0 CASE=123` repeats one case alone.

mod call;
mod case;
mod dice;
mod files;
mod messages;
mod stage;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use anyhow::ensure;
use prost_reflect::DescriptorPool;
use tokio::task::JoinSet;
use tonic::Code;
use trawl_e2e::{Client, Coordinator, StoreAt, binary, fresh_database};

use call::Call;
use case::Callers;
use stage::Stage;

/// Cases that `make test` runs: under a minute.
const CASES: u64 = 10_000;
/// Cases on one stage: they may end its studies.
const ROUND: u64 = 400;
/// Cases under way at once.
const AT_ONCE: usize = 8;
const OPERATOR: &str = "the-operators-own-token";
const ROLES: [&str; 4] = ["admin", "user", "worker", "reader"];

fn number(variable: &str) -> anyhow::Result<Option<u64>> {
    let set = std::env::var(variable).ok().filter(|text| !text.is_empty());
    Ok(set.map(|text| text.parse()).transpose()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_answered_by_a_mistake_of_trawl() -> anyhow::Result<()> {
    let (seeds, from) = (
        number("TRAWL_FUZZ_SEEDS")?.unwrap_or(1),
        number("TRAWL_FUZZ_FROM")?.unwrap_or(0),
    );
    let cases = match number("TRAWL_FUZZ_CASE")? {
        Some(alone) => alone..alone + 1,
        None => 0..number("TRAWL_FUZZ_CASES")?.unwrap_or(CASES),
    };
    for seed in from..from + seeds {
        let answers = fuzz(seed, cases.clone()).await?;
        println!("seed {seed}: {} cases, {answers:?}", cases.end - cases.start);
    }
    Ok(())
}

/// Runs the cases of a seed against a coordinator of their own; how often each code was the answer.
async fn fuzz(seed: u64, cases: Range<u64>) -> anyhow::Result<BTreeMap<String, u64>> {
    let (database_url, folder) = (fresh_database().await?, tempfile::tempdir()?);
    let log = folder.path().join("log");
    let mut program = Command::new(binary("trawl-coordinator")?);
    program.stderr(std::fs::File::create(&log)?).env("RUST_BACKTRACE", "0");
    let store = StoreAt::folder(&folder.path().join("objects"));
    // A test outlives no lease, and is no flood.
    let flags = [
        "--token",
        OPERATOR,
        "--lease-ttl-ms",
        "3600000",
        "--requests-per-second",
        "100000",
    ];
    let mut coordinator = Coordinator::start_by(program, &database_url, &store, &flags, "127.0.0.1:0").await?;
    let url = coordinator.url.clone();
    let client = Client::with_token(&url, &database_url, Some(OPERATOR)).await?;
    let callers = callers(&client).await?;
    let stage = Stage::new(client)?;
    let pool = DescriptorPool::decode(trawl_proto::DESCRIPTOR_SET)?;

    let mut answers = Answers::default();
    let mut first = cases.start;
    while first < cases.end {
        let end = cases.end.min(first + ROUND);
        let known = stage.set(first).await?;
        let mut under_way = JoinSet::new();
        for number in first..end {
            if under_way.len() == AT_ONCE {
                take(&mut under_way, &mut answers).await?;
            }
            let calls = case::calls(seed, number, &known, &callers, &pool);
            under_way.spawn(run(url.clone(), seed, number, calls));
        }
        while !under_way.is_empty() {
            take(&mut under_way, &mut answers).await?;
        }
        ensure!(
            coordinator.process.is_running(),
            "the coordinator ended amid the cases {first} to {end} of seed {seed}"
        );
        let wrong = answers.wrong.join("\n");
        ensure!(wrong.is_empty(), "{wrong}");
        let mistakes = mistakes(&log)?;
        ensure!(
            mistakes.is_empty(),
            "amid the cases {first} to {end} of seed {seed}: {mistakes}"
        );
        first = end;
    }
    // Work goes on.
    stage.set(first).await?;
    ensure!(
        coordinator.process.stop()?.success(),
        "the coordinator does not stop in good order"
    );
    let mistakes = mistakes(&log)?;
    ensure!(mistakes.is_empty(), "{mistakes}");
    Ok(answers.codes)
}

async fn callers(client: &Client) -> anyhow::Result<Callers> {
    let mut admin = client.admin(OPERATOR).await?;
    let mut roles = Vec::new();
    for role in ROLES {
        roles.push(admin.create(&format!("caller-{role}"), role, None).await?);
    }
    Ok(Callers {
        operator: OPERATOR.to_owned(),
        roles,
    })
}

/// Results of cases.
#[derive(Default)]
struct Answers {
    /// How often each code was the answer.
    codes: BTreeMap<String, u64>,
    /// Cases whose answer is wrong, in words.
    wrong: Vec<String>,
}

type Answer = Result<Vec<Option<Code>>, String>;

/// Runs one case.
async fn run(url: String, seed: u64, number: u64, calls: Vec<Call>) -> Answer {
    let mut codes = Vec::new();
    for sent in calls {
        let path = sent.path.clone();
        let answer = call::call(&url, sent).await;
        let again = format!("make fuzz FROM={seed} CASE={number}");
        codes.push(answer.map_err(|wrong| format!("seed {seed}, case {number}: {path}: {wrong}; {again}"))?);
    }
    Ok(codes)
}

async fn take(under_way: &mut JoinSet<Answer>, answers: &mut Answers) -> anyhow::Result<()> {
    match under_way.join_next().await.transpose()? {
        Some(Ok(codes)) => {
            for code in codes {
                let name = code.map_or_else(|| "taken back".to_owned(), |code| format!("{code:?}"));
                *answers.codes.entry(name).or_default() += 1;
            }
        }
        Some(Err(wrong)) => answers.wrong.push(wrong),
        None => {}
    }
    Ok(())
}

/// What the log says of panics and of mistakes of trawl's own.
fn mistakes(log: &Path) -> anyhow::Result<String> {
    let log = std::fs::read(log)?;
    let log = String::from_utf8_lossy(&log);
    let is_mistake = |line: &&str| line.contains("panicked") || line.contains("a mistake of trawl");
    Ok(log.lines().filter(is_mistake).collect::<Vec<_>>().join("\n"))
}
