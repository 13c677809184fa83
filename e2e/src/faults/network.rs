//! A network that loses everything or one way, a slow link, and readers that do not read. Workers on the other side of a link
//! are in network namespaces of their own, as is the whole run: nothing of the machine's network is touched.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::time::sleep;

use super::{FaultFixture, FixtureSettings, Outcome, Settings};
use crate::history::{Operation, Percentiles};
use crate::process::{Process, binary};
use crate::system::look_for;

/// Set by `deploy/faults.sh` where the run has a network namespace of its own.
const NAMESPACE_VARIABLE: &str = "TRAWL_FAULTS_NETNS";
/// Long enough for a connection to be given up: twice 10 s of keep-alive, and some.
const BLACK_HOLE_FOR: Duration = Duration::from_secs(25);
/// Beyond the time limit of a lease.
const ONE_WAY_FOR: Duration = Duration::from_secs(10);
const SLOW_FOR: Duration = Duration::from_secs(25);
/// How long acknowledgements are measured before a fault.
const UNDISTURBED_FOR: Duration = Duration::from_secs(8);
/// How much later others may be acknowledged during a fault, on a machine with an uneven disk.
const OTHERS_RATIO_MAX: f64 = 2.0;
const OTHERS_SLACK: Duration = Duration::from_millis(50);

const FENCED: &str = "leases may have run out unnoticed";
const SENT_AGAIN: &str = "reports that were not acknowledged are sent again";

/// A network namespace with one link to ours. It goes with its process.
struct Namespace {
    holder: Process,
    /// Our end.
    interface: String,
    /// Our address on it.
    address: String,
}

impl Namespace {
    async fn make(number: u8) -> anyhow::Result<Self> {
        let holder = Process::start(Command::new("unshare").args(["--net", "sleep", "infinity"]))?;
        let pid = holder.id().to_string();
        let ours = std::fs::read_link("/proc/self/ns/net")?;
        look_for("a network namespace", async || {
            let its = std::fs::read_link(format!("/proc/{pid}/ns/net"));
            Ok(its.is_ok_and(|its| its != ours).then_some(()))
        })
        .await?;
        let interface = format!("link{number}");
        let (address, its_address) = (format!("10.231.{number}.1"), format!("10.231.{number}.2/24"));
        let here = [
            "ip", "link", "add", &interface, "type", "veth", "peer", "name", "eth0", "netns", &pid,
        ];
        run(&here)?;
        run(&["ip", "addr", "add", &format!("{address}/24"), "dev", &interface])?;
        run(&["ip", "link", "set", &interface, "up"])?;
        let namespace = Self {
            holder,
            interface,
            address,
        };
        namespace.run_inside(&["ip", "link", "set", "lo", "up"])?;
        namespace.run_inside(&["ip", "addr", "add", &its_address, "dev", "eth0"])?;
        namespace.run_inside(&["ip", "link", "set", "eth0", "up"])?;
        Ok(namespace)
    }

    fn enter(&self) -> String {
        format!("--net=/proc/{}/ns/net", self.holder.id())
    }

    fn run_inside(&self, command: &[&str]) -> anyhow::Result<()> {
        let enter = self.enter();
        run(&[&["nsenter", &enter], command].concat())
    }

    /// A program that ends in a worker inside.
    fn worker(&self) -> anyhow::Result<Command> {
        let mut program = Command::new("nsenter");
        program.arg(self.enter()).arg(binary("trawl-worker")?);
        Ok(program)
    }

    /// Drops packets from inside, to inside, or both.
    fn lose(&self, from: bool, to: bool) -> anyhow::Result<()> {
        run(&["nft", "add", "table", "inet", "faults"])?;
        for (is_lost, chain, hook, end) in [(from, "in", "input", "iifname"), (to, "out", "output", "oifname")] {
            if is_lost {
                let hook = format!("{{ type filter hook {hook} priority 0; }}");
                run(&["nft", "add", "chain", "inet", "faults", chain, &hook])?;
                run(&[
                    "nft",
                    "add",
                    "rule",
                    "inet",
                    "faults",
                    chain,
                    end,
                    &self.interface,
                    "drop",
                ])?;
            }
        }
        Ok(())
    }

    fn heal(&self) -> anyhow::Result<()> {
        run(&["nft", "delete", "table", "inet", "faults"])
    }

    /// 64 kbit/s each way, with at most half a second's data on its way.
    fn slow_down(&self) -> anyhow::Result<()> {
        let slow = ["root", "tbf", "rate", "64kbit", "burst", "4kb", "latency", "500ms"];
        run(&[&["tc", "qdisc", "add", "dev", &self.interface], &slow[..]].concat())?;
        self.run_inside(&[&["tc", "qdisc", "add", "dev", "eth0"], &slow[..]].concat())
    }
}

