//! NumPy's `.npy` arrays (NEP 1, "A Simple File Format for NumPy Arrays").

use std::io::{ErrorKind, Read};

use super::read_error::Reason;
use super::{
    Allowance, FeatureRows, Features, ReadError, SampleShape, Samples, TargetKind, Targets, numbered_classes, rows_of,
};

/// Longest header that is read.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// Bytes of elements that are converted at once.
const CHUNK_BYTES: usize = 64 << 10;

/// Reads a file of features and one of targets.
pub(super) fn read_pair(
    features: &[u8],
    targets: &[u8],
    kind: TargetKind,
    classes: Option<&[String]>,
    allowance: &mut Allowance<'_>,
) -> Result<Samples, ReadError> {
    let rows = read_features(features, allowance)?;
    let targets = Array::open(targets, targets.len() as u64).map_err(ReadError::targets)?;
    let targets = targets.targets(rows.rows, kind, classes, allowance)?;
    Ok(samples(rows, targets))
}

/// Reads a file of features.
pub(super) fn read_features(features: &[u8], allowance: &mut Allowance<'_>) -> Result<FeatureRows, ReadError> {
    let array = Array::open(features, features.len() as u64).map_err(ReadError::features)?;
    array.rows(allowance)
}

/// Features and targets of as many rows.
pub(super) fn samples(features: FeatureRows, targets: Targets) -> Samples {
    let FeatureRows { rows, shape, features } = features;
    Samples {
        rows,
        shape,
        features,
        targets,
    }
}

/// Types of elements that are read, all little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    U1,
    I1,
    I2,
    I4,
    I8,
    F4,
    F8,
}

impl Element {
    fn from_descr(descr: &str) -> Option<Self> {
        Some(match descr {
            "|u1" | "|b1" => Self::U1,
            "|i1" => Self::I1,
            "<i2" => Self::I2,
            "<i4" => Self::I4,
            "<i8" => Self::I8,
            "<f4" => Self::F4,
            "<f8" => Self::F8,
            _ => return None,
        })
    }

    fn bytes(self) -> usize {
        match self {
            Self::U1 | Self::I1 => 1,
            Self::I2 => 2,
            Self::I4 | Self::F4 => 4,
            Self::I8 | Self::F8 => 8,
        }
    }

    fn read(self, bytes: &[u8]) -> f64 {
        fn of<const N: usize>(bytes: &[u8]) -> [u8; N] {
            // A chunk of this element's size: other lengths do not come here.
            bytes.try_into().unwrap_or([0; N])
        }
        match self {
            Self::U1 => f64::from(of::<1>(bytes)[0]),
            Self::I1 => f64::from(i8::from_le_bytes(of(bytes))),
            Self::I2 => f64::from(i16::from_le_bytes(of(bytes))),
            Self::I4 => f64::from(i32::from_le_bytes(of(bytes))),
            Self::I8 => i64::from_le_bytes(of(bytes)) as f64,
            Self::F4 => f64::from(f32::from_le_bytes(of(bytes))),
            Self::F8 => f64::from_le_bytes(of(bytes)),
        }
    }
}

/// One array, in C order, whose elements have not been read yet.
pub(super) struct Array<R> {
    shape: Vec<u64>,
    kind: Element,
    /// Elements; so many are in the file by its size.
    len: usize,
    elements: R,
}

impl<R: Read> Array<R> {
    /// Reads the header of a file of so many bytes. No memory is taken for the elements.
    pub(super) fn open(mut file: R, bytes: u64) -> Result<Self, Reason> {
        let magic = first::<6>(&mut file, "is no .npy file: it ends within its magic number")?;
        if magic != *b"\x93NUMPY" {
            return Err("is no .npy file: its magic number is another".into());
        }
        let [major, _minor] = first(&mut file, "ends within its version")?;
        let within = "ends within its header's length";
        let (header_len, len_bytes) = match major {
            1 => (u32::from(u16::from_le_bytes(first(&mut file, within)?)), 2),
            2 | 3 => (u32::from_le_bytes(first(&mut file, within)?), 4),
            other => {
                return Err(Reason::quoting(|quote| {
                    format!("is of .npy version {}; 1 to 3 are read", quote.of(other))
                }));
            }
        };
        let rest = bytes.saturating_sub(8 + len_bytes + u64::from(header_len));
        let mut header = vec![0; HEADER_BYTES_MAX.min(header_len as usize)];
        if header.len() < header_len as usize || file.read_exact(&mut header).is_err() {
            return Err(Reason::quoting(|quote| {
                format!("has a header of {} bytes, which is not there", quote.of(header_len))
            }));
        }
        let header = str::from_utf8(&header).map_err(|_| "has a header that is no text")?;
        let descr = text_of(header, "descr")?;
        let kind = Element::from_descr(descr).ok_or_else(|| {
            Reason::quoting(|quote| {
                let descr = quote.of(descr);
                format!("holds elements of type '{descr}'; |u1, |i1, <i2, <i4, <i8, <f4 and <f8 are read")
            })
        })?;
        if !value_of(header, "fortran_order")?.starts_with("False") {
            return Err("is in Fortran order; save it with numpy.ascontiguousarray".into());
        }
        let shape = shape_of(header)?;
        let len = shape.iter().try_fold(1_u64, |product, len| product.checked_mul(*len));
        let fits = |len: &u64| len.checked_mul(kind.bytes() as u64) == Some(rest);
        let len = len.filter(fits).and_then(|len| usize::try_from(len).ok());
        let len = len.ok_or_else(|| {
            Reason::quoting(|quote| {
                let (shape, descr) = (quote.of(format!("{shape:?}")), quote.of(descr));
                format!("has {rest} bytes behind its header, which says shape {shape} of '{descr}'")
            })
        })?;
        Ok(Self {
            shape,
            kind,
            len,
            elements: file,
        })
    }

