//! Augmentation on the device: changes the images of a batch for each network of a stack by that network's own settings.
//!
//! The draws depend only on the seed, the fold, the epoch and the step, so they are the same in any stack, and after any crash.
//! Where nothing is to be changed, no bit changes.

use tch::{Device, Kind, Tensor};
use trawl_dataset::SampleShape;
use trawl_domain::augment::{Augment, Change};
use trawl_domain::seed::{FitOwner, Purpose, Seed, Stream};
use trawl_engine::{EngineError, FitJob};

use super::DeviceTable;
use super::stack::Stack;

/// The settings of a stack's networks. At least one network changes its images.
#[derive(Debug)]
pub(super) struct Augmentation {
    seed: Seed,
    /// By place in the stack, without idle networks.
    members: Vec<(FitOwner, u32, Augment)>,
    stack: i64,
    height: u32,
    width: u32,
    device: Device,
}

/// An augmented batch.
pub(super) struct Augmented {
    /// Images, [stack, rows, channels, height, width].
    pub(super) features: Tensor,
    /// How rows are mixed, if any are.
    pub(super) mix: Option<Mix>,
}

/// Mixes rows with those at the other end of their batch.
#[derive(Debug)]
pub(super) struct Mix {
    /// The share of its own that a row keeps, [stack].
    share: Tensor,
    /// Where that share is below 1, [stack].
    is_mixed: Tensor,
}

impl Augmentation {
    /// `None` if no network changes anything.
    ///
    /// # Errors
    /// A network changes its rows, and they are no images.
    pub(super) fn new(stack: &Stack, job: &FitJob<DeviceTable>) -> Result<Option<Self>, EngineError> {
        let members = stack.places().iter().map(|member| &job.members[*member]);
        let members: Vec<_> = members
            .map(|member| (member.owner, member.fold, member.hyperparameters.augment))
            .collect();
        if !members.iter().any(|(_, _, own)| own.changes()) {
            return Ok(None);
        }
        let SampleShape::Image { height, width, .. } = job.architecture.input else {
            return Err(EngineError::BadJob("it augments rows that are no images".to_owned()));
        };
        Ok(Some(Self {
            seed: job.seed,
            members,
            stack: stack.size(),
            height,
            width,
            device: stack.device(),
        }))
    }

    /// The images of a step of an epoch, both counted from 0, changed.
    pub(super) fn apply(&self, features: Tensor, epoch: u32, step: u64) -> Augmented {
        let rows = features.size()[1] as usize;
        let none = Augment::default();
        let mut changes = Vec::with_capacity(self.stack as usize * rows);
        let mut shares = vec![1.0_f32; self.stack as usize];
        for (place, share) in shares.iter_mut().enumerate() {
            let (mut stream, own) = match self.members.get(place) {
                Some((owner, fold, own)) if own.changes() => (Some(self.stream(*owner, *fold, epoch, step)), *own),
                _ => (None, none),
            };
            match &mut stream {
                Some(stream) => {
                    changes.extend((0..rows).map(|_| own.draw(self.height, self.width, stream)));
                    *share = own.share(stream);
                }
                None => changes.extend(std::iter::repeat_n(UNCHANGED, rows)),
            }
        }
        let features = self.moved(features, &changes);
        let features = self.with_holes(features, &changes);
        let mix = Mix::new(&shares, self.device);
        Augmented {
            features: match &mix {
                None => features,
                Some(mix) => mix.of(&features, &features.flip([1])),
            },
            mix,
        }
    }

    fn stream(&self, owner: FitOwner, fold: u32, epoch: u32, step: u64) -> Stream {
        self.seed.stream(Purpose::Augment {
            owner,
            fold,
            epoch,
            step,
        })
    }

