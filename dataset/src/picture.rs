//! PNG and JPEG files as rows of images.

use std::io::Cursor;

use image::imageops::FilterType;
use image::{DynamicImage, ImageFormat, ImageReader, Limits};
use serde::{Deserialize, Serialize};

use super::{FeatureRows, Features, SampleShape};
use crate::limits::DATASET_BYTES_MAX;

/// Most bytes of a picture's file.
pub const PICTURE_BYTES_MAX: u64 = 64 << 20;
/// Most memory of a decoder beside the file; an image of the largest row needs less.
const DECODED_BYTES_MAX: u64 = DATASET_BYTES_MAX;

/// How a picture of another size is resized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// Scaled with a triangle filter, in proportion, until it covers the wanted size; then its middle is cut out.
    Crop,
}

/// The format, by the first bytes.
fn format_of(bytes: &[u8]) -> Option<ImageFormat> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some(ImageFormat::Png),
        [0xff, 0xd8, 0xff, ..] => Some(ImageFormat::Jpeg),
        _ => None,
    }
}

/// True if it begins like a picture.
pub fn is_picture(bytes: &[u8]) -> bool {
    format_of(bytes).is_some()
}

/// The only row of a picture: its luma for one channel, red, green and blue for three. Transparency is ignored, and 16
/// bits become 8.
///
/// # Errors
/// It is broken, has another size and is not to be resized, or the number of channels is neither one nor three.
pub fn read_picture(
    bytes: &[u8],
    channels: u32,
    height: u32,
    width: u32,
    resize: Option<Resize>,
) -> Result<FeatureRows, String> {
    let format = format_of(bytes).ok_or("is neither PNG nor JPEG: its first bytes are others")?;
    let broken = |error: image::ImageError| format!("cannot be decoded: {error}");
    let found = reader(bytes, format).into_dimensions().map_err(broken)?;
    // Before it is decoded: a small file may announce a huge picture.
    if found != (width, height) && resize.is_none() {
        return Err(format!(
            "is {} wide and {} high, and the network takes pictures {width} wide and {height} high",
            found.0, found.1
        ));
    }
    let decode = || {
        let picture = reader(bytes, format).decode().map_err(broken)?;
        Ok::<_, String>(match resize {
            Some(Resize::Crop) if found != (width, height) => crop(&picture, height, width),
            _ => picture,
        })
    };
    let pixels = match channels {
        1 => decode()?.into_luma8().into_raw(),
        3 => by_channel(&decode()?.into_rgb8().into_raw()),
        _ => return Err(format!("is a picture, and the network takes {channels} channels")),
    };
    Ok(FeatureRows {
        rows: 1,
        shape: SampleShape::Image {
            channels,
            height,
            width,
        },
        features: Features::Bytes(pixels),
        replaced: Vec::new(),
    })
}

/// See [`Resize::Crop`].
fn crop(picture: &DynamicImage, height: u32, width: u32) -> DynamicImage {
    // In 8 bits, like pictures of the right size.
    let picture = DynamicImage::ImageRgb8(picture.to_rgb8());
    let (has, wants) = (
        [u64::from(picture.width()), u64::from(picture.height())],
        [u64::from(width), u64::from(height)],
    );
    // Integers, so that every machine scales alike: by the side that needs more.
    let by_width = wants[0] * has[1] >= wants[1] * has[0];
    let (numerator, denominator) = if by_width {
        (wants[0], has[0])
    } else {
        (wants[1], has[1])
    };
    let scaled = |side: usize| ((has[side] * numerator + denominator / 2) / denominator.max(1)).max(wants[side]) as u32;
    let scaled = picture.resize_exact(scaled(0), scaled(1), FilterType::Triangle);
    scaled.crop_imm(
        (scaled.width() - width) / 2,
        (scaled.height() - height) / 2,
        width,
        height,
    )
}

fn reader(bytes: &[u8], format: ImageFormat) -> ImageReader<Cursor<&[u8]>> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(DECODED_BYTES_MAX);
    reader.limits(limits);
    reader
}