    /// As features, row by row.
    pub(super) fn rows(self, allowance: &mut Allowance<'_>) -> Result<FeatureRows, ReadError> {
        let size = |len: u64| u32::try_from(len).map_err(|_| ReadError::features("has a size beyond 2^32"));
        let dims = self.shape.iter().map(|len| size(*len)).collect::<Result<Vec<_>, _>>()?;
        let (rows, shape) = rows_of(&dims).ok_or_else(|| {
            ReadError::features(Reason::quoting(|quote| {
                let dims = quote.of(format!("{dims:?}"));
                format!(
                    "has shape {dims}; [rows, features], [rows, height, width] and [rows, channels, height, width] are read"
                )
            }))
        })?;
        if rows == 0 || shape.is_empty() {
            return Err(ReadError::features("has no rows"));
        }
        allowance.take(rows, shape)?;
        let is_image = matches!(shape, SampleShape::Image { .. });
        let features = match self.kind {
            // Bytes of images are pixels; bytes of tables are small numbers.
            Element::U1 if is_image => self.bytes(allowance).map(Features::Bytes),
            Element::U1 => self.bytes(allowance).map(Features::Whole),
            _ => self.floats(allowance).map(Features::Floats),
        };
        Ok(FeatureRows {
            rows,
            shape,
            features: features.map_err(ReadError::features)?,
        })
    }

    /// As targets of so many rows, whose numbers were taken off the allowance with the features.
    pub(super) fn targets(
        self,
        rows: u32,
        kind: TargetKind,
        classes: Option<&[String]>,
        allowance: &Allowance<'_>,
    ) -> Result<Targets, ReadError> {
        let is_column = matches!(*self.shape.as_slice(), [len] | [len, 1] if len == u64::from(rows));
        if !is_column {
            return Err(ReadError::targets(Reason::quoting(|quote| {
                let (shape, rows) = (quote.of(format!("{:?}", self.shape)), quote.of(rows));
                format!("has shape {shape}, and there are {rows} rows of features")
            })));
        }
        match kind {
            TargetKind::Number => Ok(Targets::Numbers(self.floats(allowance).map_err(ReadError::targets)?)),
            TargetKind::Class => {
                let labels = self.labels(allowance).map_err(ReadError::targets)?;
                numbered_classes(labels, None, classes)
            }
        }
    }

    fn bytes(self, allowance: &Allowance<'_>) -> Result<Vec<u8>, Reason> {
        self.each(allowance, |_, value| Ok(value as u8))
    }

    fn floats(self, allowance: &Allowance<'_>) -> Result<Vec<f32>, Reason> {
        self.each(allowance, |index, value| {
            let float = value as f32;
            if float.is_finite() {
                Ok(float)
            } else {
                Err(Reason::quoting(|quote| {
                    format!("element {index}: {} is not a finite number", quote.of(value))
                }))
            }
        })
    }

    fn labels(self, allowance: &Allowance<'_>) -> Result<Vec<u32>, Reason> {
        self.each(allowance, |row, value| {
            if value >= 0.0 && value < crate::limits::CLASSES_MAX as f64 && value.fract() == 0.0 {
                Ok(value as u32)
            } else {
                Err(Reason::quoting(|quote| {
                    let value = quote.of(value);
                    format!("row {row}: {value} is no label: labels are whole numbers from 0 on")
                }))
            }
        })
    }

