"""A network that trawl trained, in PyTorch: `pip install torch safetensors`.

    from model import load

    model = load("weights.safetensors")
    outputs = model(rows)  # float32, [rows, 3]

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
        nn.Linear(3, 6),
        nn.BatchNorm1d(6),
        nn.Softplus(),
        Residual(
            nn.LayerNorm(6),
            nn.Linear(6, 5),
            nn.SELU(),
            nn.Dropout(0.25),
            Residual(
                nn.Sigmoid(),
            ),
            nn.Linear(5, 6),
            nn.LeakyReLU(),
        ),
        Residual(
            nn.Tanh(),
        ),
        nn.Linear(6, 1),
    )


def load(weights):
    """The network with the weights of this file, for predictions."""
    model = build()
    model.load_state_dict(load_file(weights))
    return model.eval()