    /// Crops, mirrors and turns images. A turned image interpolates each pixel between four; others copy one.
    fn moved(&self, features: Tensor, changes: &[Change]) -> Tensor {
        let is_moved = |change: &Change| change.is_flipped || change.shift != [0; 2] || is_turned(change);
        if !changes.iter().any(is_moved) {
            return features;
        }
        let of = |value: fn(&Change) -> f32| self.of_images(changes, value);
        let (cosine, sine) = (of(|change| change.turn[0]), of(|change| change.turn[1]));
        let (last_y, last_x) = (f64::from(self.height - 1), f64::from(self.width - 1));
        let (y, x) = (self.rows() - last_y / 2.0, self.columns() - last_x / 2.0);
        // The pixel's source: turned back about the middle, mirrored, and shifted.
        let from_y = &x * &sine + &y * &cosine + last_y / 2.0;
        let from_x = &x * &cosine - &y * &sine + last_x / 2.0;
        let is_flipped = of(|change| f32::from(u8::from(change.is_flipped))).to_kind(Kind::Bool);
        let from_x = (last_x - &from_x).where_self(&is_flipped, &from_x);
        let from_y = from_y + of(|change| change.shift[0] as f32);
        let from_x = from_x + of(|change| change.shift[1] as f32);

        let size = features.size();
        let images = features.view([size[0] * size[1], size[2], -1]);
        let (first_y, first_x) = (from_y.floor(), from_x.floor());
        let plain = self.pixels(&images, &first_y, &first_x);
        if !changes.iter().any(is_turned) {
            return plain.view(size.as_slice());
        }
        let (part_y, part_x) = (from_y - &first_y, from_x - &first_x);
        let mut turned = plain.zeros_like();
        for (step_y, step_x) in [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)] {
            let weight = |part: &Tensor, step: f64| if step == 0.0 { 1.0 - part } else { part.shallow_clone() };
            let weight = (weight(&part_y, step_y) * weight(&part_x, step_x))
                .flatten(1, 2)
                .unsqueeze(1);
            turned += self.pixels(&images, &(&first_y + step_y), &(&first_x + step_x)) * weight;
        }
        let is_turned = of(|change| f32::from(u8::from(is_turned(change)))).to_kind(Kind::Bool);
        turned.where_self(&is_turned, &plain).view(size.as_slice())
    }

    /// The pixels at these rows and columns, [images, height, width], as [images, channels, height x width]: 0 beyond the edges.
    fn pixels(&self, images: &Tensor, rows: &Tensor, columns: &Tensor) -> Tensor {
        let within = |place: &Tensor, size: u32| place.ge(0.0).logical_and(&place.lt(f64::from(size)));
        let is_within = within(rows, self.height).logical_and(&within(columns, self.width));
        let (rows, columns) = (
            rows.clamp(0.0, f64::from(self.height - 1)),
            columns.clamp(0.0, f64::from(self.width - 1)),
        );
        let place = (rows * f64::from(self.width) + columns).to_kind(Kind::Int64);
        let flat = |places: &Tensor| places.flatten(1, 2).unsqueeze(1);
        let place = flat(&place).expand([-1, images.size()[1], -1], false);
        let found = images.gather(2, &place, false);
        found.where_self(&flat(&is_within), &found.zeros_like())
    }

    fn with_holes(&self, features: Tensor, changes: &[Change]) -> Tensor {
        let side = |place: usize| self.members.get(place).map_or(0, |(_, _, own)| own.cutout);
        if (0..self.members.len()).all(|place| side(place) == 0) {
            return features;
        }
        let rows = changes.len() / self.stack as usize;
        let sides: Vec<f32> = (0..changes.len()).map(|image| side(image / rows) as f32).collect();
        let side = Tensor::from_slice(&sides).view([-1, 1, 1]).to_device(self.device);
        let within = |places: &Tensor, first: Tensor| {
            places
                .ge_tensor(&first)
                .logical_and(&places.lt_tensor(&(first + &side)))
        };
        let is_hole = within(&self.rows(), self.of_images(changes, |change| change.hole[0] as f32)).logical_and(
            &within(&self.columns(), self.of_images(changes, |change| change.hole[1] as f32)),
        );
        let size = features.size();
        let is_hole = is_hole.view([size[0], size[1], 1, size[3], size[4]]);
        features.masked_fill(&is_hole, 0.0)
    }

    /// A number of each image, [images, 1, 1].
    fn of_images(&self, changes: &[Change], value: fn(&Change) -> f32) -> Tensor {
        let values: Vec<f32> = changes.iter().map(value).collect();
        Tensor::from_slice(&values).view([-1, 1, 1]).to_device(self.device)
    }

    /// 0, 1, …, [height, 1].
    fn rows(&self) -> Tensor {
        Tensor::arange(i64::from(self.height), (Kind::Float, self.device)).unsqueeze(1)
    }

    /// 0, 1, …, [1, width].
    fn columns(&self) -> Tensor {
        Tensor::arange(i64::from(self.width), (Kind::Float, self.device)).unsqueeze(0)
    }
}