/// All red, then all green, then all blue values.
fn by_channel(pixels: &[u8]) -> Vec<u8> {
    let (pixels, _) = pixels.as_chunks::<3>();
    (0..3)
        .flat_map(|channel| pixels.iter().map(move |pixel| pixel[channel]))
        .collect()
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, GrayImage, RgbImage};

    use super::*;

    fn read(bytes: &[u8], channels: u32, height: u32, width: u32) -> Result<FeatureRows, String> {
        read_picture(bytes, channels, height, width, None)
    }

    fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut file = Cursor::new(Vec::new());
        picture.write_to(&mut file, format).expect("written");
        file.into_inner()
    }

    fn rgb() -> DynamicImage {
        let pixels = vec![255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 20, 30, 40, 50, 60, 70, 80, 90];
        DynamicImage::ImageRgb8(RgbImage::from_raw(3, 2, pixels).expect("3 x 2 pixels"))
    }

    fn pixels(rows: FeatureRows) -> Vec<u8> {
        let Features::Bytes(pixels) = rows.features else {
            panic!("no pixels")
        };
        pixels
    }

    #[test]
    fn channels_come_one_after_the_other() {
        let file = encoded(&rgb(), ImageFormat::Png);
        let rows = read(&file, 3, 2, 3).expect("a picture");
        assert_eq!(rows.shape.dims(), [3, 2, 3]);
        let (red, green, blue) = (
            [255, 0, 0, 10, 40, 70],
            [0, 255, 0, 20, 50, 80],
            [0, 0, 255, 30, 60, 90],
        );
        assert_eq!(pixels(rows), [red, green, blue].concat());
    }

    #[test]
    fn grey_stays_as_it_is_and_colours_become_luma() {
        let grey = vec![0, 1, 127, 128, 254, 255];
        let picture = DynamicImage::ImageLuma8(GrayImage::from_raw(3, 2, grey.clone()).expect("3 x 2 pixels"));
        let file = encoded(&picture, ImageFormat::Png);
        assert_eq!(pixels(read(&file, 1, 2, 3).expect("a picture")), grey);
        let luma = pixels(read(&encoded(&rgb(), ImageFormat::Png), 1, 2, 3).expect("a picture"));
        assert!(luma[1] > luma[0] && luma[0] > luma[2], "green, red, blue: {luma:?}");
    }

    #[test]
    fn jpeg_is_read_too() {
        let grey = DynamicImage::ImageLuma8(GrayImage::from_raw(8, 8, vec![100; 64]).expect("8 x 8 pixels"));
        let found = pixels(read(&encoded(&grey, ImageFormat::Jpeg), 1, 8, 8).expect("a picture"));
        assert!(found.iter().all(|pixel| pixel.abs_diff(100) <= 2), "{found:?}");
    }

    #[test]
    fn other_sizes_and_broken_files_are_refused() {
        let file = encoded(&rgb(), ImageFormat::Png);
        assert_eq!(
            read(&file, 1, 28, 28).expect_err("3 x 2 pixels"),
            "is 3 wide and 2 high, and the network takes pictures 28 wide and 28 high"
        );
        assert_eq!(
            read(&file, 2, 2, 3).expect_err("two channels"),
            "is a picture, and the network takes 2 channels"
        );
        for len in 0..file.len() - 12 {
            read(&file[..len], 3, 2, 3).expect_err("torn");
        }
        // A file of some bytes that announces 2^31 - 1 pixels in each direction.
        let mut huge = file;
        huge[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
        read(&huge, 3, 2, 3).expect_err("huge");
    }

    #[test]
    fn a_picture_of_another_size_is_scaled_and_its_middle_cut_out() {
        // Left black, in the middle white, right black.
        let wide = GrayImage::from_fn(90, 30, |x, _| {
            image::Luma([if (30..60).contains(&x) { 255 } else { 0 }])
        });
        let file = encoded(&DynamicImage::ImageLuma8(wide), ImageFormat::Png);
        for size in [10, 30, 60] {
            let rows = read_picture(&file, 1, size, size, Some(Resize::Crop)).expect("a picture");
            assert_eq!(rows.shape.dims(), [1, size, size]);
            let pixels = pixels(rows);
            let white = pixels.iter().filter(|pixel| **pixel > 200).count();
            assert!(white * 10 >= pixels.len() * 8, "{white} of {}", pixels.len());
        }
        let same = read_picture(&file, 1, 30, 90, Some(Resize::Crop)).expect("a picture");
        assert_eq!(pixels(same), pixels(read(&file, 1, 30, 90).expect("a picture")));
    }
}
