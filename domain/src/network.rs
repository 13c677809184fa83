//! A network and its training with all settings fixed: the form that a worker trains.

use crate::layer::{Layer, Misfit, list_of, places};
use crate::limits::{CHECKPOINT_BYTES_MAX, LAYERS_MAX, NETWORK_PARAMS_MAX};
use crate::loss::Loss;
use crate::optimizer::Hyperparameters;
use crate::violation::Violation;
use trawl_dataset::SampleShape;

/// Properties that networks must share to train together.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Architecture {
    /// Shape of a row's features.
    pub input: SampleShape,
    /// Layers, from the input on; inner layers follow their residual.
    pub layers: Vec<Layer>,
    /// The loss.
    pub loss: Loss,
    /// Rows per step.
    pub batch_size: u32,
    /// Passes over the training rows.
    pub epochs: u32,
}

impl Architecture {
    /// Shapes of the layers' inputs, in order, and of the last one's output. A residual's input is the input of its first layer.
    ///
    /// # Errors
    /// The first layer that does not take its input, in the list `layers`, and why.
    pub fn shapes(&self) -> Result<Vec<SampleShape>, Violation> {
        let mut shapes = vec![self.input];
        let mut shape = self.input;
        // Open residuals: the index of each, and of its last layer.
        let mut open: Vec<(usize, usize)> = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            shape = layer.output(shape).map_err(|misfit| self.misfit(index, misfit))?;
            shapes.push(shape);
            if layer.inner() > 0 {
                open.push((index, index + layer.inner()));
            }
            while let Some((residual, _)) = open.pop_if(|(_, last)| *last == index) {
                // The input of its first layer.
                let input = shapes[residual + 1];
                if input != shape {
                    return Err(self.misfit(residual, Misfit::of_sum(input.into(), shape.into())));
                }
            }
        }
        Ok(shapes)
    }

    fn misfit(&self, index: usize, misfit: Misfit) -> Violation {
        let places = places(&self.layers);
        let (list, place) = list_of(&places[index]);
        misfit.at(&list, place, self.layers[index].kind())
    }

    /// The name of each layer in PyTorch, where residuals are modules with their own `nn.Sequential`, as in `3.0`.
    pub fn names(&self) -> Vec<String> {
        let name = |place: Vec<usize>| {
            let indices: Vec<String> = place.iter().map(usize::to_string).collect();
            indices.join(".")
        };
        places(&self.layers).into_iter().map(name).collect()
    }

    /// Shape of the output of a network within the limits.
    ///
    /// # Errors
    /// The fault of the list `layers`: its length, a layer that does not take its input, or too many trainable numbers.
    pub fn output(&self) -> Result<SampleShape, Violation> {
        let wrong = |description| Violation {
            field: "layers".to_owned(),
            description,
        };
        if !(1..=LAYERS_MAX).contains(&self.layers.len()) {
            return Err(wrong(format!(
                "must be 1 to {LAYERS_MAX}, and are {}",
                self.layers.len()
            )));
        }
        let shapes = self.shapes()?;
        let params = self.params();
        if params > NETWORK_PARAMS_MAX {
            return Err(wrong(format!(
                "have {params} trainable numbers; at most {NETWORK_PARAMS_MAX} are allowed"
            )));
        }
        Ok(shapes.last().copied().unwrap_or(self.input))
    }

    /// Trainable numbers of one network; 0 if its layers do not fit together.
    pub fn params(&self) -> u64 {
        let shapes = self.shapes().unwrap_or_default();
        let each = self
            .layers
            .iter()
            .zip(&shapes)
            .map(|(layer, input)| layer.params(*input));
        each.fold(0, u64::saturating_add)
    }

    /// The layers with a weight, from the input on: index, and shape of the weight in PyTorch's order, outputs first.
    /// If the layer's kind has a bias, that has a number for each output.
    ///
    /// # Errors
    /// As [`Self::shapes`].
    pub fn weights(&self) -> Result<Vec<(usize, Vec<u32>)>, Violation> {
        let shapes = self.shapes()?;
        let layers = self.layers.iter().zip(shapes).enumerate();
        Ok(layers
            .filter_map(|(index, (layer, input))| Some((index, layer.weight(input)?)))
            .collect())
    }

    /// Number of dropout layers, and so of each network's dropout probabilities.
    pub fn dropout_layers(&self) -> usize {
        self.layers.iter().filter(|layer| layer.drops()).count()
    }

    /// Most bytes of a checkpoint of `networks` networks. Each trainable number, and each number of a layer's padding,
    /// gets more than all that may be stored for it: its value, two numbers of the optimizer, its average, its best
    /// value, and a batch norm's statistic, now and at its best. The rest gets a constant.
    pub fn checkpoint_bytes_max(&self, networks: u32) -> u64 {
        const BYTES_PER_NUMBER: u64 = 32;
        const PADDING_PER_LAYER: u64 = 64;
        const REST_BYTES: u64 = 1 << 20;
        let padding = PADDING_PER_LAYER * self.layers.len() as u64;
        let numbers = self
            .params()
            .saturating_add(padding)
            .saturating_mul(u64::from(networks));
        let bytes = numbers.saturating_mul(BYTES_PER_NUMBER).saturating_add(REST_BYTES);
        bytes.min(CHECKPOINT_BYTES_MAX)
    }

    /// Multiplications of one training step of one network, forward; 0 if its layers do not fit together.
    pub fn step_work(&self) -> u64 {
        let shapes = self.shapes().unwrap_or_default();
        let each = self
            .layers
            .iter()
            .zip(shapes.windows(2))
            .map(|(layer, shapes)| layer.work(shapes[0], shapes[1]));
        each.fold(0, u64::saturating_add)
            .saturating_mul(u64::from(self.batch_size))
    }

    /// True if some layer applies its weights at many positions.
    pub fn has_convolution(&self) -> bool {
        let is_convolution = |layer: &Layer| matches!(layer, Layer::Conv1d(_) | Layer::Conv2d(_));
        self.layers.iter().any(is_convolution)
    }
}

