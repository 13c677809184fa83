//! Training with classes, of tables and of images: the promises of `trainer.rs`, and losses and accuracies that belong
//! to the final weights.

mod device;
mod harness;

use device::device;
use harness::run;
use safetensors::SafeTensors;
use trawl_dataset::{Features, SampleShape, Samples, TargetKind, Targets};
use trawl_domain::fold::{Split, Validation};
use trawl_domain::job::JobMember;
use trawl_domain::layer::{Activation, Conv, Layer};
use trawl_domain::loss::Loss;
use trawl_domain::metric::Metric;
use trawl_domain::network::Architecture;
use trawl_domain::optimizer::{Hyperparameters, Optimizer};
use trawl_domain::seed::{FitOwner, Purpose, Seed};
use trawl_engine::{Engine as _, FitJob, Networks as _};
use trawl_engine_torch::{DeviceTable, Torch};

const CLASSES: u32 = 4;
const ROWS: u32 = 90;
const CHANNELS: usize = 2;
const HEIGHT: usize = 8;
const WIDTH: usize = 9;
const RELU: Layer = Layer::Activation(Activation::Relu);

/// Bytes of one image, row by row.
const IMAGE_LEN: usize = CHANNELS * HEIGHT * WIDTH;

fn label(row: u32) -> u32 {
    row * 7 % CLASSES
}

fn pixels() -> Vec<u8> {
    let pixel = |row: u32, place: u32| (label(row) * (place % 5) * 12 + (row * 31 + place * place * 17) % 100) as u8;
    (0..ROWS)
        .flat_map(|row| (0..IMAGE_LEN as u32).map(move |place| pixel(row, place)))
        .collect()
}

fn targets() -> Targets {
    Targets::Classes {
        labels: (0..ROWS).map(label).collect(),
        names: (0..CLASSES).map(|class| format!("class {class}")).collect(),
    }
}

fn images() -> Samples {
    Samples {
        rows: ROWS,
        shape: SampleShape::Image {
            channels: CHANNELS as u32,
            height: HEIGHT as u32,
            width: WIDTH as u32,
        },
        features: Features::Bytes(pixels()),
        targets: Some(targets()),
        inputs: None,
        row_keys: None,
        standardizes_target: false,
    }
}

/// Three features; the class is hidden in two of them.
fn table() -> Samples {
    let row = |row: u32| {
        let x = row as f32 / ROWS as f32 - 0.5;
        [x, (label(row) % 2) as f32 + x / 3.0, (label(row) / 2) as f32 - x / 5.0]
    };
    Samples {
        rows: ROWS,
        shape: SampleShape::Vector(3),
        features: Features::Floats((0..ROWS).flat_map(row).collect()),
        targets: Some(targets()),
        inputs: None,
        row_keys: None,
        standardizes_target: false,
    }
}

/// Convolutions with strides and padding, a pool that drops an edge, and dropout on images and on vectors.
fn cnn() -> Vec<Layer> {
    vec![
        Layer::Conv2d(Conv {
            filters: 3,
            kernel: 3,
            stride: 1,
            padding: 1,
        }),
        RELU,
        Layer::Dropout,
        Layer::MaxPool2d { kernel: 2 },
        Layer::Conv2d(Conv {
            filters: 5,
            kernel: 2,
            stride: 2,
            padding: 0,
        }),
        RELU,
        Layer::Flatten,
        Layer::Linear { units: 12 },
        RELU,
        Layer::Dropout,
        Layer::Linear { units: CLASSES },
    ]
}

fn mlp() -> Vec<Layer> {
    vec![
        Layer::Linear { units: 10 },
        Layer::Activation(Activation::Tanh),
        Layer::Dropout,
        Layer::Linear { units: 7 },
        RELU,
        Layer::Dropout,
        Layer::Linear { units: CLASSES },
    ]
}

