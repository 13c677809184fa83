//! Networks with norms, residuals, adaptive pools and sequences, which are compared as they train.

use tch::Device;
use trawl_domain::layer::{Activation, Conv, Layer};
use trawl_domain::loss::Loss;
use trawl_engine::{Engine as _, FitJob};
use trawl_engine_torch::{DeviceTable, Torch};

use super::{Images, cnn_job, members, table_job, words};

const fn linear(units: u32) -> Layer {
    Layer::Linear { units }
}

const fn residual(layers: u32) -> Layer {
    Layer::Residual { layers }
}

const fn conv(filters: u32, kernel: u32, padding: u32) -> Layer {
    Layer::Conv2d(Conv {
        filters,
        kernel,
        stride: 1,
        padding,
    })
}

const fn conv1d(filters: u32, kernel: u32, padding: u32) -> Layer {
    Layer::Conv1d(Conv {
        filters,
        kernel,
        stride: 1,
        padding,
    })
}

const SELU: Layer = Layer::Activation(Activation::Selu);
const SOFTPLUS: Layer = Layer::Activation(Activation::Softplus);
const TANH: Layer = Layer::Activation(Activation::Tanh);

/// A network whose training has its own run. With `images`, it takes the images and predicts classes; with `words`, it
/// takes the table with columns of words; otherwise the table and numbers.
#[derive(Clone, Debug)]
pub(crate) struct NetworkRun {
    pub(crate) name: &'static str,
    pub(crate) images: bool,
    pub(crate) words: bool,
    layers: Vec<Layer>,
    batch_size: u32,
}

/// Every norm, and residuals: of vectors and images, nested, and with a last batch of one row. No batch norm follows a
/// bias directly: the gradient of that bias is only rounding, which Adam would turn into steps.
pub(crate) fn network_runs() -> Vec<NetworkRun> {
    let run = |name, images, batch_size, layers: &[Layer]| NetworkRun {
        name,
        images,
        words: matches!(layers[0], Layer::Embedding { .. }),
        layers: layers.to_vec(),
        batch_size,
    };
    let batch_norm = [Layer::Flatten, linear(16), TANH, Layer::BatchNorm, linear(10)];
    let layer_norm = [
        linear(16),
        Layer::LayerNorm,
        SOFTPLUS,
        linear(9),
        Layer::LayerNorm,
        SELU,
        linear(1),
    ];
    let residuals = [
        linear(10),
        residual(6),
        Layer::LayerNorm,
        linear(7),
        SOFTPLUS,
        residual(1),
        SELU,
        linear(10),
        residual(1),
        TANH,
        linear(1),
    ];
    let convolutions = [
        conv(6, 5, 0),
        SOFTPLUS,
        Layer::BatchNorm,
        Layer::MaxPool2d { kernel: 2 },
        residual(3),
        conv(6, 3, 1),
        SELU,
        Layer::BatchNorm,
        Layer::GlobalAvgPool,
        Layer::LayerNorm,
        linear(10),
    ];
    let adaptive = [
        Layer::AdaptiveMaxPool2d { size: 9 },
        residual(1),
        Layer::AdaptiveAvgPool2d { size: 9 },
        conv(6, 3, 1),
        SELU,
        Layer::AdaptiveMaxPool2d { size: 5 },
        Layer::AdaptiveAvgPool2d { size: 3 },
        Layer::Flatten,
        linear(10),
    ];
    let sequences = [
        Layer::Sequence { channels: 0 },
        conv1d(6, 3, 1),
        SELU,
        Layer::BatchNorm,
        Layer::MaxPool1d { kernel: 2 },
        residual(2),
        conv1d(6, 5, 2),
        SOFTPLUS,
        Layer::AvgPool1d { kernel: 2 },
        Layer::Sequence { channels: 2 },
        Layer::GlobalAvgPool,
        linear(10),
    ];
    let embedding = [Layer::Embedding { dim: 3 }, linear(9), TANH, linear(1)];
    vec![
        run("adaptive", true, 20, &adaptive),
        run("sequences", true, 20, &sequences),
        run("embedding", false, 12, &embedding),
        run("batch_norm", true, 20, &batch_norm),
        // Of 100 training rows, the last batch has one.
        run("batch_norm_of_one_row", true, 33, &batch_norm),
        run("layer_norm", false, 12, &layer_norm),
        run("residuals", false, 12, &residuals),
        run("convolutions", true, 20, &convolutions),
    ]
}

/// The members as one job on such a network.
pub(crate) fn network_job(run: &NetworkRun, device: Device) -> FitJob<DeviceTable> {
    let mut job = if run.images {
        cnn_job(Images::Means, device)
    } else {
        table_job(Activation::Tanh, Loss::Mse, run.batch_size, 15, members(), device)
    };
    if run.words {
        let samples = words();
        job.architecture.input = samples.shape;
        job.data = Torch::new(device).load(&samples).expect("samples on the device");
    }
    job.architecture.layers.clone_from(&run.layers);
    job.architecture.batch_size = run.batch_size;
    for member in &mut job.members {
        // Norms let gradients grow: with larger steps, PyTorch's f32 and f64 results differ.
        member.hyperparameters.learning_rate /= 5.0;
    }
    job
}
