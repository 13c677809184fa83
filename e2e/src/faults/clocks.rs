//! Clocks that are an hour off, and that jump, on the coordinator and on workers. The database's clock, by which all leases are
//! counted, is left alone.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;

use super::fixture::{coordinator_program, worker_program};
use super::{Closed, FaultFixture, FixtureSettings, Outcome, Settings};

/// An hour, as libfaketime reads it, fast and slow.
const OFFSETS: [(&str, i64); 2] = [("+3600", 3_600), ("-3600", -3_600)];

/// Runs the coordinator and workers with clocks that are fast, then slow, and lets them jump meanwhile.
pub(super) async fn an_hour_off(settings: &Settings) -> anyhow::Result<Outcome> {
    let Some(library) = library() else {
        return Ok(Outcome::Skipped("needs libfaketime: Debian's package faketime".into()));
    };
    let fixture_settings = FixtureSettings {
        real: 0,
        lease_ttl: Duration::from_secs(5),
        ..FixtureSettings::new("clocks")
    };
    let mut fixture = FaultFixture::start(fixture_settings, settings).await?;
    let clock = |fixture: &FaultFixture, name: &str| Clock::new(&library, fixture.folder().join(name));
    let (coordinators, workers) = (clock(&fixture, "coordinators.clock"), clock(&fixture, "workers.clock"));
    let mut injected = 0;
    for ((offset, seconds), (opposite, _)) in OFFSETS.into_iter().zip(OFFSETS.into_iter().rev()) {
        coordinators.set(offset)?;
        coordinators.ensure_off_by(seconds)?;
        workers.set(opposite)?;
        fixture.kill_coordinator()?;
        let mut program = coordinator_program(&fixture.folder().join("coordinator.log"))?;
        coordinators.show_to(&mut program);
        fixture.start_coordinator_by(program).await?;
        for _ in 0..3 {
            let mut program = worker_program()?;
            workers.show_to(&mut program);
            fixture.add_worker(program).await?;
        }
        fixture.load.acknowledged(1_500).await?;
        // Both jump by two hours, in opposite directions, while everything runs.
        coordinators.set(opposite)?;
        workers.set(offset)?;
        fixture.load.acknowledged(1_500).await?;
        injected += 4;
        fixture.real.clear();
    }
    let Closed { mut row, attempts } = fixture.end(injected).await?;
    let expired = attempts.iter().filter(|attempt| attempt.ended_as("expired")).count();
    row.see(format!(
        "coordinator fast and workers slow, then the other way; each jumps by two hours on its way; {expired} leases ran out \
         (those of 6 workers that were killed among them)"
    ));
    row.expect(expired <= 6, || format!("{expired} leases ran out"));
    Ok(Outcome::Done(row))
}

/// Where packages put it.
fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?;
    let folders = folders.filter_map(|folder| Some(folder.ok()?.path()));
    folders
        .chain([PathBuf::from("/usr/lib")])
        .map(|folder| folder.join("faketime/libfaketimeMT.so.1"))
        .find(|library| library.is_file())
}

/// A clock that processes see instead of the machine's.
struct Clock {
    libfaketime: PathBuf,
    file: PathBuf,
}

impl Clock {
    fn new(libfaketime: &Path, file: PathBuf) -> Self {
        Self {
            libfaketime: libfaketime.to_owned(),
            file,
        }
    }

    /// So far off from now on, in seconds.
    fn set(&self, offset: &str) -> anyhow::Result<()> {
        let part = self.file.with_extension("part");
        std::fs::write(&part, format!("{offset}\n"))?;
        Ok(std::fs::rename(part, &self.file)?)
    }

    /// A wrong clock is one of the day: time that has passed is still counted right.
    fn show_to(&self, program: &mut Command) {
        program
            .env("LD_PRELOAD", &self.libfaketime)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_CACHE_DURATION", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }

    /// That it works at all.
    fn ensure_off_by(&self, seconds: i64) -> anyhow::Result<()> {
        let time = |mut program: Command| -> anyhow::Result<i64> {
            let output = program.arg("+%s").output()?;
            Ok(String::from_utf8(output.stdout)?.trim().parse()?)
        };
        let mut shown = Command::new("date");
        self.show_to(&mut shown);
        let off = time(shown)? - time(Command::new("date"))?;
        ensure!(
            (off - seconds).abs() < 60,
            "a clock that should be {seconds} s off is {off} s off"
        );
        Ok(())
    }
}
