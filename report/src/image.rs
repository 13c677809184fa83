//! Pixels as PNG files.

use super::figure::Image;

/// An image that cannot be encoded, such as one without pixels.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ImageError(String);

impl ImageError {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// A PNG file with an image, pixel by pixel.
///
/// # Errors
/// An image without pixels, or with another number of them than it says.
pub(crate) fn png(image: &Image) -> Result<Vec<u8>, ImageError> {
    encoded(image.width, image.height, image.rgb.as_flattened())
}

/// A PNG file with rows of red, green and blue.
///
/// # Errors
/// An image without pixels, or with another number of them than it says.
pub(crate) fn encoded(width: usize, height: usize, rgb: &[u8]) -> Result<Vec<u8>, ImageError> {
    let side = |pixels: usize| u32::try_from(pixels).map_err(|error| ImageError(error.to_string()));
    let failed = |error: ::png::EncodingError| ImageError(error.to_string());
    let mut bytes = Vec::new();
    let mut encoder = ::png::Encoder::new(&mut bytes, side(width)?, side(height)?);
    encoder.set_color(::png::ColorType::Rgb);
    encoder.set_depth(::png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(rgb).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(bytes)
}
