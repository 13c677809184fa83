//! The elements of an array: types that are read, and names of others.

use super::Reason;

/// A type of elements that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) kind: Kind,
    /// Bytes of one element.
    pub(super) bytes: usize,
    pub(super) is_big_endian: bool,
}

/// Kind of elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Unsigned,
    Signed,
    Float,
}

/// One number of an array.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Whole(i128),
    Double(f64),
    /// A number of half or single precision.
    Single(f32),
}

impl Element {
    /// Unsigned bytes.
    pub(super) const BYTE: Self = Self {
        kind: Kind::Unsigned,
        bytes: 1,
        is_big_endian: false,
    };

    /// By the text with which NumPy describes a type, as `<f4`.
    pub(super) fn from_descr(descr: &str) -> Result<Self, Reason> {
        let (order, code) = match descr.chars().next() {
            Some('<' | '>' | '|' | '=') => descr.split_at(1),
            _ => ("|", descr),
        };
        let (kind, bytes) = match code {
            "b1" | "?" => (Kind::Bool, 1),
            "u1" | "u2" | "u4" | "u8" => (Kind::Unsigned, size(code)),
            "i1" | "i2" | "i4" | "i8" => (Kind::Signed, size(code)),
            "f2" | "f4" | "f8" => (Kind::Float, size(code)),
            _ => return Err(other(descr, code)),
        };
        Ok(Self {
            kind,
            bytes,
            is_big_endian: order == ">",
        })
    }

    /// True if float32 can represent every such number.
    pub(super) fn is_exact(self) -> bool {
        self.bytes < 4 || (self.kind == Kind::Float && self.bytes == 4)
    }

    /// The number with these bytes, exactly an element's.
    pub(super) fn read(self, bytes: &[u8]) -> Number {
        let mut little = [0; 8];
        let (len, sign) = (self.bytes, 8 * (8 - self.bytes));
        little[..len].copy_from_slice(&bytes[..len]);
        if self.is_big_endian {
            little[..len].reverse();
        }
        let bits = u64::from_le_bytes(little);
        match (self.kind, len) {
            (Kind::Bool, _) => Number::Whole(i128::from(bits != 0)),
            (Kind::Unsigned, _) => Number::Whole(i128::from(bits)),
            // The shifts up and down extend the sign.
            (Kind::Signed, _) => Number::Whole(i128::from(((bits << sign) as i64) >> sign)),
            (Kind::Float, 2) => Number::Single(half::f16::from_bits(bits as u16).to_f32()),
            (Kind::Float, 4) => Number::Single(f32::from_bits(bits as u32)),
            (Kind::Float, _) => Number::Double(f64::from_bits(bits)),
        }
    }
}

fn size(code: &str) -> usize {
    usize::from(code.as_bytes()[1] - b'0')
}

impl Number {
    pub(super) fn value(self) -> f64 {
        match self {
            Self::Whole(whole) => whole as f64,
            Self::Double(double) => double,
            Self::Single(single) => f64::from(single),
        }
    }

    /// True if it counts things, as far as can be seen.
    pub(super) fn is_whole(self) -> bool {
        matches!(self, Self::Whole(_)) || super::exactness::is_whole(self.value())
    }

    /// The name of a class with this label: whole numbers are written without a point.
    pub(super) fn label(self) -> String {
        match self {
            Self::Whole(whole) => whole.to_string(),
            // Adding 0 makes both zeros equal.
            Self::Double(double) => (double + 0.0).to_string(),
            Self::Single(single) => (single + 0.0).to_string(),
        }
    }

    /// The same for equal numbers of one array.
    pub(super) fn key(self) -> i128 {
        match self {
            Self::Whole(whole) => whole,
            Self::Double(double) => i128::from(double.to_bits()),
            Self::Single(single) => i128::from(single.to_bits()),
        }
    }
}

/// The message about a type that is not read.
fn other(descr: &str, code: &str) -> Reason {
    let words = match code.chars().next() {
        Some('c') => "holds complex numbers: save their parts, numpy.save('x.npy', numpy.stack([a.real, a.imag], -1))",
        Some('U' | 'S' | 'a') => {
            "holds texts: for classes save their numbers, numpy.save('y.npy', numpy.unique(a, return_inverse=True)[1]), for \
             numbers numpy.save('x.npy', a.astype('float32'))"
        }
        Some('O') => {
            "holds Python objects: save numbers, numpy.save('x.npy', numpy.array(a.tolist(), dtype='float32'))"
        }
        Some('M' | 'm') => {
            "holds dates or times: save seconds from a base, numpy.save('x.npy', (a - a.min()) / numpy.timedelta64(1, 's'))"
        }
        Some('V') => {
            "holds elements of a type that NumPy itself does not have: numpy.save('x.npy', a.astype('float32'))"
        }
        Some('f') => "holds floats of more than 64 bits: numpy.save('x.npy', a.astype('float64'))",
        _ => {
            return Reason::quoting(|quote| {
                let descr = quote.of(descr);
                format!(
                    "holds elements of type '{descr}', which is not known: numpy.save('x.npy', a.astype('float32'))"
                )
            });
        }
    };
    words.into()
}

/// The message about elements with fields.
pub(super) const RECORDS: &str = "holds records with named fields: numpy.save('x.npy', \
     numpy.lib.recfunctions.structured_to_unstructured(a, 'float32'))";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_read_in_either_order() {
        let read = |descr: &str, bytes: &[u8]| Element::from_descr(descr).expect("it is read").read(bytes);
        assert_eq!(read("|b1", &[1]), Number::Whole(1));
        assert_eq!(read("|b1", &[7]), Number::Whole(1));
        assert_eq!(read("|u1", &[200]), Number::Whole(200));
        assert_eq!(read("|i1", &[0xff]), Number::Whole(-1));
        assert_eq!(read("<u2", &[1, 2]), Number::Whole(513));
        assert_eq!(read(">u2", &[1, 2]), Number::Whole(258));
        assert_eq!(read("<i2", &[0xfe, 0xff]), Number::Whole(-2));
        assert_eq!(read(">i4", &(-7_i32).to_be_bytes()), Number::Whole(-7));
        assert_eq!(
            read("<u8", &u64::MAX.to_le_bytes()),
            Number::Whole(i128::from(u64::MAX))
        );
        assert_eq!(
            read("<i8", &i64::MIN.to_le_bytes()),
            Number::Whole(i128::from(i64::MIN))
        );
        assert_eq!(read("<f2", &[0x00, 0xc1]), Number::Single(-2.5));
        assert_eq!(read(">f4", &0.1_f32.to_be_bytes()), Number::Single(0.1));
        assert_eq!(read("<f8", &0.1_f64.to_le_bytes()), Number::Double(0.1));
    }

    #[test]
    fn labels_are_written_as_people_write_them() {
        for (number, label) in [
            (Number::Single(1.0), "1"),
            (Number::Single(0.1), "0.1"),
            (Number::Double(-0.0), "0"),
            (Number::Double(-1.5), "-1.5"),
            (Number::Whole(-1), "-1"),
        ] {
            assert_eq!(number.label(), label);
        }
    }
}
