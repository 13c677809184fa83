//! Axes of an array as rows of features: which axis of an image has the channels, and where each number of a file belongs.

use super::{ReadError, Reason, SampleShape};
use crate::limits::SAMPLE_LEN_MAX;
use crate::words;

words!(
    /// The place of the channels among an image's axes.
    Layout {
        /// [rows, channels, height, width].
        ChannelsFirst = "channels_first",
        /// [rows, height, width, channels].
        ChannelsLast = "channels_last",
    }
);

/// An array as rows of features: its sizes, and the places of its numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    pub(super) rows: u32,
    pub(super) shape: SampleShape,
    /// Sizes of the axes in the order of the file, the fastest changing one last; and the step in the rows of features
    /// along each of them.
    axes: Vec<(usize, usize)>,
}

impl Grid {
    /// An array of these sizes, in C or Fortran order. `asked` is a shape that rows must have: it may determine an
    /// omitted layout.
    pub(super) fn new(
        sizes: &[u64],
        is_fortran: bool,
        layout: Option<Layout>,
        asked: Option<SampleShape>,
    ) -> Result<Self, ReadError> {
        let (rows, shape, layout) = rows_of(sizes, layout, asked).map_err(ReadError::features)?;
        if rows == 0 || shape.is_empty() {
            return Err(ReadError::features("has no rows"));
        }
        if shape.len() > SAMPLE_LEN_MAX {
            return Err(ReadError::features(Reason::quoting(|quote| {
                let len = quote.of(shape.len());
                format!("has {len} features a row; at most {SAMPLE_LEN_MAX} are allowed")
            })));
        }
        // These fit: the limit on a row's numbers bounds them.
        let row = shape.len() as usize;
        let mut axes = vec![(rows as usize, row)];
        match (shape, layout) {
            (SampleShape::Vector(len), _) => axes.push((len as usize, 1)),
            // Arrays are never read as one of these.
            (SampleShape::Table { .. } | SampleShape::Sequence { .. }, _) => axes.push((row, 1)),
            (
                SampleShape::Image {
                    channels,
                    height,
                    width,
                },
                layout,
            ) => {
                let (channels, height, width) = (channels as usize, height as usize, width as usize);
                let channel = (channels, height * width);
                axes.extend([(height, width), (width, 1)]);
                // An array with one channel may omit that axis.
                let at = match layout {
                    Layout::ChannelsFirst => 1,
                    Layout::ChannelsLast => 3,
                };
                if sizes.len() == 4 {
                    axes.insert(at, channel);
                }
            }
        }
        if is_fortran {
            axes.reverse();
        }
        Ok(Self { rows, shape, axes })
    }

    /// Places of the numbers, in the order of the file.
    pub(super) fn places(&self) -> Places<'_> {
        Places {
            axes: &self.axes,
            at: vec![0; self.axes.len()],
            place: 0,
        }
    }

    /// A place as text, counted as by NumPy.
    pub(super) fn words(&self, place: usize) -> String {
        let row_len = self.shape.len() as usize;
        let (row, column) = (place / row_len, place % row_len);
        match self.shape {
            SampleShape::Vector(_) | SampleShape::Table { .. } | SampleShape::Sequence { .. } => {
                format!("row {row}, column {column}:")
            }
            SampleShape::Image { height, width, .. } => {
                let (height, width) = (height as usize, width as usize);
                let (channel, y, x) = (column / (height * width), column / width % height, column % width);
                format!("row {row}, channel {channel}, y {y}, x {x}:")
            }
        }
    }
}

/// Goes through the axes as an odometer does.
pub(super) struct Places<'a> {
    axes: &'a [(usize, usize)],
    at: Vec<usize>,
    place: usize,
}

impl Iterator for Places<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let place = self.place;
        for (at, (size, step)) in self.at.iter_mut().zip(self.axes).rev() {
            *at += 1;
            self.place += step;
            if *at < *size {
                break;
            }
            self.place -= step * *size;
            *at = 0;
        }
        Some(place)
    }
}

/// The rows, the shape of a row, and its layout.
fn rows_of(
    sizes: &[u64],
    layout: Option<Layout>,
    asked: Option<SampleShape>,
) -> Result<(u32, SampleShape, Layout), Reason> {
    let size = |size: &u64| u32::try_from(*size).map_err(|_| Reason::from("has a size beyond 2^32"));
    let sizes = sizes.iter().map(size).collect::<Result<Vec<_>, _>>()?;
    let first = Layout::ChannelsFirst;
    let (rows, shape) = match *sizes.as_slice() {
        [rows, len] => (rows, SampleShape::Vector(len)),
        [rows, height, width] => (rows, image(1, height, width)),
        [rows, a, b, c] => {
            let layout = match layout {
                Some(layout) => layout,
                None => layout_of([a, b, c], asked)?,
            };
            return Ok((rows, read_as([a, b, c], layout), layout));
        }
        _ => {
            return Err(Reason::quoting(|quote| {
                let sizes = quote.of(format!("{sizes:?}"));
                format!(
                    "has shape {sizes}; tables have 2 axes [rows, features], images 3 [rows, height, width] or 4 with channels"
                )
            }));
        }
    };
    Ok((rows, shape, first))
}

