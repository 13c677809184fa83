//! `.npz` archives of NumPy's arrays.

use super::archive::Archive;
use super::array::Array;
use super::input::Input;
use super::near::near;
use super::signature::FileKind;
use super::{Allowance, Content, Layout, ReadError, Reason, Role, Samples, TargetKind, npy};

/// Names of the arrays of one part in an archive.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ArrayNames {
    /// Array that goes into the network.
    pub features: String,
    /// Array to be predicted; `None` in a test part that nobody has labelled.
    pub target: Option<String>,
}

/// Names of the arrays of both parts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Arrays {
    /// Those of the training part.
    pub train: ArrayNames,
    /// Those of the test part.
    pub test: ArrayNames,
}

/// Reads two arrays of an archive, one after the other. A test part is unlabelled that has no target, or that has not the one of the
/// training part.
pub(super) fn read(
    content: &dyn Content,
    arrays: &Arrays,
    layout: Option<Layout>,
    kind: TargetKind,
    role: Role<'_>,
    allowance: &mut Allowance<'_>,
) -> Result<Samples, ReadError> {
    let names = match role {
        Role::Train => &arrays.train,
        Role::Test { .. } => &arrays.test,
    };
    // What is no archive is told what it is.
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
        return match role {
            Role::Train => Err(ReadError::features("has no array to be predicted")),
            Role::Test { .. } => Ok(Samples::new(rows, None)),
        };
    };
    let Some(target) = array(content, name)? else {
        let missing = missing(content, name);
        let is_left_out = matches!(role, Role::Test { .. }) && arrays.train.target.as_ref() == Some(name);
        return if is_left_out {
            Ok(Samples::new(rows, None))
        } else {
            Err(missing)
        };
    };
    let targets = target.targets(rows.rows, kind, role, None, allowance);
    Ok(Samples::new(rows, Some(targets.map_err(|error| within(name, error))?)))
}

/// An array of the archive, as far as its header; `None` if there is none of the name.
fn array<'a>(content: &'a dyn Content, name: &str) -> Result<Option<Array<'a>>, ReadError> {
    let archive = Archive::open(content).map_err(ReadError::features)?;
    let member = archive.member(&format!("{name}.npy"));
    let array = member.and_then(|member| {
        let array = |(member, bytes)| npy::array(Box::new(member), Some(bytes), bytes);
        member.map(array).transpose()
    });
    array.map_err(|reason| ReadError::features(reason).within(&format!("array '{name}'")))
}

fn missing(content: &dyn Content, name: &str) -> ReadError {
    let names: Vec<String> = match Archive::open(content) {
        Ok(archive) => archive.names().take(80).collect(),
        Err(reason) => return ReadError::features(reason),
    };
    let names: Vec<&str> = names
        .iter()
        .map(|name| name.strip_suffix(".npy").unwrap_or(name))
        .collect();
    let near = near(name, names.iter().copied());
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
