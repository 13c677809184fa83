"""A network that trawl trained, in PyTorch: `pip install torch safetensors`.

    from model import load

    model = load("weights.safetensors")
    outputs = model(rows)  # float32, [rows, 2, 12, 11]

Rows go in as network.json says: prepared by `fitted` where it has that, and pixels divided by 255. Where it has `target_fitted`, what comes out is
to be multiplied by `deviation`, and `mean` added; where it has `temperature`, outputs are to be divided by it before softmax.
"""

from safetensors.torch import load_file
from torch import nn


class Residual(nn.Sequential):
    """What its layers put out, plus what goes in."""

    def forward(self, x):
        return x + super().forward(x)


def build():
    """The network with the weights that PyTorch begins with."""
    return nn.Sequential(
        nn.AdaptiveMaxPool2d(7),
        nn.AdaptiveAvgPool2d(3),
        nn.Flatten(),
        nn.Linear(18, 1),
    )


def load(weights):
    """The network with the weights of this file, for predictions."""
    model = build()
    model.load_state_dict(load_file(weights))
    return model.eval()
