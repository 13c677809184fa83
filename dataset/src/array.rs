//! An array of numbers from any file: as features, and as targets.

use std::collections::HashMap;
use std::io::{ErrorKind, Read};

use super::element::{Element, Kind, Number};
use super::exactness::{Spans, to_float32};
use super::layout::{Grid, Layout};
use super::reader::unreadable;
use super::targets::{self, Column, Misplaced};
use super::{Allowance, FeatureRows, Features, ReadError, Reason, Role, SampleShape, TargetKind, Targets};
use crate::limits::TARGETS_MAX;

/// Bytes of elements that are converted at once.
const CHUNK_BYTES: usize = 64 << 10;
const TOO_FEW: &str = "has fewer elements than its header says";

/// One array, whose elements have not been read yet.
pub(super) struct Array<'a> {
    sizes: Vec<u64>,
    element: Element,
    is_fortran: bool,
    /// True if bytes are pixels, whatever the shape.
    is_picture: bool,
    len: usize,
    elements: Box<dyn Read + 'a>,
}

/// The header of an array.
pub(super) struct Header {
    pub(super) sizes: Vec<u64>,
    pub(super) element: Element,
    pub(super) is_fortran: bool,
    pub(super) is_picture: bool,
}

impl<'a> Array<'a> {
    /// An array whose elements are not in memory yet; `bytes` is their number of bytes, if known, and `bytes_max` the largest possible one.
    pub(super) fn new(
        header: Header,
        elements: Box<dyn Read + 'a>,
        bytes: Option<u64>,
        bytes_max: u64,
    ) -> Result<Self, Reason> {
        let Header {
            sizes,
            element,
            is_fortran,
            is_picture,
        } = header;
        let len = sizes.iter().try_fold(1_u64, |product, size| product.checked_mul(*size));
        let needed = len.and_then(|len| len.checked_mul(element.bytes as u64));
        if let Some(bytes) = bytes.filter(|bytes| Some(*bytes) != needed) {
            return Err(wrong_bytes(bytes, &sizes, needed));
        }
        let len = len.filter(|_| needed.is_some_and(|needed| needed <= bytes_max));
        let len = len.and_then(|len| usize::try_from(len).ok()).ok_or(TOO_FEW)?;
        Ok(Self {
            sizes,
            element,
            is_fortran,
            is_picture,
            len,
            elements,
        })
    }

    /// As features, row by row. `again` reopens the array, where a second look is needed.
    pub(super) fn rows(
        mut self,
        layout: Option<Layout>,
        asked: Option<SampleShape>,
        again: &dyn Fn() -> Result<Array<'a>, ReadError>,
        allowance: &mut Allowance<'_>,
    ) -> Result<FeatureRows, ReadError> {
        let grid = Grid::new(&self.sizes, self.is_fortran, layout, asked)?;
        allowance.take(grid.rows, grid.shape)?;
        let is_image = self.is_picture || matches!(grid.shape, SampleShape::Image { .. });
        let features = match (self.element.kind, self.element.bytes) {
            // Bytes of images are pixels; bytes of tables are small numbers.
            (Kind::Unsigned, 1) if is_image => Features::Bytes(self.bytes(&grid, allowance)?),
            (Kind::Unsigned, 1) => Features::Whole(self.bytes(&grid, allowance)?),
            (Kind::Bool, _) if !is_image => Features::Whole(self.bytes(&grid, allowance)?),
            _ if self.element.is_exact() => {
                Features::Floats(self.fill(&grid, allowance, |_, number| to_float32(number.value()))?)
            }
            _ => Features::Floats(self.floats(&grid, again, allowance)?),
        };
        Ok(FeatureRows {
            rows: grid.rows,
            shape: grid.shape,
            features,
            replaced: Vec::new(),
        })
    }

    fn bytes(&mut self, grid: &Grid, allowance: &Allowance<'_>) -> Result<Vec<u8>, ReadError> {
        self.fill(grid, allowance, |_, number| Ok(number.value() as u8))
    }

