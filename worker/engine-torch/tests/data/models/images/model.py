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
        nn.BatchNorm2d(2),
        nn.Conv2d(2, 4, 3, stride=1, padding=0),
        nn.GELU(),
        nn.Dropout2d(0.25),
        nn.MaxPool2d(2),
        Residual(
            nn.Conv2d(4, 4, 3, stride=1, padding=1),
            nn.ELU(),
        ),
        nn.AvgPool2d(2),
        Residual(
            nn.SiLU(),
        ),
        nn.Flatten(),
        nn.ReLU(),
        nn.Linear(16, 1),
    )


def load(weights):
    """The network with the weights of this file, for predictions."""
    model = build()
    model.load_state_dict(load_file(weights))
    return model.eval()