fn run(command: &[&str]) -> anyhow::Result<()> {
    let (program, args) = command.split_first().context("no command")?;
    let output = Command::new(program).args(args).output();
    let output = output.with_context(|| format!("cannot run {program}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {errors}", command.join(" "));
    Ok(())
}

/// Why this machine cannot do it, if it cannot.
fn lacks() -> Option<String> {
    if std::env::var_os(NAMESPACE_VARIABLE).is_none() {
        return Some("needs root and network namespaces".into());
    }
    let is_there = |tool: &str| {
        ["/usr/sbin", "/sbin", "/usr/bin", "/bin"]
            .iter()
            .any(|dir| Path::new(dir).join(tool).exists())
    };
    let missing = ["ip", "nft", "tc", "nsenter", "unshare"]
        .into_iter()
        .find(|tool| !is_there(tool))?;
    Some(format!("needs {missing}"))
}

/// A fixture with one worker that trains here, and two on the other side of a link.
async fn fixture(name: &'static str, settings: &Settings) -> anyhow::Result<(FaultFixture, Namespace)> {
    let fixture_settings = FixtureSettings {
        real: 1,
        lease_ttl: Duration::from_secs(4),
        // Inside a namespace of the run's own.
        listen: "0.0.0.0:0".into(),
        flags: vec!["--insecure".into()],
        ..FixtureSettings::new(name)
    };
    let mut fixture = FaultFixture::start(fixture_settings, settings).await?;
    let namespace = Namespace::make(1).await?;
    let port = fixture.url.rsplit(':').next().context("a URL without a port")?;
    let url = format!("http://{}:{port}", namespace.address);
    for _ in 0..2 {
        let worker = fixture.start_worker_by(namespace.worker()?, &url).await?;
        fixture.real.push(worker);
    }
    Ok((fixture, namespace))
}

/// Waits until both workers on the other side have jobs.
async fn both_at_work(fixture: &FaultFixture) -> anyhow::Result<()> {
    look_for("work on the other side", async || {
        for worker in &fixture.real[1..] {
            if fixture.leases_of(&worker.worker_id).await?.is_empty() {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
    .await
}

/// How late the reports of scripted workers were acknowledged that were sent in this time.
fn acknowledged_in(fixture: &FaultFixture, from: Duration, to: Duration) -> Percentiles {
    let is_meant =
        |operation: &Operation| operation.is_report() && operation.is_ok() && (from..to).contains(&operation.invoked);
    Percentiles::of(&fixture.load.history().latencies(is_meant))
}

/// Loses everything between two workers and the coordinator, and then one way and the other.
pub(super) async fn black_hole(settings: &Settings) -> anyhow::Result<Outcome> {
    if let Some(why) = lacks() {
        return Ok(Outcome::Skipped(why));
    }
    let (fixture, namespace) = fixture("network-black-hole", settings).await?;
    let from = fixture.load.history().now();
    sleep(UNDISTURBED_FOR).await;
    let undisturbed = acknowledged_in(&fixture, from, fixture.load.history().now());
    let mut during = Vec::new();
    let losses = [
        (true, true, BLACK_HOLE_FOR),
        (true, false, ONE_WAY_FOR),
        (false, true, ONE_WAY_FOR),
    ];
    for (lost_from, lost_to, lost_for) in losses {
        both_at_work(&fixture).await?;
        let from = fixture.load.history().now();
        namespace.lose(lost_from, lost_to)?;
        sleep(lost_for).await;
        during.push(acknowledged_in(&fixture, from, fixture.load.history().now()));
        namespace.heal()?;
    }
    both_at_work(&fixture).await?;
    let peak = fixture.coordinator_peak_kib()?;
    let closed = fixture.end(losses.len()).await?;
    drop(namespace);
    let mut row = closed.row;
    let (fenced, again) = (
        closed.worker_logs.matches(FENCED).count(),
        closed.worker_logs.matches(SENT_AGAIN).count(),
    );
    row.see(format!(
        "nothing for {} s, then one way and the other for {} s: workers fenced themselves {fenced} times and sent reports again \
         {again} times; others' acknowledgements undisturbed {undisturbed}, during it {}, {}, {}; coordinator's peak {} MiB",
        BLACK_HOLE_FOR.as_secs(),
        ONE_WAY_FOR.as_secs(),
        during[0],
        during[1],
        during[2],
        peak >> 10
    ));
    row.expect(fenced >= losses.len(), || {
        format!("workers fenced themselves {fenced} times")
    });
    row.expect(again > 0, || "nothing was sent again".into());
    for during in during {
        let limit = undisturbed.p99.mul_f64(OTHERS_RATIO_MAX) + OTHERS_SLACK;
        row.expect(during.p99 < limit, || {
            format!("others were acknowledged late: {during}")
        });
    }
    Ok(Outcome::Done(row))
}

/// Two workers behind a slow link.
pub(super) async fn slow_link(settings: &Settings) -> anyhow::Result<Outcome> {
    if let Some(why) = lacks() {
        return Ok(Outcome::Skipped(why));
    }
    let (fixture, namespace) = fixture("network-slow-link", settings).await?;
    both_at_work(&fixture).await?;
    let from = fixture.load.history().now();
    sleep(UNDISTURBED_FOR).await;
    let slow_from = fixture.load.history().now();
    let undisturbed = acknowledged_in(&fixture, from, slow_from);
    namespace.slow_down()?;
    sleep(SLOW_FOR).await;
    let during = acknowledged_in(&fixture, slow_from, fixture.load.history().now());
    let peak = fixture.coordinator_peak_kib()?;
    // The rest of the studies is done by the others.
    let closed = fixture.end(1).await?;
    drop(namespace);
    let mut row = closed.row;
    let ended = |outcome: &str| {
        let of = closed.stored.attempts.iter().filter(|attempt| {
            attempt.outcome.as_deref() == Some(outcome) && attempt.ended.is_some_and(|ended| ended > slow_from)
        });
        of.count()
    };
    row.see(format!(
        "64 kbit/s each way for {} s and to the end; others' acknowledgements undisturbed {undisturbed}, during it {during}; \
         {} leases ran out; coordinator's peak {} MiB",
        SLOW_FOR.as_secs(),
        ended("expired"),
        peak >> 10
    ));
    let limit = undisturbed.p99.mul_f64(OTHERS_RATIO_MAX) + OTHERS_SLACK;
    row.expect(during.p99 < limit, || {
        format!("others were acknowledged late: {during}")
    });
    Ok(Outcome::Done(row))
}
