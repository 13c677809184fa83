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
        nn.Sequential(nn.Flatten(), nn.Unflatten(1, (24, 11))),
        nn.Conv1d(24, 6, 3, stride=1, padding=1),
        nn.BatchNorm1d(6),
        nn.MaxPool1d(2),
        nn.Sequential(nn.Flatten(), nn.Unflatten(1, (2, 15))),
        nn.Conv1d(2, 4, 5, stride=2, padding=0),
        nn.Dropout(0.25),
        nn.AvgPool1d(2),
        nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten()),
        nn.Unflatten(1, (2, 2)),
        nn.Flatten(),
        nn.Linear(4, 1),
    )


def load(weights):
    """The network with the weights of this file, for predictions."""
    model = build()
    model.load_state_dict(load_file(weights))
    return model.eval()