/// An image as it is.
const UNCHANGED: Change = Change {
    is_flipped: false,
    shift: [0; 2],
    turn: [1.0, 0.0],
    hole: [0; 2],
};

fn is_turned(change: &Change) -> bool {
    change.turn != UNCHANGED.turn
}

impl Mix {
    fn new(shares: &[f32], device: Device) -> Option<Self> {
        let is_mixed: Vec<bool> = shares.iter().map(|share| *share < 1.0).collect();
        is_mixed.contains(&true).then(|| Self {
            share: Tensor::from_slice(shares).to_device(device),
            is_mixed: Tensor::from_slice(&is_mixed).to_device(device),
        })
    }

    /// Values of rows, [stack, …], mixed with those of the rows at the other end of the batch.
    pub(super) fn of(&self, own: &Tensor, others: &Tensor) -> Tensor {
        let mut shape = vec![1; own.dim()];
        shape[0] = -1;
        let (share, is_mixed) = (self.share.view(shape.as_slice()), self.is_mixed.view(shape.as_slice()));
        let rest: Tensor = 1.0 - &share;
        let mixed: Tensor = own * share + others * rest;
        mixed.where_self(&is_mixed, own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For one network of images of this size, which cuts holes of side `cutout`.
    fn augmentation(height: u32, width: u32, cutout: u32) -> Augmentation {
        let own = Augment {
            cutout,
            ..Augment::default()
        };
        Augmentation {
            seed: Seed(1),
            members: vec![(FitOwner::Trial(0), 0, own)],
            stack: 1,
            height,
            width,
            device: Device::Cpu,
        }
    }

    /// A changed image of two channels, the second of which is ten times the first.
    fn changed(rows: &[&[f32]], cutout: u32, change: Change) -> Vec<Vec<f32>> {
        let (height, width) = (rows.len(), rows[0].len());
        let first = rows.concat();
        let second = first.iter().map(|pixel| 10.0 * pixel);
        let pixels: Vec<f32> = first.iter().copied().chain(second).collect();
        let image = Tensor::from_slice(&pixels).view([1, 1, 2, height as i64, width as i64]);
        let augmentation = augmentation(height as u32, width as u32, cutout);
        let moved = augmentation.moved(image, &[change]);
        let found = crate::to_vec(&augmentation.with_holes(moved, &[change]));
        let (first, second) = found.split_at(height * width);
        let tenth: Vec<f32> = first.iter().map(|pixel| 10.0 * pixel).collect();
        assert_eq!(second, tenth, "all channels are changed alike");
        first.chunks(width).map(<[f32]>::to_vec).collect()
    }

    const IMAGE: [&[f32]; 3] = [&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0], &[9.0, 10.0, 11.0, 12.0]];

    #[test]
    fn images_are_cropped_and_then_mirrored() {
        assert_eq!(changed(&IMAGE, 0, UNCHANGED), IMAGE);
        let flipped = Change {
            is_flipped: true,
            ..UNCHANGED
        };
        let mirrored = [[4.0, 3.0, 2.0, 1.0], [8.0, 7.0, 6.0, 5.0], [12.0, 11.0, 10.0, 9.0]];
        assert_eq!(changed(&IMAGE, 0, flipped), mirrored);
        let cropped = Change {
            shift: [1, -2],
            ..UNCHANGED
        };
        let piece = [[0.0, 0.0, 5.0, 6.0], [0.0, 0.0, 9.0, 10.0], [0.0; 4]];
        assert_eq!(changed(&IMAGE, 0, cropped), piece);
        let both = Change {
            is_flipped: true,
            ..cropped
        };
        let mirrored_piece = [[6.0, 5.0, 0.0, 0.0], [10.0, 9.0, 0.0, 0.0], [0.0; 4]];
        assert_eq!(changed(&IMAGE, 0, both), mirrored_piece);
    }

    #[test]
    fn images_are_turned_counterclockwise_about_their_middle() {
        let square: [&[f32]; 3] = [&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0], &[7.0, 8.0, 9.0]];
        let turned = |turn| Change { turn, ..UNCHANGED };
        let quarter = [[3.0, 6.0, 9.0], [2.0, 5.0, 8.0], [1.0, 4.0, 7.0]];
        assert_eq!(changed(&square, 0, turned([0.0, 1.0])), quarter);
        let half = [[9.0, 8.0, 7.0], [6.0, 5.0, 4.0], [3.0, 2.0, 1.0]];
        assert_eq!(changed(&square, 0, turned([-1.0, 0.0])), half);
        // In a wide image, pixels from beyond the edges are 0.
        let wide = [
            [0.0, 3.0, 7.0, 11.0, 0.0],
            [0.0, 2.0, 6.0, 10.0, 0.0],
            [0.0, 1.0, 5.0, 9.0, 0.0],
        ];
        let five: [&[f32]; 3] = [
            &[0.0, 1.0, 2.0, 3.0, 4.0],
            &[4.0, 5.0, 6.0, 7.0, 8.0],
            &[8.0, 9.0, 10.0, 11.0, 12.0],
        ];
        assert_eq!(changed(&five, 0, turned([0.0, 1.0])), wide);
        // After an eighth of a turn, the pixel right of the middle is between the four around (1.707, 1.707).
        let eighth = std::f32::consts::FRAC_1_SQRT_2;
        let found = changed(&square, 0, turned([eighth, eighth]));
        let expected = [(5.0, 0.086), (6.0, 0.207), (8.0, 0.207), (9.0, 0.5)];
        let expected: f32 = expected.iter().map(|(pixel, weight)| pixel * weight).sum();
        assert!(
            (found[1][2] - expected).abs() < 0.01,
            "{} is not {expected}",
            found[1][2]
        );
        assert!((found[1][1] - 5.0).abs() < 1e-5);
    }