fn job(samples: &Samples, layers: Vec<Layer>, members: Vec<JobMember>) -> FitJob<DeviceTable> {
    FitJob {
        seed: Seed(3),
        architecture: Architecture {
            input: samples.shape,
            layers,
            loss: Loss::CrossEntropy,
            batch_size: 16,
            epochs: 3,
        },
        split: Split::Validation(Validation::k_fold(3)),
        members,
        end_epoch: 3,
        metrics: trawl_domain::metric::Metric::ALL.to_vec(),
        class_weights: None,
        f1_class: None,
        row_losses: None,
        data: Torch::new(device()).load(samples).expect("samples on the device"),
        test: None,
    }
}

/// Two dropout layers; everything that may differ between members does.
fn member(n: u32) -> JobMember {
    let optimizer = [Optimizer::Rmsprop, Optimizer::Adam, Optimizer::Sgd][n as usize % 3];
    JobMember {
        owner: FitOwner::Trial(n),
        fold: n % 3,
        hyperparameters: Hyperparameters {
            l2: [0.0, 1e-3][n as usize % 2],
            momentum: if optimizer == Optimizer::Sgd { 0.9 } else { 0.0 },
            dropout: vec![[0.0, 0.25][n as usize / 2 % 2], [0.0, 0.5, 0.2][n as usize % 3]],
            ..Hyperparameters::new(optimizer, 1e-3 * f64::from(1 + n % 5))
        },
    }
}

#[test]
fn a_member_is_the_same_in_every_job() {
    for (samples, layers, together, count) in [(images(), cnn(), false, 7), (table(), mlp(), true, 40)] {
        let members: Vec<JobMember> = (0..count).map(member).collect();
        let all = job(&samples, layers.clone(), members.clone());
        assert_eq!(Torch::new(device()).is_fused(&all.architecture), together);
        let all = run(&all);
        let of_classes = || {
            let all = Metric::ALL.iter().copied();
            all.filter(|metric| metric.is_for(TargetKind::Class))
        };
        let has_all = |bits: &harness::Bits| {
            bits.iter()
                .all(|(_, metrics)| metrics.iter().map(|(metric, _)| *metric).eq(of_classes()))
        };
        assert!(all.losses.iter().all(|bits| bits.len() == 3 && has_all(bits)));
        for (n, member) in members.iter().enumerate() {
            let alone = run(&job(&samples, layers.clone(), vec![member.clone()]));
            assert_eq!(alone.losses[0], all.losses[n], "{}: member {n} alone", samples.shape);
            assert_eq!(
                alone.trained.networks.weights(0).expect("weights"),
                all.trained.networks.weights(n).expect("weights"),
                "{}: weights of member {n} alone",
                samples.shape
            );
        }
    }
}

#[test]
fn a_member_that_diverges_leaves_alone() {
    let members: Vec<JobMember> = (0..4).map(member).collect();
    let without = run(&job(&images(), cnn(), members.clone()));
    assert_eq!(without.diverged, []);
    let mut wild = member(2);
    wild.owner = FitOwner::Trial(50);
    wild.hyperparameters.learning_rate = 1e30;
    let mut more = members;
    more.insert(1, wild);
    let mut with = run(&job(&images(), cnn(), more));
    assert_eq!(with.diverged, [(0, 1)]);
    assert_eq!(with.losses.remove(1), []);
    assert_eq!(with.losses, without.losses);
    for (before, after) in [(0, 0), (1, 2), (2, 3), (3, 4)] {
        assert_eq!(
            with.trained.networks.weights(after),
            without.trained.networks.weights(before)
        );
    }
}

#[test]
fn dropout_on_images_is_each_members_own() {
    let with_dropout = |p: f64| {
        let mut members: Vec<JobMember> = (0..4).map(member).collect();
        members[1].hyperparameters.dropout = vec![p, 0.0];
        run(&job(&images(), cnn(), members)).losses
    };
    let (without, with) = (with_dropout(0.0), with_dropout(0.5));
    for n in 0..4 {
        assert_eq!(without[n] == with[n], n != 1, "member {n}");
    }
}

/// Tensors of a file, in f64.
struct Weights<'a>(SafeTensors<'a>);

