//! `.npz` archives of NumPy's arrays.

use super::archive::Archive;
use super::array::Array;
use super::reader::Input;
use super::signature::FileKind;
use super::{Allowance, Content, Layout, PartName, ReadError, Reason, Role, Samples, TargetKind, npy};
use crate::spelling::nearest;

/// Names of arrays that are compared with a missing one.
const NAMES_SHOWN: usize = 80;

/// Names of the arrays of one part in an archive.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ArrayNames {
    /// The feature array.
    pub features: String,
    /// The target array; `None` for an unlabelled test part.
    pub target: Option<String>,
}

/// Names of the arrays of all parts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Arrays {
    /// Arrays of the training part.
    pub train: ArrayNames,
    /// Arrays of the validation part.
    pub validation: ArrayNames,
    /// Arrays of the test part.
    pub test: ArrayNames,
}

impl Arrays {
    /// The arrays of a part.
    pub fn of(&self, part: PartName) -> &ArrayNames {
        match part {
            PartName::Train => &self.train,
            PartName::Validation => &self.validation,
            PartName::Test => &self.test,
        }
    }

    /// The field to correct for a missing array of a part; `None` if the name is right, as in the training part.
    pub(super) fn field_of(&self, part: PartName, array: &str) -> Option<String> {
        let names = self.of(part);
        let begin = match part {
            PartName::Train => "",
            PartName::Validation => "validation_",
            PartName::Test => "test_",
        };
        let is_features = names.features == array;
        let is_named_for_all = match is_features {
            true => self.train.features == array,
            false => self.train.target.as_deref() == Some(array),
        };
        let what = if is_features { "features" } else { "target" };
        (part == PartName::Train || !is_named_for_all).then(|| format!("dataset.npz.{begin}{what}"))
    }
}

/// Names of the arrays of packed pictures: [rows, channels, height, width] bytes, and [rows] labels.
pub const PICTURES: [&str; 2] = ["pictures", "labels"];

/// The same names for all parts.
pub(super) fn pictures() -> Arrays {
    let [features, target] = PICTURES.map(str::to_owned);
    let names = ArrayNames {
        features,
        target: Some(target),
    };
    Arrays {
        train: names.clone(),
        validation: names.clone(),
        test: names,
    }
}

/// Reads two arrays of an archive, one after the other. `labels` has the names of labels from 0 on; without it, each
/// label is its own name. A test part is unlabelled if it has no target, or lacks the training part's target array.
pub(super) fn read(
    content: &dyn Content,
    arrays: &Arrays,
    layout: Option<Layout>,
    labels: Option<&[&str]>,
    kind: TargetKind,
    role: Role<'_>,
    allowance: &mut Allowance<'_>,
) -> Result<Samples, ReadError> {
    let names = arrays.of(role.part());
    // A file that is no archive gets a message with its kind.
    Input::open(content, FileKind::Npz).map_err(ReadError::features)?;
    let within = |name: &str, error: ReadError| ReadError {
        in_targets: false,
        ..error.within(&format!("array '{name}'"))
    };
    let name = &names.features;
    let features = || array(content, name)?.ok_or_else(|| missing(content, name));
    let rows = features()?
        .rows(layout, None, &features, allowance)
        .map_err(|error| within(name, error))?;
    let Some(name) = &names.target else {
        return match role.may_be_unlabelled() {
            true => Ok(Samples::new(rows, None)),
            false => Err(ReadError::features("has no array to be predicted")),
        };
    };
    let Some(target) = array(content, name)? else {
        let is_written_otherwise = names_of(content)?.iter().any(|known| known.eq_ignore_ascii_case(name));
        let may_be_left_out = role.may_be_unlabelled() && arrays.train.target.as_ref() == Some(name);
        return if may_be_left_out && !is_written_otherwise {
            Ok(Samples::new(rows, None))
        } else {
            Err(missing(content, name))
        };
    };
    let targets = target.targets(rows.rows, kind, role, labels, allowance);
    Ok(Samples::new(rows, Some(targets.map_err(|error| within(name, error))?)))
}

/// An array of the archive, after its header; `None` if there is none of this name.
fn array<'a>(content: &'a dyn Content, name: &str) -> Result<Option<Array<'a>>, ReadError> {
    let archive = Archive::open(content).map_err(ReadError::features)?;
    let member = archive.member(&format!("{name}.npy"));
    let array = member.and_then(|member| {
        let array = |(member, bytes)| npy::array(Box::new(member), Some(bytes), bytes);
        member.map(array).transpose()
    });
    array.map_err(|reason| ReadError::features(reason).within(&format!("array '{name}'")))
}

/// The names of the first arrays.
fn names_of(content: &dyn Content) -> Result<Vec<String>, ReadError> {
    let archive = Archive::open(content).map_err(ReadError::features)?;
    let name = |file: String| file.strip_suffix(".npy").map(str::to_owned).unwrap_or(file);
    Ok(archive.names().take(NAMES_SHOWN).map(name).collect())
}

fn missing(content: &dyn Content, name: &str) -> ReadError {
    let names = match names_of(content) {
        Ok(names) => names,
        Err(error) => return error,
    };
    let near = nearest(name, names.iter().map(String::as_str));
    let reason = Reason::quoting(|quote| {
        let hint = match near {
            Some(near) if quote.shows() => format!("; did you mean '{}'?", quote.of(near)),
            _ => String::new(),
        };
        format!(
            "has no array '{name}'; its arrays are {}{hint}",
            quote.of(names.join(", "))
        )
    });
    ReadError {
        column: Some(name.to_owned()),
        ..ReadError::features(reason)
    }
}

#[cfg(test)]
mod tests;
