//! Tables in CSV files.

mod encoding;
mod first_line;
mod kinds;
pub(crate) mod names;
mod records;
pub(crate) mod survey;
mod table;

use self::kinds::{check_quantiles, kinds, truth};
use self::names::Names;
use self::records::{Record, Records};
use self::table::{Gaps, NotRead, Table};
use super::columns::{Columns, Dialect};
use super::inputs::Inputs;
use super::row_keys::RowKeys;
use super::targets::{self, Column, Misplaced};
use super::{Allowance, Content, FeatureRows, ReadError, Reason, Role, Samples, TargetKind};

/// Reads the columns of a file; a test part without the target has unlabelled rows. Lines in errors count from 1.
pub(super) fn read(
    content: &dyn Content,
    columns: &Columns,
    kind: TargetKind,
    role: Role<'_>,
    allowance: &mut Allowance<'_>,
) -> Result<Samples, ReadError> {
    if let Some(inputs) = role.known().and_then(|known| known.inputs.clone()) {
        return read_as(&inputs, content, columns, kind, role, allowance).map_err(NotRead::error);
    }
    // Most tables have only numbers, and then one reading suffices.
    let values = allowance.values;
    let mut records = Records::open(content, &columns.dialect)?;
    let names = Names::new(records.next()?.as_ref(), columns.dialect.header)?;
    let features = names.select(columns)?;
    drop(records);
    let numbers = kinds::all_numbers(&features, &columns.prepare);
    if let Some(inputs) = numbers {
        check_quantiles(&inputs)?;
        match read_as(&inputs, content, columns, kind, role, allowance) {
            Err(NotRead::NotANumber(_)) => {}
            read => return read.map_err(NotRead::error),
        }
    }
    allowance.values = values;
    let inputs = kinds(content, columns, &features, allowance)?;
    check_quantiles(&inputs)?;
    read_as(&inputs, content, columns, kind, role, allowance).map_err(NotRead::error)
}

fn read_as(
    inputs: &Inputs,
    content: &dyn Content,
    columns: &Columns,
    kind: TargetKind,
    role: Role<'_>,
    allowance: &mut Allowance<'_>,
) -> Result<Samples, NotRead> {
    let mut table = Table::open(content, inputs, &columns.dialect, Gaps::AsPrepared)?;
    let places = target_places(&table.names, columns, kind, role)?;
    table.more_targets = places.len().saturating_sub(1) as u32;
    let split = columns.split.as_ref().filter(|_| role == Role::Train);
    let mut keys = match split {
        Some(split) => Some((table.names.place(&split.name)?, RowKeys::new(split.says))),
        None => None,
    };
    let mut targets: Vec<Column<'_>> = places.iter().map(|_| Column::new(kind, role.classes())).collect();
    table.read(allowance, &mut |row| {
        if let Some((place, keys)) = &mut keys {
            let (text, number) = (row.record.field(*place)?, |text: &str| {
                table::number(text, &columns.dialect).ok()
            });
            let pushed = match columns.dialect.is_missing(text) {
                true => Err("has no value, and rows are split by it: fill it, or leave the row out of the file".into()),
                false => keys.push(text, number),
            };
            pushed.map_err(|reason| row.wrong(*place, reason))?;
        }
        for (place, target) in places.iter().zip(&mut targets) {
            let text = row.record.field(*place)?;
            let pushed = match target {
                Column::Numbers(numbers) => table::number(text, &columns.dialect)
                    .and_then(|value| numbers.push(value, row.record.line_of(*place))),
                Column::Classes(classes) => classes.push(text),
                Column::Binary(values) => yes_or_no(text).map(|value| values.push(value)),
            };
            pushed.map_err(|reason| row.wrong(*place, reason))?;
        }
        Ok(())
    })?;
    let rows = table.finish(content, &columns.dialect, allowance)?;
    let finished = columns.targets().zip(targets).map(|(name, target)| {
        target.finish().map_err(|wrong| {
            let Misplaced { place, reason } = wrong;
            let line = place.map_or_else(String::new, |line| format!("line {line}, "));
            ReadError::features(reason).within(&format!("{line}column '{name}':"))
        })
    });
    let targets = targets::side_by_side(finished.collect::<Result<_, _>>()?);
    Ok(Samples {
        inputs: Some(inputs.clone()),
        row_keys: keys.map(|(_, keys)| keys.finish()),
        standardizes_target: columns.prepare.standardizes_target && kind == TargetKind::Number,
        ..Samples::new(rows, targets)
    })
}

/// The value of a cell of a binary target.
fn yes_or_no(text: &str) -> Result<f32, Reason> {
    if let Some((is_so, _)) = truth(text) {
        return Ok(f32::from(u8::from(is_so)));
    }
    let number = text.parse::<f64>().ok();
    number.map_or_else(
        || {
            Err(Reason::quoting(|quote| {
                let text = quote.of(text);
                format!("'{text}' is none of 0 and 1, no and yes, false and true, which loss: bce predicts")
            }))
        },
        targets::binary,
    )
}

/// The places of the target columns; empty for a test part without them.
fn target_places(names: &Names, columns: &Columns, kind: TargetKind, role: Role<'_>) -> Result<Vec<usize>, ReadError> {
    // Classes come from one column: another check refuses further ones.
    let most = if kind == TargetKind::Class { 1 } else { usize::MAX };
    let is_left_out = role.may_be_unlabelled() && {
        let places = columns.targets().map(|target| names.place_if_there(target));
        places.collect::<Result<Vec<_>, _>>()?.iter().all(Option::is_none)
    };
    let targets = columns.targets().filter(|_| !is_left_out).take(most);
    targets.map(|target| names.place(target)).collect()
}

/// Reads only the columns of these inputs. Leaves no row out.
pub(super) fn read_features(
    content: &dyn Content,
    inputs: &Inputs,
    dialect: &Dialect,
    allowance: &mut Allowance<'_>,
) -> Result<FeatureRows, ReadError> {
    let mut table = Table::open(content, inputs, dialect, Gaps::KeepRows)?;
    table.read(allowance, &mut |_| Ok(())).map_err(NotRead::error)?;
    table.finish(content, dialect, allowance).map_err(NotRead::error)
}

/// A record after the header.
struct Row<'r> {
    record: Record<'r>,
    names: &'r Names,
}

/// The next row, with as many fields as there are columns; `None` at the end.
fn next_row<'r>(
    records: &'r mut Records<'_>,
    names: &'r Names,
    allowance: &Allowance<'_>,
) -> Result<Option<Row<'r>>, ReadError> {
    allowance.look().map_err(ReadError::features)?;
    let Some(record) = records.next()? else {
        return Ok(None);
    };
    if record.len() == names.len() {
        return Ok(Some(Row { record, names }));
    }
    let (line, len, named) = (record.line, record.len(), names.len());
    Err(ReadError::features(Reason::quoting(|quote| {
        let (len, named, what) = (quote.of(len), quote.of(named), names.what());
        let hint = record.hint(quote);
        format!("line {line} has {len} fields, and {what} has {named}{hint}")
    })))
}

impl Row<'_> {
    /// An error in a column of the row.
    fn wrong(&self, place: usize, reason: Reason) -> ReadError {
        // The name was requested, so it may be shown.
        let (line, name) = (self.record.line_of(place), self.names.name(place));
        ReadError::features(reason).within(&format!("line {line}, column '{name}':"))
    }
}

#[cfg(test)]
mod tests;
