//! Networks with norms and residuals, which are compared as they train.

use tch::Device;
use trawl_domain::layer::{Activation, Conv2d, Layer};
use trawl_domain::loss::Loss;
use trawl_domain::optimizer::Optimizer;
use trawl_engine::FitJob;
use trawl_engine_torch::DeviceTable;

use super::{Images, cnn_job, members, table_job};

const fn linear(units: u32) -> Layer {
    Layer::Linear { units }
}

const fn residual(layers: u32) -> Layer {
    Layer::Residual { layers }
}

const fn conv(filters: u32, kernel: u32, padding: u32) -> Layer {
    Layer::Conv2d(Conv2d {
        filters,
        kernel,
        stride: 1,
        padding,
    })
}

const SELU: Layer = Layer::Activation(Activation::Selu);
const SOFTPLUS: Layer = Layer::Activation(Activation::Softplus);
const RELU: Layer = Layer::Activation(Activation::Relu);
const TANH: Layer = Layer::Activation(Activation::Tanh);

/// A network whose training has a run of its own. That of `images` takes the images and predicts classes, others the table and numbers.
#[derive(Clone, Debug)]
pub(crate) struct NetworkRun {
    pub(crate) name: &'static str,
    pub(crate) images: bool,
    layers: Vec<Layer>,
    batch_size: u32,
    epochs: u32,
}

/// Every norm and every residual: of vectors and images, within each other, and with a last batch of one row.
pub(crate) fn network_runs() -> Vec<NetworkRun> {
    let run = |name, batch_size, layers: &[Layer]| NetworkRun {
        name,
        images: false,
        layers: layers.to_vec(),
        batch_size,
        epochs: 15,
    };
    let batch_norms = [
        linear(16),
        Layer::BatchNorm,
        SELU,
        linear(8),
        Layer::BatchNorm,
        TANH,
        linear(1),
    ];
    vec![
        run("batch_norm", 12, &batch_norms),
        // Of 80 training rows, one is left.
        run("batch_norm_of_one_row", 79, &batch_norms),
        run(
            "layer_norm",
            12,
            &[
                linear(16),
                Layer::LayerNorm,
                SOFTPLUS,
                linear(9),
                Layer::LayerNorm,
                SELU,
                linear(1),
            ],
        ),
        run(
            "residuals",
            12,
            &[
                linear(10),
                residual(6),
                Layer::LayerNorm,
                linear(7),
                SOFTPLUS,
                residual(1),
                SELU,
                linear(10),
                Layer::BatchNorm,
                residual(1),
                TANH,
                linear(1),
            ],
        ),
        NetworkRun {
            name: "images",
            images: true,
            layers: vec![
                conv(6, 5, 0),
                Layer::BatchNorm,
                RELU,
                Layer::MaxPool2d { kernel: 2 },
                residual(3),
                conv(6, 3, 1),
                Layer::BatchNorm,
                SELU,
                Layer::GlobalAvgPool,
                Layer::LayerNorm,
                linear(10),
            ],
            batch_size: 20,
            epochs: 10,
        },
    ]
}

/// The members as one job on such a network.
pub(crate) fn network_job(run: &NetworkRun, device: Device) -> FitJob<DeviceTable> {
    let mut job = if run.images {
        cnn_job(Images::Means, device)
    } else {
        table_job(
            Activation::Tanh,
            Loss::Mse,
            run.batch_size,
            run.epochs,
            members(),
            device,
        )
    };
    job.architecture.layers.clone_from(&run.layers);
    for member in &mut job.members {
        let own = &mut member.hyperparameters;
        // Norms let gradients grow: steps beside which PyTorch in f32 agrees with itself in f64.
        if own.optimizer == Optimizer::Rmsprop {
            own.learning_rate /= 3.0;
        }
    }
    job
}