    fn floats(
        &mut self,
        grid: &Grid,
        again: &dyn Fn() -> Result<Array<'a>, ReadError>,
        allowance: &Allowance<'_>,
    ) -> Result<Vec<f32>, ReadError> {
        // All pixels of a channel are one kind of number.
        let columns = match grid.shape {
            SampleShape::Vector(len) | SampleShape::Table { len, .. } => len as usize,
            SampleShape::Sequence { .. } | SampleShape::Image { .. } => 1,
        };
        let mut spans = Spans::new(columns);
        let floats = self.fill(grid, allowance, |place, number| {
            let float = to_float32(number.value())?;
            spans.look(place % columns, number.value(), float, || number.is_whole());
            Ok(float)
        })?;
        if let Some(mut merges) = spans.suspects() {
            let mut places = grid.places();
            again()?.each(allowance, |number| {
                let column = places.next().unwrap_or_default() % columns;
                let looked = merges.look(column, number.value(), number.is_whole());
                looked.map_err(|reason| match grid.shape {
                    SampleShape::Vector(_) | SampleShape::Table { .. } => {
                        ReadError::features(reason).within(&format!("column {column}:"))
                    }
                    SampleShape::Sequence { .. } | SampleShape::Image { .. } => ReadError::features(reason),
                })
            })?;
        }
        Ok(floats)
    }

    /// Puts all elements into their places.
    fn fill<T: Clone + Default>(
        &mut self,
        grid: &Grid,
        allowance: &Allowance<'_>,
        mut convert: impl FnMut(usize, Number) -> Result<T, Reason>,
    ) -> Result<Vec<T>, ReadError> {
        let mut values = vec![T::default(); self.len];
        let mut places = grid.places();
        self.each(allowance, |number| {
            let place = places.next().unwrap_or_default();
            let value = convert(place, number);
            values[place] = value.map_err(|reason| ReadError::features(reason).within(&grid.words(place)))?;
            Ok(())
        })?;
        Ok(values)
    }

    /// As targets of these rows; the allowance for them was taken with the features. `names` has the names of labels
    /// from 0 on; without it, each label is the name of its class.
    pub(super) fn targets(
        mut self,
        rows: u32,
        kind: TargetKind,
        role: Role<'_>,
        names: Option<&[&str]>,
        allowance: &mut Allowance<'_>,
    ) -> Result<Targets, ReadError> {
        let width = match *self.sizes.as_slice() {
            [len] if len == u64::from(rows) => 1,
            [len, width] if len == u64::from(rows) => width,
            _ => 0,
        };
        let widest = if kind == TargetKind::Class {
            1
        } else {
            TARGETS_MAX as u64
        };
        if !(1..=widest).contains(&width) {
            return Err(ReadError::targets(Reason::quoting(|quote| {
                let (sizes, rows) = (quote.of(format!("{:?}", self.sizes)), quote.of(rows));
                let is_one_hot = matches!(*self.sizes.as_slice(), [_, width] if width > 1 && kind == TargetKind::Class);
                let hint = if is_one_hot && quote.shows() {
                    "; if each class has a column, save numpy.argmax(a, axis=1)"
                } else {
                    ""
                };
                let hint = match *self.sizes.as_slice() {
                    [_, width] if kind != TargetKind::Class && width > TARGETS_MAX as u64 => {
                        format!("; at most {TARGETS_MAX} numbers are predicted of a row")
                    }
                    _ => hint.to_owned(),
                };
                format!("has shape {sizes}, and there are {rows} rows of features{hint}")
            })));
        }
        let known: Option<Vec<String>> = match (role.classes(), names) {
            (None, Some(names)) if kind == TargetKind::Class => {
                Some(names.iter().map(|name| (*name).to_owned()).collect())
            }
            (classes, _) => classes.map(<[String]>::to_vec),
        };
        if width > 1 {
            // One target of each row was charged with the features, and each row charges one more here.
            allowance.take(rows, SampleShape::Vector(width as u32 - 2))?;
        }
        let mut columns: Vec<Column<'_>> = (0..width).map(|_| Column::new(kind, known.as_deref())).collect();
        columns.iter_mut().for_each(|column| column.reserve(rows as usize));
        let mut indices = HashMap::new();
        let (mut place, is_fortran) = (0_u64, self.is_fortran);
        self.each(allowance, |number| {
            let (row, column) = match is_fortran {
                true => (place % u64::from(rows), place / u64::from(rows)),
                false => (place / width, place % width),
            };
            let pushed = match &mut columns[column as usize] {
                Column::Numbers(numbers) => numbers.push(number.value(), row),
                Column::Binary(values) => super::targets::binary(number.value()).map(|value| values.push(value)),
                Column::Classes(classes) => match indices.get(&number.key()) {
                    Some(index) => {
                        classes.push_index(*index);
                        Ok(())
                    }
                    None => label(number, names).and_then(|name| {
                        let index = classes.index(&name)?;
                        indices.insert(number.key(), index);
                        classes.push_index(index);
                        Ok(())
                    }),
                },
            };
            place += 1;
            let at = if width > 1 {
                format!("row {row}, column {column}:")
            } else {
                format!("row {row}:")
            };
            pushed.map_err(|reason| ReadError::targets(reason).within(&at))
        })
        .map_err(|error| ReadError {
            in_targets: true,
            ..error
        })?;
        let finished = columns.into_iter().map(|column| {
            column.finish().map_err(|Misplaced { place, reason }| {
                let error = ReadError::targets(reason);
                match place {
                    Some(row) => error.within(&format!("row {row}:")),
                    None => error,
                }
            })
        });
        let targets = targets::side_by_side(finished.collect::<Result<_, _>>()?);
        targets.ok_or_else(|| ReadError::targets("has no columns"))
    }