fn image(channels: u32, height: u32, width: u32) -> SampleShape {
    SampleShape::Image {
        channels,
        height,
        width,
    }
}

fn read_as([a, b, c]: [u32; 3], layout: Layout) -> SampleShape {
    match layout {
        Layout::ChannelsFirst => image(a, b, c),
        Layout::ChannelsLast => image(c, a, b),
    }
}

/// The layout of images if the study omits it. In most arrays of pictures the last axis has the channels; if its length
/// fits that, the study must name the layout.
fn layout_of(sizes: [u32; 3], asked: Option<SampleShape>) -> Result<Layout, Reason> {
    let readings = [Layout::ChannelsFirst, Layout::ChannelsLast].map(|layout| (read_as(sizes, layout), layout));
    let may_be_channels = matches!(sizes[2], 1 | 3 | 4) && sizes != [1; 3];
    if !may_be_channels {
        return Ok(Layout::ChannelsFirst);
    }
    if let Some(asked) = asked {
        let mut fits = readings.iter().filter(|(shape, _)| *shape == asked);
        if let (Some((_, layout)), None) = (fits.next(), fits.next()) {
            return Ok(*layout);
        }
    }
    Err(Reason::quoting(|quote| {
        let [a, b, c] = sizes.map(|size| quote.of(size));
        let channels = |count: &str| if count == "1" { "channel" } else { "channels" };
        format!(
            "may be {a} x {b} pixels of {c} {} (layout: channels_last) or {c} wide, {b} high with {a} {} (layout: channels_first): \
             set layout",
            channels(&c),
            channels(&a)
        )
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(sizes: &[u64], is_fortran: bool, layout: Option<Layout>) -> Result<Grid, String> {
        Grid::new(sizes, is_fortran, layout, None).map_err(|error| error.reason)
    }

    fn places(sizes: &[u64], is_fortran: bool, layout: Option<Layout>) -> Vec<usize> {
        let grid = grid(sizes, is_fortran, layout).expect("a grid");
        let len = sizes.iter().product::<u64>() as usize;
        grid.places().take(len).collect()
    }

    #[test]
    fn numbers_go_where_they_belong() {
        assert_eq!(places(&[2, 3], false, None), [0, 1, 2, 3, 4, 5]);
        assert_eq!(places(&[2, 3], true, None), [0, 3, 1, 4, 2, 5]);
        assert_eq!(places(&[2, 1, 2], true, None), [0, 2, 1, 3]);
        // One row, 1 high and 2 wide, 3 channels: red, green and blue of the left pixel come first.
        assert_eq!(
            places(&[1, 1, 2, 3], false, Some(Layout::ChannelsLast)),
            [0, 2, 4, 1, 3, 5]
        );
        assert_eq!(
            places(&[1, 1, 2, 3], true, Some(Layout::ChannelsLast)),
            [0, 1, 2, 3, 4, 5]
        );
        assert_eq!(places(&[1, 3, 1, 2], false, None), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_layout_that_may_be_meant_has_to_be_said() {
        let silent = |a, b, c| grid(&[9, a, b, c], false, None).map(|grid| grid.shape);
        assert_eq!(silent(3, 12, 12), Ok(image(3, 12, 12)));
        assert_eq!(silent(12, 12, 5), Ok(image(12, 12, 5)));
        assert_eq!(silent(1, 1, 1), Ok(image(1, 1, 1)));
        for (a, b, c) in [(12, 12, 3), (28, 28, 1), (3, 3, 3), (1, 28, 1), (2, 8, 4)] {
            assert!(silent(a, b, c).is_err(), "{a} {b} {c}");
        }
        assert_eq!(
            silent(12, 10, 3).expect_err("either"),
            "may be 12 x 10 pixels of 3 channels (layout: channels_last) or 3 wide, 10 high with 12 channels (layout: \
             channels_first): set layout"
        );
        let asked = Grid::new(&[9, 12, 10, 3], false, None, Some(image(3, 12, 10))).expect("one of them is asked for");
        assert_eq!(asked.shape, image(3, 12, 10));
        let last = grid(&[9, 12, 10, 3], false, Some(Layout::ChannelsLast)).expect("said");
        assert_eq!(last.words(12 * 10 * 3 + 120 + 10 + 2), "row 1, channel 1, y 1, x 2:");
    }
}