    /// Reads all elements; the array as it is in the file is never in memory as a whole.
    fn each<T>(
        mut self,
        allowance: &Allowance<'_>,
        convert: impl Fn(usize, f64) -> Result<T, Reason>,
    ) -> Result<Vec<T>, Reason> {
        let broken = |error: std::io::Error| Reason::quoting(|quote| format!("cannot be read: {}", quote.of(&error)));
        let size = self.kind.bytes();
        let mut values = Vec::with_capacity(self.len);
        let mut chunk = vec![0; CHUNK_BYTES.min(self.len * size)];
        while values.len() < self.len {
            allowance.look()?;
            let bytes = &mut chunk[..CHUNK_BYTES.min((self.len - values.len()) * size)];
            self.elements.read_exact(bytes).map_err(broken)?;
            for element in bytes.chunks_exact(size) {
                let value = convert(values.len(), self.kind.read(element))?;
                values.push(value);
            }
        }
        // An archive compares its checksum when it comes to the end of a member.
        match self.elements.read(&mut [0]).map_err(broken)? {
            0 => Ok(values),
            _ => Err("has more bytes than it says".into()),
        }
    }
}

/// The next bytes of a file, or what to say if they are not there.
fn first<const N: usize>(file: &mut impl Read, at_end: &'static str) -> Result<[u8; N], Reason> {
    let mut bytes = [0; N];
    match file.read_exact(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(at_end.into()),
        Err(error) => Err(Reason::quoting(|quote| format!("cannot be read: {}", quote.of(&error)))),
    }
}

/// What follows `'key':` in the header, which is a Python dictionary.
fn value_of<'h>(header: &'h str, key: &str) -> Result<&'h str, Reason> {
    header
        .split_once(&format!("'{key}':"))
        .map(|(_, value)| value.trim_start())
        .ok_or_else(|| Reason::plain(format!("has a header without '{key}'")))
}

fn text_of<'h>(header: &'h str, key: &str) -> Result<&'h str, Reason> {
    value_of(header, key)?
        .strip_prefix('\'')
        .and_then(|value| value.split_once('\''))
        .map(|(text, _)| text)
        .ok_or_else(|| Reason::plain(format!("has a header whose '{key}' is no text; records are not read")))
}

fn shape_of(header: &str) -> Result<Vec<u64>, Reason> {
    let broken = || Reason::from("has a header whose 'shape' is no list of sizes");
    let (shape, _) = value_of(header, "shape")?
        .strip_prefix('(')
        .and_then(|value| value.split_once(')'))
        .ok_or_else(broken)?;
    shape
        .split(',')
        .map(str::trim)
        .filter(|size| !size.is_empty())
        .map(|size| size.parse().map_err(|_| broken()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::npy;
    use super::*;

    fn read_pair(features: &[u8], targets: &[u8], kind: TargetKind) -> Result<Samples, ReadError> {
        super::read_pair(features, targets, kind, None, &mut Allowance::whole())
    }

    fn floats(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn longs(values: &[i64]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn tables_and_images_are_read() {
        let table = npy("<f4", "(2, 3)", &floats(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        let targets = npy("<f8", "(2,)", &[0.5_f64, 1.5].map(f64::to_le_bytes).concat());
        let samples = read_pair(&table, &targets, TargetKind::Number).expect("samples");
        assert_eq!(samples.shape, SampleShape::Vector(3));
        assert_eq!(samples.targets, Targets::Numbers(vec![0.5, 1.5]));

        let images = npy("|u1", "(2, 1, 2)", &[0, 255, 1, 2]);
        let labels = npy("<i8", "(2, 1)", &longs(&[1, 0]));
        let samples = read_pair(&images, &labels, TargetKind::Class).expect("samples");
        assert_eq!(samples.features, Features::Bytes(vec![0, 255, 1, 2]));
        assert_eq!(samples.classes().map(<[_]>::len), Some(2));
    }

    #[test]
    fn broken_files_say_what_is_wrong() {
        let table = npy("<f4", "(2, 1)", &floats(&[1.0, f32::NAN]));
        let labels = npy("<i8", "(2,)", &longs(&[0, 1]));
        let wrong = |table: &[u8], labels: &[u8]| read_pair(table, labels, TargetKind::Class).expect_err("broken");
        assert_eq!(wrong(&table, &labels).reason, "element 1: NaN is not a finite number");
        assert_eq!(
            wrong(&table[..table.len() - 1], &labels).reason,
            "has 7 bytes behind its header, which says shape [2, 1] of '<f4'"
        );
        let sound = npy("<f4", "(2, 1)", &floats(&[1.0, 2.0]));
        assert_eq!(
            wrong(&sound, &npy("<i8", "(2,)", &longs(&[0, -1]))).reason,
            "row 1: -1 is no label: labels are whole numbers from 0 on"
        );
        assert_eq!(
            wrong(&npy(">f4", "(2, 1)", &[0; 8]), &labels).reason,
            "holds elements of type '>f4'; |u1, |i1, <i2, <i4, <i8, <f4 and <f8 are read"
        );
        let huge = npy("<f4", "(99999999999, 99999999999)", &[0; 8]);
        assert!(
            wrong(&huge, &labels)
                .reason
                .starts_with("has 8 bytes behind its header")
        );
    }
}