impl Weights<'_> {
    fn get(&self, layer: usize, which: &str) -> Vec<f64> {
        let tensor = self.0.tensor(&format!("{layer}.{which}")).expect("a tensor");
        let values = tensor.data().as_chunks().0.iter();
        values.map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect()
    }
}

/// Convolution of an image [channels, height, width].
fn convolve(conv: Conv, x: &[f64], shape: [usize; 3], weight: &[f64], bias: &[f64]) -> (Vec<f64>, [usize; 3]) {
    let [channels, height, width] = shape;
    let (kernel, stride, padding) = (conv.kernel as usize, conv.stride as usize, conv.padding as usize);
    let side = |side: usize| (side + 2 * padding - kernel) / stride + 1;
    let (rows, columns) = (side(height), side(width));
    let pixel = |channel: usize, y: usize, x_place: usize| {
        let inside = y >= padding && x_place >= padding && y < height + padding && x_place < width + padding;
        if inside {
            x[(channel * height + y - padding) * width + x_place - padding]
        } else {
            0.0
        }
    };
    let mut output = Vec::new();
    for (filter, bias) in bias.iter().enumerate() {
        for place in 0..rows * columns {
            let (top, left) = (place / columns * stride, place % columns * stride);
            let terms = (0..channels * kernel * kernel).map(|n| {
                let (channel, dy, dx) = (n / (kernel * kernel), n / kernel % kernel, n % kernel);
                weight[filter * channels * kernel * kernel + n] * pixel(channel, top + dy, left + dx)
            });
            output.push(terms.sum::<f64>() + bias);
        }
    }
    (output, [bias.len(), rows, columns])
}

fn max_pool(kernel: usize, x: &[f64], [channels, height, width]: [usize; 3]) -> (Vec<f64>, [usize; 3]) {
    let (rows, columns) = (height / kernel, width / kernel);
    let largest = |place: usize| {
        let (channel, y, left) = (
            place / (rows * columns),
            place / columns % rows * kernel,
            place % columns * kernel,
        );
        let square = (0..kernel * kernel).map(|n| x[(channel * height + y + n / kernel) * width + left + n % kernel]);
        square.fold(f64::NEG_INFINITY, f64::max)
    };
    (
        (0..channels * rows * columns).map(largest).collect(),
        [channels, rows, columns],
    )
}

/// Outputs for one row, without dropout, as `nn.Sequential` would have them.
fn outputs(layers: &[Layer], weights: &Weights<'_>, row: &[f64], mut shape: [usize; 3]) -> Vec<f64> {
    let mut x = row.to_vec();
    for (index, layer) in layers.iter().enumerate() {
        match layer {
            Layer::Linear { .. } => {
                let (weight, bias) = (weights.get(index, "weight"), weights.get(index, "bias"));
                let output = |(row, bias): (&[f64], &f64)| row.iter().zip(&x).map(|(w, x)| w * x).sum::<f64>() + bias;
                x = weight.chunks_exact(x.len()).zip(&bias).map(output).collect();
            }
            Layer::Conv2d(conv) => {
                let (weight, bias) = (weights.get(index, "weight"), weights.get(index, "bias"));
                (x, shape) = convolve(*conv, &x, shape, &weight, &bias);
            }
            Layer::MaxPool2d { kernel } => (x, shape) = max_pool(*kernel as usize, &x, shape),
            Layer::Activation(Activation::Tanh) => x.iter_mut().for_each(|x| *x = x.tanh()),
            Layer::Activation(kind) => {
                assert_eq!(*kind, Activation::Relu);
                x.iter_mut().for_each(|x| *x = x.max(0.0));
            }
            Layer::Flatten | Layer::Dropout => {}
            other => panic!("no network here has {other:?}"),
        }
    }
    x
}

/// Cross-entropy of outputs, and whether the class is predicted.
fn judge(outputs: &[f64], label: u32) -> (f64, bool) {
    let right = outputs[label as usize];
    let sum: f64 = outputs.iter().map(|output| (output - right).exp()).sum();
    let is_highest = outputs.iter().all(|output| *output <= right);
    (sum.ln(), is_highest)
}