    #[test]
    fn holes_are_cut_out_as_far_as_they_are_within() {
        let hole = |hole| Change { hole, ..UNCHANGED };
        let within = [[1.0, 2.0, 3.0, 4.0], [5.0, 0.0, 0.0, 8.0], [9.0, 0.0, 0.0, 12.0]];
        assert_eq!(changed(&IMAGE, 2, hole([1, 1])), within);
        let at_the_edge = [[0.0, 2.0, 3.0, 4.0], [0.0, 6.0, 7.0, 8.0], [9.0, 10.0, 11.0, 12.0]];
        assert_eq!(changed(&IMAGE, 3, hole([-1, -2])), at_the_edge);
    }

    #[test]
    fn an_image_that_is_not_turned_has_its_own_bits_beside_one_that_is() {
        let pixels = [0.1_f32, -0.0, f32::MAX, f32::INFINITY];
        let image = Tensor::from_slice(&pixels.repeat(2)).view([1, 2, 1, 2, 2]);
        let turned = Change {
            turn: [0.6, 0.8],
            ..UNCHANGED
        };
        let moved = augmentation(2, 2, 0).moved(image, &[UNCHANGED, turned]);
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&crate::to_vec(&moved)[..4]), bits(&pixels));
    }

    #[test]
    fn rows_are_mixed_by_the_share_of_their_network() {
        let mix = Mix::new(&[0.75, 1.0], Device::Cpu).expect("one mixes");
        let own = Tensor::from_slice(&[4.0_f32, 8.0, f32::INFINITY, 2.0]).view([2, 2]);
        let mixed = crate::to_vec(&mix.of(&own, &own.flip([1])));
        assert_eq!(mixed, [5.0, 7.0, f32::INFINITY, 2.0]);
        assert!(Mix::new(&[1.0, 1.0], Device::Cpu).is_none());
    }
}
