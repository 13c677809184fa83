//! Parquet files as tables: each is written as CSV, with nulls as empty cells. So there is one reader of tables, and it finds the same in
//! either format.

use std::fs::File;
use std::io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::panic;
use std::path::Path;

use chrono::DateTime;
use half::f16;
use parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type as Physical};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};
use tempfile::TempPath;
use trawl_domain::limits::DATASET_BYTES_MAX;
use trawl_proto::v1::dataset::Kind as Dataset;

use crate::error::{Error, say};
use crate::study_file::StudyFile;

/// The first and the last bytes of such a file.
const MARK: &[u8; 4] = b"PAR1";
/// Rows that are in memory at once.
const BATCH_ROWS: usize = 1_024;
/// Bytes of a decimal, at most: 38 digits.
const DECIMAL_BYTES_MAX: usize = 16;
const DAY_S: i64 = 86_400;

/// Whether a file is Parquet, by both ends: a first column may be called PAR1.
pub(crate) fn is_parquet(path: &Path) -> bool {
    let ends = || -> io::Result<[[u8; 4]; 2]> {
        let mut file = File::open(path)?;
        let mut ends = [[0; 4]; 2];
        file.read_exact(&mut ends[0])?;
        file.seek(SeekFrom::End(-4))?;
        file.read_exact(&mut ends[1])?;
        Ok(ends)
    };
    ends().is_ok_and(|ends| ends == [*MARK; 2])
}

/// Writes the Parquet files of a study's tables as CSV, and puts the CSV files in their place. They are removed with the returned value.
///
/// # Errors
/// A file that cannot be read, or a setting that is for text alone.
pub(crate) fn pack(file: &mut StudyFile) -> Result<Vec<TempPath>, Error> {
    let kind = file.study.dataset.as_mut().and_then(|dataset| dataset.kind.as_mut());
    let Some(Dataset::Csv(csv)) = kind else {
        return Ok(Vec::new());
    };
    let of_text = [
        ("delimiter", !csv.delimiter.is_empty()),
        ("quote", !csv.quote.is_empty()),
        ("decimal", !csv.decimal.is_empty()),
        ("encoding", !csv.encoding.is_empty()),
        ("header", csv.header == Some(false)),
    ];
    let (mut written, mut renamed) = (Vec::new(), Vec::new());
    for named in &mut file.paths {
        let path = Path::new(&named.path);
        if !is_parquet(path) {
            continue;
        }
        if let Some((setting, _)) = of_text.iter().find(|(_, is_set)| *is_set) {
            return Err(Error::Usage(format!(
                "dataset.csv.{setting}: is for text, and {} is a Parquet file: leave it out",
                named.written
            )));
        }
        let table = to_csv(path, true)
            .map_err(|reason| Error::Usage(format!("{}: {}: {reason}", named.field, named.written)))?;
        named.path = table.to_string_lossy().into_owned();
        renamed.push((named.field, named.path.clone()));
        written.push(table);
    }
    if !written.is_empty() {
        // Names are names, also where all of them are numbers; and a null has no value, whatever texts have none.
        csv.header = Some(true);
        if !csv.missing.is_empty() && !csv.missing.iter().any(String::is_empty) {
            csv.missing.push(String::new());
        }
    }
    for (field, path) in renamed {
        if let Some(place) = file.path_mut(field) {
            *place = path;
        }
    }
    Ok(written)
}

/// Writes a file as CSV, with the names of the columns in its first line if they are wanted. Leaves out columns that are no cells, and says
/// which.
///
/// # Errors
/// It is broken, or a cell is no text, with its column and its row, which counts from 0.
pub(crate) fn to_csv(path: &Path, with_names: bool) -> Result<TempPath, String> {
    // The library panics over some broken files. Its own message helps nobody, so panics are silent meanwhile.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let written = panic::catch_unwind(|| write(path, with_names));
    panic::set_hook(hook);
    written.unwrap_or_else(|_| Err("cannot be read as Parquet: it is broken".to_owned()))
}

fn write(path: &Path, with_names: bool) -> Result<TempPath, String> {
    let broken = |error: ParquetError| format!("cannot be read as Parquet: {error}");
    let unwritten = |error: &dyn std::fmt::Display| format!("cannot be written as CSV: {error}");
    let file = File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let reader = SerializedFileReader::new(file).map_err(broken)?;
    let columns = columns(reader.metadata().file_metadata().schema_descr(), path)?;
    let (file, written) = tempfile::NamedTempFile::new()
        .map_err(|error| unwritten(&error))?
        .into_parts();
    let mut writer = csv::Writer::from_writer(BufWriter::new(file));
    if with_names {
        let names = columns.iter().map(|column| column.name);
        writer.write_record(names).map_err(|error| unwritten(&error))?;
    }
    let (mut row, mut bytes) = (0_u64, 0_u64);
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group).map_err(broken)?;
        let readers = columns.iter().map(|column| group.get_column_reader(column.place));
        let mut readers = readers.collect::<Result<Vec<_>, _>>().map_err(broken)?;
        let mut left = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
        while left > 0 {
            let rows = left.min(BATCH_ROWS);
            let mut batch = Vec::with_capacity(columns.len());
            for (column, reader) in columns.iter().zip(&mut readers) {
                let texts = column.texts(reader, rows, row)?;
                bytes += texts.iter().map(|text| text.len() as u64 + 1).sum::<u64>();
                batch.push(texts);
            }
            if bytes > DATASET_BYTES_MAX {
                return Err(
                    "is more than 1 GiB as text, which is the most that is read: leave out columns or rows".to_owned(),
                );
            }
            for place in 0..rows {
                let record = batch.iter().map(|texts| texts[place].as_str());
                writer.write_record(record).map_err(|error| unwritten(&error))?;
            }
            row += rows as u64;
            left -= rows;
        }
    }
    let mut file = writer.into_inner().map_err(|error| unwritten(&error))?;
    file.flush().map_err(|error| unwritten(&error))?;
    Ok(written)
}

