//! The table of all rows, as text.

use std::time::Duration;

use super::Outcome;

const WIDTHS: [usize; 5] = [22, 9, 10, 12, 6];

/// Its first lines.
pub fn heading() -> String {
    let names = ["fault", "injected", "acknowl.", "stale tried", "s"];
    format!("{}  what was seen", cells(&names.map(str::to_owned)))
}

/// The line of a row, and below it what broke.
pub fn line(name: &str, outcome: &anyhow::Result<Outcome>, took: Duration) -> String {
    let seconds = format!("{:.0}", took.as_secs_f64());
    let with = |[injected, acknowledged, tried]: [String; 3]| {
        cells(&[name.to_owned(), injected, acknowledged, tried, seconds.clone()])
    };
    let nothing = || with([const { String::new() }; 3]);
    match outcome {
        Ok(Outcome::Done(row)) => {
            let found = &row.findings;
            let counts = [row.injected, found.acknowledged, found.stale_tried];
            let mut text = with(counts.map(|count| count.to_string()));
            text.push_str(&format!("  {}", row.seen.join("; ")));
            for broken in row.failures.iter().chain(&found.broken) {
                text.push_str(&format!("\n    FAILED: {broken}"));
            }
            text
        }
        Ok(Outcome::Skipped(why)) => format!("{}  skipped: {why}", nothing()),
        Err(error) => format!("{}\n    FAILED: {error:#}", nothing()),
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

fn cells(texts: &[String; 5]) -> String {
    let first = format!("{:<width$}", texts[0], width = WIDTHS[0]);
    let others = texts.iter().zip(WIDTHS).skip(1);
    others.fold(first, |line, (text, width)| format!("{line} {text:>width$}"))
}