    /// Reads all elements in the order of the file, never all into memory.
    fn each(
        &mut self,
        allowance: &Allowance<'_>,
        mut visit: impl FnMut(Number) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let size = self.element.bytes;
        let mut chunk = vec![0; CHUNK_BYTES.min(self.len.saturating_mul(size))];
        let mut left = self.len;
        while left > 0 {
            allowance.look().map_err(ReadError::features)?;
            let bytes = &mut chunk[..CHUNK_BYTES.min(left.saturating_mul(size))];
            self.elements.read_exact(bytes).map_err(|error| {
                ReadError::features(match error.kind() {
                    ErrorKind::UnexpectedEof => TOO_FEW.into(),
                    _ => unreadable(&error),
                })
            })?;
            for element in bytes.chunks_exact(size) {
                visit(self.element.read(element))?;
            }
            left -= bytes.len() / size;
        }
        // A compressed reader compares its checksum at its end.
        match self.elements.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(ReadError::features("has more bytes than its header says")),
            Err(error) => Err(ReadError::features(unreadable(&error))),
        }
    }
}

fn wrong_bytes(bytes: u64, sizes: &[u64], needed: Option<u64>) -> Reason {
    Reason::quoting(|quote| {
        let sizes = quote.of(format!("{sizes:?}"));
        let needed = needed.map_or_else(|| "more than there can be".to_owned(), |needed| quote.of(needed));
        format!("has {bytes} bytes behind its header, and sizes {sizes} ask for {needed}")
    })
}

/// The name of the class of a label.
fn label(number: Number, names: Option<&[&str]>) -> Result<String, Reason> {
    if !number.value().is_finite() {
        return Err(Reason::quoting(|quote| {
            format!("{} is not a finite number", quote.of(number.value()))
        }));
    }
    let label = number.label();
    let Some(names) = names else {
        return Ok(label);
    };
    let name = label.parse::<usize>().ok().and_then(|label| names.get(label));
    name.map(|name| (*name).to_owned()).ok_or_else(|| {
        Reason::quoting(|quote| format!("{} is none of the {} labels from 0 on", quote.of(&label), names.len()))
    })
}
