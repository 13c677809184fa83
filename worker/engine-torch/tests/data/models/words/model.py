"""A network that trawl trained, in PyTorch: `pip install torch safetensors`.

    from model import load

    model = load("weights.safetensors")
    outputs = model(rows)  # float32, [rows, 6]

Rows go in as network.json says: prepared by `fitted` where it has that, and pixels divided by 255. Where it has `target_fitted`, what comes out is
to be multiplied by `deviation`, and `mean` added; where it has `temperature`, outputs are to be divided by it before softmax.
"""

import torch
from safetensors.torch import load_file
from torch import nn


class Residual(nn.Sequential):
    """What its layers put out, plus what goes in."""

    def forward(self, x):
        return x + super().forward(x)


class Embedding(nn.Module):
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


def build():
    """The network with the weights that PyTorch begins with."""
    return nn.Sequential(
        Embedding([(0, 2), (3, 3)], 3),
        nn.Tanh(),
        nn.Linear(7, 1),
    )


def load(weights):
    """The network with the weights of this file, for predictions."""
    model = build()
    model.load_state_dict(load_file(weights))
    return model.eval()