/// Rows as they go into a network.
fn inputs(samples: &Samples) -> Vec<Vec<f64>> {
    let values: Vec<f64> = match &samples.features {
        Features::Floats(values) => values.iter().copied().map(f64::from).collect(),
        Features::Bytes(pixels) => pixels.iter().map(|pixel| f64::from(*pixel) / 255.0).collect(),
        Features::Whole(values) => values.iter().copied().map(f64::from).collect(),
    };
    let len = samples.shape.len() as usize;
    values.chunks_exact(len).map(<[f64]>::to_vec).collect()
}

#[test]
fn weights_reproduce_test_loss_and_accuracy() {
    for (samples, layers) in [(images(), cnn()), (table(), mlp())] {
        let mut job = job(&samples, layers.clone(), (0..6).map(member).collect());
        job.split = Split::All;
        job.architecture.epochs = 8;
        job.end_epoch = 8;
        job.test = Some(Torch::new(device()).load(&samples).expect("samples on the device"));
        let ran = run(&job);
        for (n, test) in ran.trained.test.iter().enumerate() {
            let test = test.expect("there are test rows");
            let file = ran.trained.networks.weights(n).expect("weights");
            let weights = Weights(SafeTensors::deserialize(&file).expect("safetensors"));
            let judged: Vec<(f64, bool)> = inputs(&samples)
                .iter()
                .zip(0..)
                .map(|(row, n)| judge(&outputs(&layers, &weights, row, [CHANNELS, HEIGHT, WIDTH]), label(n)))
                .collect();
            let loss = judged.iter().map(|(loss, _)| loss).sum::<f64>() / judged.len() as f64;
            let right = judged.iter().filter(|(_, right)| *right).count();
            let what = format!("{} member {n}", samples.shape);
            assert!(
                (loss - test.loss).abs() < 1e-5 * loss,
                "{what}: {} is not {loss}",
                test.loss
            );
            assert_eq!(test.accuracy, Some(right as f64 / f64::from(ROWS)), "{what}");
        }
    }
}

/// The masks of an image's dropout are drawn row by row, channel by channel, line by line, from the member's own
/// stream. With a learning rate of 0, the final weights are those that the first batch saw.
#[test]
fn dropout_on_images_drops_what_its_stream_says() {
    let p = 0.25;
    let layers = vec![Layer::Dropout, Layer::Flatten, Layer::Linear { units: CLASSES }];
    let mut member = member(2);
    member.hyperparameters.dropout = vec![p];
    member.hyperparameters.learning_rate = 0.0;
    let (owner, fold) = (member.owner, member.fold);
    let mut job = job(&images(), layers.clone(), vec![member]);
    job.split = Split::All;
    job.architecture.batch_size = ROWS;
    job.architecture.epochs = 1;
    job.end_epoch = 1;
    // A convolution-free network of images: one member of a padded stack.
    assert!(Torch::new(device()).is_fused(&job.architecture));
    let ran = run(&job);

    let order = job
        .seed
        .stream(Purpose::BatchOrder { owner, fold, epoch: 0 })
        .permutation(ROWS as usize);
    let mut masks = job.seed.stream(Purpose::Dropout { owner, fold, epoch: 0 });
    let rows = inputs(&images());
    let file = ran.trained.networks.weights(0).expect("weights");
    let weights = Weights(SafeTensors::deserialize(&file).expect("safetensors"));
    let mut loss = 0.0;
    for row in order {
        let mut dropped = rows[row as usize].clone();
        dropped.iter_mut().for_each(|x| {
            *x = if masks.unit_f32() < p as f32 {
                0.0
            } else {
                *x / (1.0 - p)
            }
        });
        let outputs = outputs(&layers, &weights, &dropped, [CHANNELS, HEIGHT, WIDTH]);
        loss += judge(&outputs, label(row)).0 / f64::from(ROWS);
    }
    let found = f64::from_bits(ran.losses[0][0].0);
    assert!((found - loss).abs() < 1e-5 * loss, "{found} is not {loss}");
}
