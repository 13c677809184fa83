//! The table of all rows, as text.

use std::time::Duration;

use super::{Fault, Outcome};

const WIDTHS: [usize; 8] = [22, 9, 10, 6, 8, 12, 15, 6];

/// Its first lines.
pub fn heading() -> String {
    let names = [
        "fault",
        "injected",
        "acknowl.",
        "lost",
        "doubled",
        "stale tried",
        "stale accepted",
        "s",
    ];
    let line = cells(&names.map(str::to_owned));
    format!("{line}  what was seen")
}

/// The line of a row, and below it what broke.
pub fn line(fault: &Fault, outcome: &anyhow::Result<Outcome>, took: Duration) -> String {
    named_line(fault.name, outcome, took)
}

/// The same under any name.
pub fn named_line(name: &str, outcome: &anyhow::Result<Outcome>, took: Duration) -> String {
    let seconds = format!("{:.0}", took.as_secs_f64());
    let none = || [const { String::new() }; 6];
    match outcome {
        Ok(Outcome::Done(row)) => {
            let found = &row.findings;
            let counts = [
                row.injected,
                found.acknowledged,
                found.lost,
                found.doubled,
                found.stale_tried,
                found.stale_accepted,
            ];
            let mut text = with_counts(name, counts.map(|count| count.to_string()), seconds);
            text.push_str(&format!("  {}", row.seen.join("; ")));
            for broken in row.failures.iter().chain(&found.broken) {
                text.push_str(&format!("\n    FAILED: {broken}"));
            }
            text
        }
        Ok(Outcome::Skipped(why)) => format!("{}  skipped: {why}", with_counts(name, none(), seconds)),
        Err(error) => format!("{}\n    FAILED: {error:#}", with_counts(name, none(), seconds)),
    }
}

/// True if the row says that something does not hold.
pub fn failed(outcome: &anyhow::Result<Outcome>) -> bool {
    match outcome {
        Ok(Outcome::Done(row)) => !row.holds(),
        Ok(Outcome::Skipped(_)) => false,
        Err(_) => true,
    }
}

fn with_counts(name: &str, counts: [String; 6], seconds: String) -> String {
    let [injected, acknowledged, lost, doubled, tried, accepted] = counts;
    let name = name.to_owned();
    cells(&[name, injected, acknowledged, lost, doubled, tried, accepted, seconds])
}

fn cells(texts: &[String; 8]) -> String {
    let first = format!("{:<width$}", texts[0], width = WIDTHS[0]);
    let others = texts.iter().zip(WIDTHS).skip(1);
    others.fold(first, |line, (text, width)| format!("{line} {text:>width$}"))
}
