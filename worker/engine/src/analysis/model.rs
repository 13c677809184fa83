//! `model.py`: the network as a PyTorch module that loads the weights.

use std::fmt::Write as _;
use std::ops::Range;

use trawl_dataset::SampleShape;
use trawl_domain::layer::{Activation, Conv, Layer};
use trawl_domain::network::Architecture;

use super::{Analysis, SkippedArtifact};
use crate::{Networks, Table as _};

/// The text before the layers.
const HEAD: &str = r#""""A network that trawl trained, in PyTorch: `pip install torch safetensors`.

    from model import load

    model = load("weights.safetensors")
    outputs = model(rows)  # float32, INPUT

Rows go in as network.json says: prepared by `fitted` where it has that, and pixels divided by 255. Where it has `target_fitted`, what comes out is
to be multiplied by `deviation`, and `mean` added; where it has `temperature`, outputs are to be divided by it before softmax.
"""

IMPORTfrom safetensors.torch import load_file
from torch import nn


class Residual(nn.Sequential):
    """What its layers put out, plus what goes in."""

    def forward(self, x):
        return x + super().forward(x)


"#;

/// Follows the head if the network has an embedding.
const EMBEDDING: &str = r#"class Embedding(nn.Module):
    """For each column of words the weights of its word, dim numbers in place of its 0s and 1s; all other inputs stay as they are."""

    def __init__(self, words, dim):
        super().__init__()
        # Of each column of words the first input, and how many it has.
        self.words = words
        self.weight = nn.Parameter(torch.randn(sum(count for _, count in words), dim))

    def forward(self, x):
        parts, end, first = [], 0, 0
        for start, count in self.words:
            parts += [x[:, end:start], x[:, start : start + count] @ self.weight[first : first + count]]
            end, first = start + count, first + count
        return torch.cat([*parts, x[:, end:]], 1)


"#;

/// The function around the layers.
const BUILD: &str = r#"def build():
    """The network with the weights that PyTorch begins with."""
    return nn.Sequential(
"#;

/// The text after the layers.
const TAIL: &str = r#"    )


def load(weights):
    """The network with the weights of this file, for predictions."""
    model = build()
    model.load_state_dict(load_file(weights))
    return model.eval()
"#;

pub(super) fn model(analysis: &Analysis<'_, impl Networks>) -> Result<Option<Vec<u8>>, SkippedArtifact> {
    let architecture = analysis.networks.architecture();
    let inputs = analysis.subject.train.known().inputs;
    let words = inputs.map_or_else(Vec::new, |inputs| inputs.words());
    let module = python(architecture, &analysis.subject.dropout, &words)?;
    let module = match analysis.ensemble.networks() {
        [_] => module,
        networks => several(&module, networks.len())?,
    };
    Ok(module).map(|text| Some(text.into_bytes()))
}

/// The text after the layers of an ensemble.
const TAIL_OF_SEVERAL: &str = r#"    )


def load(weights):
    """The COUNT networks with the weights of this file, for predictions."""
    tensors = load_file(weights)
    models = []
    for number in range(COUNT):
        model, begin = build(), f"{number}."
        model.load_state_dict({name[len(begin) :]: tensors[name] for name in tensors if name.startswith(begin)})
        models.append(model.eval())
    return models
"#;

/// The same module for an ensemble.
fn several(module: &str, count: usize) -> Result<String, SkippedArtifact> {
    const ONE: &str = "    model = load(\"weights.safetensors\")\n    outputs = model(rows)";
    const MANY: &str = "    models = load(\"weights.safetensors\")\n    outputs = [model(rows) for model in models]";
    let text = module
        .replace(ONE, MANY)
        .replace("\"\"\"A network that trawl", &format!("\"\"\"{count} networks that trawl"))
        .replace(
            "outputs are to be divided by it before softmax.\n",
            "outputs are to be divided by it before softmax.\n\nEach network has its own `fitted` and `target_fitted`, in `folds` of network.json. The \
             prediction is the mean of theirs, and of classes the mean\nof their probabilities; the logarithm of this mean is what \
             `temperature` divides, where there is one.\n",
        );
    match text.strip_suffix(TAIL) {
        Some(layers) => Ok(format!(
            "{layers}{}",
            TAIL_OF_SEVERAL.replace("COUNT", &count.to_string())
        )),
        None => Err(SkippedArtifact::Format("the module has another end".to_owned())),
    }
}

/// The text of the module. `dropout` has the probabilities of the dropout layers, from the input on; `words` has the inputs of each column of words.
fn python(architecture: &Architecture, dropout: &[f64], words: &[Range<usize>]) -> Result<String, SkippedArtifact> {
    let shapes = architecture
        .shapes()
        .map_err(|misfit| SkippedArtifact::Format(misfit.to_string()))?;
    let dims = architecture.input.dims();
    let dims = dims.iter().map(|dim| format!(", {dim}")).collect::<String>();
    let input = format!("[rows{dims}]");
    let embeds = architecture
        .layers
        .iter()
        .any(|layer| matches!(layer, Layer::Embedding { .. }));
    let (import, class) = if embeds {
        ("import torch\n", EMBEDDING)
    } else {
        ("", "")
    };
    let mut text = HEAD.replace("INPUT", &input).replace("IMPORT", import);
    text.push_str(class);
    text.push_str(BUILD);
    let mut dropout = dropout.iter();
    // The last layer of each open residual.
    let mut open: Vec<usize> = Vec::new();
    for (index, (layer, shapes)) in architecture.layers.iter().zip(shapes.windows(2)).enumerate() {
        let indent = " ".repeat(8 + 4 * open.len());
        let p = if layer.drops() { dropout.next() } else { None };
        if layer.inner() > 0 {
            open.push(index + layer.inner());
            let _ = writeln!(text, "{indent}Residual(");
        } else {
            let _ = writeln!(
                text,
                "{indent}{},",
                module(layer, shapes[0], shapes[1], words, p.copied().unwrap_or(0.0))
            );
        }
        while open.pop_if(|last| *last == index).is_some() {
            let _ = writeln!(text, "{}),", " ".repeat(8 + 4 * open.len()));
        }
    }
    text.push_str(TAIL);
    Ok(text)
}

/// The module of a layer with this input and output.
fn module(layer: &Layer, input: SampleShape, output: SampleShape, words: &[Range<usize>], p: f64) -> String {
    let channels = match input {
        SampleShape::Vector(len) | SampleShape::Table { len, .. } => len,
        SampleShape::Sequence { channels, .. } | SampleShape::Image { channels, .. } => channels,
    };
    match layer {
        Layer::Linear { units } => format!("nn.Linear({channels}, {units})"),
        Layer::Embedding { dim } => {
            let words = words.iter().map(|words| format!("({}, {})", words.start, words.len()));
            format!("Embedding([{}], {dim})", words.collect::<Vec<_>>().join(", "))
        }
        Layer::Sequence { .. } => {
            let sizes = output.dims();
            let unflatten = format!("nn.Unflatten(1, ({}, {}))", sizes[0], sizes[1]);
            match input {
                SampleShape::Vector(_) | SampleShape::Table { .. } => unflatten,
                _ => format!("nn.Sequential(nn.Flatten(), {unflatten})"),
            }
        }
        Layer::Conv1d(conv) => convolution("nn.Conv1d", channels, conv),
        Layer::MaxPool1d { kernel } => format!("nn.MaxPool1d({kernel})"),
        Layer::AvgPool1d { kernel } => format!("nn.AvgPool1d({kernel})"),
        Layer::Conv2d(conv) => convolution("nn.Conv2d", channels, conv),
        Layer::MaxPool2d { kernel } => format!("nn.MaxPool2d({kernel})"),
        Layer::AvgPool2d { kernel } => format!("nn.AvgPool2d({kernel})"),
        Layer::AdaptiveAvgPool2d { size } => format!("nn.AdaptiveAvgPool2d({size})"),
        Layer::AdaptiveMaxPool2d { size } => format!("nn.AdaptiveMaxPool2d({size})"),
        Layer::GlobalAvgPool => {
            let sides = if matches!(input, SampleShape::Sequence { .. }) {
                1
            } else {
                2
            };
            format!("nn.Sequential(nn.AdaptiveAvgPool{sides}d(1), nn.Flatten())")
        }
        Layer::Flatten => "nn.Flatten()".to_owned(),
        Layer::Activation(kind) => activation(*kind).to_owned(),
        Layer::Dropout => format!("nn.Dropout({p:?})"),
        Layer::Dropout2d => format!("nn.Dropout2d({p:?})"),
        Layer::BatchNorm => match input {
            SampleShape::Vector(_) | SampleShape::Table { .. } | SampleShape::Sequence { .. } => {
                format!("nn.BatchNorm1d({channels})")
            }
            SampleShape::Image { .. } => format!("nn.BatchNorm2d({channels})"),
        },
        Layer::LayerNorm => format!("nn.LayerNorm({channels})"),
        Layer::Residual { .. } => "Residual()".to_owned(),
    }
}

fn convolution(module: &str, channels: u32, conv: &Conv) -> String {
    let Conv {
        filters,
        kernel,
        stride,
        padding,
    } = conv;
    format!("{module}({channels}, {filters}, {kernel}, stride={stride}, padding={padding})")
}

fn activation(kind: Activation) -> &'static str {
    match kind {
        Activation::Relu => "nn.ReLU()",
        Activation::LeakyRelu => "nn.LeakyReLU()",
        Activation::Sigmoid => "nn.Sigmoid()",
        Activation::Tanh => "nn.Tanh()",
        Activation::Gelu => "nn.GELU()",
        Activation::Silu => "nn.SiLU()",
        Activation::Elu => "nn.ELU()",
        Activation::Selu => "nn.SELU()",
        Activation::Softplus => "nn.Softplus()",
    }
}
