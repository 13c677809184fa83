//! Page tokens: where the next page begins, as text. Texts that this coordinator would not have written are refused
//! before they reach a query.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use tonic::Status;
use trawl_domain::limits::{EPOCHS_MAX, TRIALS_MAX};
use trawl_domain::seed::FitOwner;

use super::status::invalid_field;
use crate::store::artifacts::Position;

/// The end of the year 9999: no later time was ever noted, and Postgres cannot hold much later ones.
const MICROS_MAX: i64 = 253_402_300_800_000_000;

/// The position that a page begins after; `None` for the first page.
///
/// # Errors
/// The text is no token.
pub(super) fn read<T>(
    text: &str,
    parse: impl Fn(&str) -> Option<T>,
    write: impl Fn(&T) -> String,
) -> Result<Option<T>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    let position = parse(text).filter(|position| write(position) == text);
    let refused = || invalid_field("page_token", "is not the next_page_token of a page before");
    position.map(Some).ok_or_else(refused)
}

/// After the item with this time and id.
pub(super) fn read_moment<Id: FromStr + ToString>(text: &str) -> Result<Option<(DateTime<Utc>, Id)>, Status> {
    let parse = |text: &str| {
        let (micros, id) = text.split_once('.')?;
        let micros = micros.parse().ok().filter(|micros| (0..MICROS_MAX).contains(micros))?;
        Some((DateTime::from_timestamp_micros(micros)?, id.parse().ok()?))
    };
    read(text, parse, |(at, id)| moment(*at, id))
}

/// The token of [`read_moment`].
pub(super) fn moment(at: DateTime<Utc>, id: &impl ToString) -> String {
    format!("{}.{}", at.timestamp_micros(), id.to_string())
}

/// From the trial of this number on.
pub(super) fn read_trial(text: &str) -> Result<u32, Status> {
    let parse = |text: &str| text.parse().ok().filter(|trial| *trial <= TRIALS_MAX);
    Ok(read(text, parse, u32::to_string)?.unwrap_or(0))
}

/// After the report of a fold, by its place, and an epoch.
pub(super) fn read_report(text: &str) -> Result<Option<(u32, u32)>, Status> {
    let parse = |text: &str| {
        let (fold, epoch) = text.split_once('.')?;
        let (fold, epoch): (u32, u32) = (fold.parse().ok()?, epoch.parse().ok()?);
        (i32::try_from(fold).is_ok() && epoch < EPOCHS_MAX).then_some((fold, epoch))
    };
    read(text, parse, |(fold, epoch)| report(*fold, *epoch))
}

/// The token of [`read_report`].
pub(super) fn report(fold: u32, epoch: u32) -> String {
    format!("{fold}.{epoch}")
}

/// After an artifact.
pub(super) fn read_artifact(text: &str) -> Result<Option<Position>, Status> {
    let parse = |text: &str| {
        let (kind, rest) = text.split_once('.')?;
        let (number, name) = rest.split_once('.')?;
        let number = number.parse().ok().filter(|number| i32::try_from(*number).is_ok())?;
        let owner = match kind {
            "refit" => FitOwner::Refit(number),
            "trial" => FitOwner::Trial(number),
            _ => return None,
        };
        is_artifact_name(name).then(|| Position {
            owner,
            name: name.to_owned(),
        })
    };
    read(text, parse, |position| artifact(position.owner, &position.name))
}

/// True for a valid artifact name.
fn is_artifact_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=128).contains(&name.len()) && name.chars().all(allowed)
}

/// The token of [`read_artifact`].
pub(super) fn artifact(owner: FitOwner, name: &str) -> String {
    match owner {
        FitOwner::Refit(refit) => format!("refit.{refit}.{name}"),
        FitOwner::Trial(trial) => format!("trial.{trial}.{name}"),
    }
}

#[cfg(test)]
mod tests {
    use trawl_domain::id::StudyId;
    use uuid::Uuid;

    use super::*;

    const ID: &str = "7f0c5f0e-0f3c-4a53-9d8b-7a3e1f0c9b11";

    #[test]
    fn a_page_begins_where_a_page_ended_and_nowhere_else() {
        let at = DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap();
        let id = StudyId(Uuid::parse_str(ID).unwrap());
        let token = moment(at, &id);
        assert_eq!(read_moment(&token).unwrap(), Some((at, id)));
        for micros in [
            "-8334601228800000000",
            "-1",
            "253402300800000000",
            "+1",
            "01",
            " 1",
            "",
            "x",
        ] {
            assert!(read_moment::<StudyId>(&format!("{micros}.{ID}")).is_err(), "{micros}");
        }
        for text in [
            "x",
            ".",
            "1.",
            "1.x",
            "1\0",
            &format!("1.{ID}x"),
            &format!("1.{}", ID.to_uppercase()),
        ] {
            assert!(read_moment::<StudyId>(text).is_err(), "{text}");
        }
        assert_eq!(read_trial(&12.to_string()).unwrap(), 12);
        for text in ["-1", "+1", "01", "4294967295", "1000001", "1.0", "\0"] {
            assert!(read_trial(text).is_err(), "{text}");
        }
        assert_eq!(read_report(&report(3, 4)).unwrap(), Some((3, 4)));
        for text in ["1", "1.", "1.+2", "1.100000", "2147483648.1", "1.1.1"] {
            assert!(read_report(text).is_err(), "{text}");
        }
        for owner in [FitOwner::Refit(0), FitOwner::Trial(7)] {
            let read = read_artifact(&artifact(owner, "a.json")).unwrap().unwrap();
            assert_eq!((read.owner, read.name.as_str()), (owner, "a.json"));
        }
        for text in [
            "trial.1",
            "trial.1.",
            "trial.1.a b",
            "trial.2147483648.a",
            "fold.1.a",
            "trial.01.a",
            "trial.1.\0",
        ] {
            assert!(read_artifact(text).is_err(), "{text}");
        }
        assert!(read_trial("").unwrap() == 0 && read_report("").unwrap().is_none());
    }
}