/// The columns of a file that are cells.
fn columns<'a>(schema: &'a SchemaDescriptor, path: &Path) -> Result<Vec<Column<'a>>, String> {
    let mut columns = Vec::new();
    let mut last_nested = None;
    for (place, described) in schema.columns().iter().enumerate() {
        let root = schema.get_column_root(place);
        let cells = if root.is_primitive() && described.max_rep_level() == 0 {
            cells(described)
        } else {
            Err("has lists or columns of its own")
        };
        match cells {
            Ok(cells) => columns.push(Column {
                place,
                name: described.name(),
                cells,
                is_optional: described.max_def_level() > 0,
            }),
            // A column with several inside is named once.
            Err(_) if last_nested == Some(root.name()) => {}
            Err(why) => {
                last_nested = Some(root.name());
                say(&format!(
                    "note: {}: column '{}' {why}, and is left out",
                    path.display(),
                    root.name()
                ));
            }
        }
    }
    if columns.is_empty() {
        return Err("has no columns of numbers, texts or dates".to_owned());
    }
    Ok(columns)
}

/// A column whose values are cells.
struct Column<'a> {
    place: usize,
    name: &'a str,
    cells: Cells,
    is_optional: bool,
}

/// What the values of a column stand for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cells {
    /// Themselves: numbers, truths or texts.
    Plain,
    /// Numbers without a sign.
    Unsigned,
    /// Days since 1970.
    Date,
    /// Times since 1970, so many a second.
    Moment(i64),
    /// Numbers with so many decimals.
    Decimal(u32),
    /// Numbers of half precision.
    Half,
}

/// What the values of a column stand for, or their type, if they are no cells.
fn cells(column: &ColumnDescriptor) -> Result<Cells, &'static str> {
    let decimal = |scale: i32| match u32::try_from(scale) {
        Ok(scale) if scale <= 38 => Ok(Cells::Decimal(scale)),
        _ => Err("has decimals of more than 38 digits"),
    };
    let per_second = |unit: &TimeUnit| match unit {
        TimeUnit::MILLIS => 1_000,
        TimeUnit::MICROS => 1_000_000,
        TimeUnit::NANOS => 1_000_000_000,
    };
    let physical = column.physical_type();
    let by_logical = match column.logical_type_ref() {
        Some(LogicalType::Integer { is_signed: false, .. }) => Some(Ok(Cells::Unsigned)),
        Some(LogicalType::Date) => Some(Ok(Cells::Date)),
        Some(LogicalType::Timestamp { unit, .. }) => Some(Ok(Cells::Moment(per_second(unit)))),
        Some(LogicalType::Decimal { scale, .. }) => Some(decimal(*scale)),
        Some(LogicalType::Float16) => Some(Ok(Cells::Half)),
        Some(LogicalType::Time { .. }) => Some(Err("has times without a date")),
        _ => None,
    };
    let by_converted = || match column.converted_type() {
        ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64 => {
            Ok(Cells::Unsigned)
        }
        ConvertedType::DATE => Ok(Cells::Date),
        ConvertedType::TIMESTAMP_MILLIS => Ok(Cells::Moment(1_000)),
        ConvertedType::TIMESTAMP_MICROS => Ok(Cells::Moment(1_000_000)),
        ConvertedType::DECIMAL => decimal(column.type_scale()),
        ConvertedType::TIME_MILLIS | ConvertedType::TIME_MICROS => Err("has times without a date"),
        ConvertedType::INTERVAL => Err("has lengths of time"),
        _ => Ok(Cells::Plain),
    };
    let cells = by_logical.unwrap_or_else(by_converted)?;
    match (physical, cells) {
        (Physical::FIXED_LEN_BYTE_ARRAY, Cells::Decimal(_)) if column.type_length() > DECIMAL_BYTES_MAX as i32 => {
            Err("has decimals of more than 38 digits")
        }
        (Physical::FIXED_LEN_BYTE_ARRAY, Cells::Plain) => Err("has bytes that are no text"),
        (Physical::INT96, _) => Ok(Cells::Moment(1_000_000)),
        _ => Ok(cells),
    }
}

