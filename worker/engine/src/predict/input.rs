//! A file of rows to be predicted: its kind, by its first bytes or its name, and its content.

use std::fmt;
use std::io::{self, Read as _};
use std::path::Path;

use trawl_dataset::{
    Content as _, FeatureFormat, FeatureRows, FileContent, PICTURE_BYTES_MAX, SampleShape, is_picture, read_features,
    read_picture,
};

use super::network::Network;

/// The kind of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A table with a header line.
    Csv,
    /// A NumPy array.
    Npy,
    /// Images in MNIST's format.
    Idx,
    /// One image.
    Picture,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Csv => "a CSV file",
            Self::Npy => "a .npy file",
            Self::Idx => "an IDX file",
            Self::Picture => "a picture",
        })
    }
}

impl Kind {
    /// By the magic number, or without one by the name, as for a truncated file; a table is plain text.
    pub(super) fn of(path: &Path, bytes: &[u8]) -> Self {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_ascii_lowercase();
        let is_named = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
        if is_picture(bytes) || is_named(&[".png", ".jpg", ".jpeg"]) {
            Self::Picture
        } else if bytes.starts_with(b"\x93NUMPY") || is_named(&[".npy"]) {
            Self::Npy
        } else if bytes.starts_with(&[0, 0]) || is_named(&["-ubyte", ".idx"]) {
            Self::Idx
        } else {
            Self::Csv
        }
    }

    /// The rows of such a file, in the form that the network takes.
    ///
    /// # Errors
    /// Why there are none.
    pub(super) fn rows(self, network: &Network, content: &FileContent) -> Result<FeatureRows, String> {
        let input = network.architecture().input;
        let format = match (self, input) {
            (
                Self::Picture,
                SampleShape::Image {
                    channels,
                    height,
                    width,
                },
            ) => {
                let bytes = whole(content).map_err(|error| format!("cannot be read: {error}"))?;
                return read_picture(&bytes, channels, height, width, network.resize());
            }
            (Self::Picture, SampleShape::Vector(_) | SampleShape::Table { .. } | SampleShape::Sequence { .. }) => {
                return Err(format!("is {self}, and the network takes {input} features"));
            }
            (Self::Csv, SampleShape::Sequence { .. } | SampleShape::Image { .. }) => {
                return Err(format!("is {self}, and the network takes images of {input}"));
            }
            (Self::Csv, SampleShape::Vector(_) | SampleShape::Table { .. }) => FeatureFormat::Csv {
                inputs: network.inputs(),
                dialect: network.dialect(),
            },
            (Self::Npy, _) => FeatureFormat::Npy(network.layout()),
            (Self::Idx, _) => FeatureFormat::Idx(network.layout()),
        };
        read_features(format, input, content).map_err(|error| error.reason)
    }
}

/// All bytes of a picture.
fn whole(content: &FileContent) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    content.open()?.take(PICTURE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > PICTURE_BYTES_MAX {
        return Err(io::Error::other(format!("is larger than {PICTURE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_what_is_in_them_and_else_by_their_names() {
        for (name, bytes, kind) in [
            ("x", &b"\x89PNG\r\n\x1a\n"[..], Kind::Picture),
            ("x", b"\xff\xd8\xff\xe0", Kind::Picture),
            ("torn.PNG", b"\x89P", Kind::Picture),
            ("x.csv", b"\x93NUMPY\x01", Kind::Npy),
            ("x", &[0, 0, 8, 3], Kind::Idx),
            ("t10k-images-idx3-ubyte", b"", Kind::Idx),
            ("x.csv", b"a,b\n1,2\n", Kind::Csv),
            ("x", b"a,b\n1,2\n", Kind::Csv),
        ] {
            assert_eq!(Kind::of(Path::new(name), bytes), kind, "{name}");
        }
    }
}