/// One configuration, ready to be trained.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialConfig {
    /// The part shared with others.
    pub architecture: Architecture,
    /// Its own settings.
    pub hyperparameters: Hyperparameters,
}

#[cfg(test)]
mod tests {
    use super::Architecture;
    use crate::layer::{Conv, Layer};
    use crate::loss::Loss;
    use trawl_dataset::SampleShape;

    #[test]
    fn shapes_params_and_work_are_those_of_the_papers_cnn() {
        let conv = |filters| {
            Layer::Conv2d(Conv {
                filters,
                kernel: 5,
                stride: 1,
                padding: 0,
            })
        };
        let architecture = Architecture {
            input: SampleShape::Image {
                channels: 1,
                height: 28,
                width: 28,
            },
            layers: vec![
                conv(32),
                Layer::MaxPool2d { kernel: 2 },
                conv(64),
                Layer::Flatten,
                Layer::Linear { units: 128 },
                Layer::Linear { units: 10 },
            ],
            loss: Loss::CrossEntropy,
            batch_size: 64,
            epochs: 9,
        };
        let dims: Vec<Vec<u32>> = architecture
            .shapes()
            .expect("they fit")
            .into_iter()
            .map(SampleShape::dims)
            .collect();
        let expected: [&[u32]; 7] = [
            &[1, 28, 28],
            &[32, 24, 24],
            &[32, 12, 12],
            &[64, 8, 8],
            &[4096],
            &[128],
            &[10],
        ];
        assert_eq!(dims, expected);
        let (first, second) = (32 * (25 + 1), 64 * (32 * 25 + 1));
        let linear = 128 * 4097 + 10 * 129;
        assert_eq!(architecture.params(), first + second + linear);
        assert_eq!(
            architecture.step_work(),
            64 * (first * 24 * 24 + second * 8 * 8 + linear)
        );
    }

    #[test]
    fn what_a_residual_adds_has_the_shape_of_what_goes_in() {
        let linear = |units| Layer::Linear { units };
        let mut architecture = Architecture {
            input: SampleShape::Vector(3),
            layers: vec![
                linear(5),
                Layer::Residual { layers: 4 },
                linear(7),
                Layer::Residual { layers: 1 },
                Layer::LayerNorm,
                linear(5),
                linear(1),
            ],
            loss: Loss::Mse,
            batch_size: 8,
            epochs: 1,
        };
        let shapes = architecture.shapes().expect("they fit");
        let dims: Vec<u32> = shapes.into_iter().flat_map(SampleShape::dims).collect();
        assert_eq!(dims, [3, 5, 5, 7, 7, 7, 5, 1]);
        assert_eq!(architecture.names(), ["0", "1", "1.0", "1.1", "1.1.0", "1.2", "2"]);
        assert_eq!(architecture.params(), 20 + 42 + 14 + 40 + 6);
        architecture.layers[5] = linear(6);
        let error = architecture.shapes().expect_err("5 and 6").to_string();
        assert_eq!(
            error,
            "layers[1].residual: adds a vector of 6, which its layers put out, to a vector of 5, which goes in: end them so that both are the same"
        );
        architecture.layers[3] = Layer::Residual { layers: 2 };
        let error = architecture.shapes().expect_err("7 and 6").to_string();
        assert!(
            error.starts_with("layers[1].residual.layers[1].residual: adds a vector of 6"),
            "{error}"
        );
    }

    #[test]
    fn a_checkpoint_is_bounded_by_the_networks_in_it() {
        let architecture = |units| Architecture {
            input: SampleShape::Vector(1),
            layers: vec![Layer::Linear { units }],
            loss: Loss::Mse,
            batch_size: 8,
            epochs: 1,
        };
        // Two numbers for each output, for which at most 40 bytes are stored.
        assert_eq!(architecture(1).checkpoint_bytes_max(1), (1 << 20) + 32 * (2 + 64));
        assert_eq!(
            architecture(1_000).checkpoint_bytes_max(64),
            (1 << 20) + 64 * 32 * (2_000 + 64)
        );
        let mut large = architecture(65_536);
        large.layers.push(Layer::Linear { units: 65_536 });
        assert_eq!(large.checkpoint_bytes_max(64), 2 << 30);
    }
}