impl Column<'_> {
    /// The texts of the next rows; the first of them is this one of the file.
    fn texts(&self, reader: &mut ColumnReader, rows: usize, first: u64) -> Result<Vec<String>, String> {
        let cells = self.cells;
        let texts = match reader {
            ColumnReader::BoolColumnReader(reader) => self.read(reader, rows, |value| Some(value.to_string())),
            ColumnReader::Int32ColumnReader(reader) => self.read(reader, rows, |value| match cells {
                Cells::Unsigned => Some(value.cast_unsigned().to_string()),
                cells => whole(i64::from(*value), cells),
            }),
            ColumnReader::Int64ColumnReader(reader) => self.read(reader, rows, |value| match cells {
                Cells::Unsigned => Some(value.cast_unsigned().to_string()),
                cells => whole(*value, cells),
            }),
            ColumnReader::Int96ColumnReader(reader) => self.read(reader, rows, |value| whole(value.to_micros(), cells)),
            ColumnReader::FloatColumnReader(reader) => self.read(reader, rows, |value| Some(float(*value))),
            ColumnReader::DoubleColumnReader(reader) => self.read(reader, rows, |value| Some(float(*value))),
            ColumnReader::ByteArrayColumnReader(reader) => self.read(reader, rows, |value| text(value.data(), cells)),
            ColumnReader::FixedLenByteArrayColumnReader(reader) => {
                self.read(reader, rows, |value| text(value.data(), cells))
            }
        };
        let texts = texts.map_err(|error| format!("column '{}' cannot be read as Parquet: {error}", self.name))?;
        if texts.len() != rows {
            return Err(format!("column '{}' breaks off", self.name));
        }
        let texts = texts.into_iter().enumerate().map(|(place, text)| {
            text.ok_or_else(|| {
                let row = first + place as u64;
                format!(
                    "column '{}', row {row}: is no text in UTF-8, and no number or date that is read",
                    self.name
                )
            })
        });
        texts.collect()
    }

    /// A text for each row, an empty one for a null.
    fn read<T: DataType>(
        &self,
        reader: &mut ColumnReaderImpl<T>,
        rows: usize,
        text: impl Fn(&T::T) -> Option<String>,
    ) -> Result<Vec<Option<String>>, ParquetError> {
        let (mut values, mut levels) = (Vec::with_capacity(rows), Vec::new());
        reader.read_records(rows, self.is_optional.then_some(&mut levels), None, &mut values)?;
        let mut texts = values.iter().map(text);
        if !self.is_optional {
            return Ok(texts.collect());
        }
        let of_level = |level: i16| match level {
            0 => Some(Some(String::new())),
            _ => texts.next(),
        };
        Ok(levels.into_iter().map_while(of_level).collect())
    }
}

fn whole(value: i64, cells: Cells) -> Option<String> {
    match cells {
        Cells::Date => date(value.checked_mul(DAY_S)?, 0),
        Cells::Moment(per_second) => {
            let nanos = value.rem_euclid(per_second) * (1_000_000_000 / per_second);
            date(value.div_euclid(per_second), nanos)
        }
        Cells::Decimal(scale) => Some(decimal(i128::from(value), scale)),
        Cells::Plain | Cells::Unsigned | Cells::Half => Some(value.to_string()),
    }
}

/// A date, with the time unless it is midnight.
fn date(seconds: i64, nanos: i64) -> Option<String> {
    let time = DateTime::from_timestamp(seconds, u32::try_from(nanos).ok()?)?;
    let is_midnight = nanos == 0 && seconds % DAY_S == 0;
    let format = if is_midnight {
        "%Y-%m-%d"
    } else {
        "%Y-%m-%dT%H:%M:%S%.f"
    };
    Some(time.format(format).to_string())
}

fn float(value: impl Into<f64> + std::fmt::Display + Copy) -> String {
    if value.into().is_nan() {
        String::new()
    } else {
        value.to_string()
    }
}

fn text(bytes: &[u8], cells: Cells) -> Option<String> {
    match cells {
        Cells::Decimal(scale) if bytes.len() <= DECIMAL_BYTES_MAX => {
            let sign = bytes.first().map_or(0, |first| if *first < 0x80 { 0 } else { 0xff });
            let mut whole = [sign; DECIMAL_BYTES_MAX];
            whole[DECIMAL_BYTES_MAX - bytes.len()..].copy_from_slice(bytes);
            Some(decimal(i128::from_be_bytes(whole), scale))
        }
        Cells::Half => Some(float(f16::from_le_bytes(bytes.try_into().ok()?).to_f32())),
        Cells::Plain => str::from_utf8(bytes).ok().map(str::to_owned),
        _ => None,
    }
}

/// A number by its digits; the last ones are decimals.
fn decimal(digits: i128, scale: u32) -> String {
    let scale = scale as usize;
    let sign = if digits < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", digits.unsigned_abs(), width = scale + 1);
    let (whole, decimals) = digits.split_at(digits.len() - scale);
    if decimals.is_empty() {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{decimals}")
    }
}

#[cfg(test)]
mod tests;
