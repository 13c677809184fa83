"""Trains folds with plain PyTorch, one at a time: a reference of worker/engine-torch/benches/trainer.rs, which starts this
with the name of the device, `cpu` or `cuda:N`.

Says its version of PyTorch first. Then each line of standard input is a JSON object with `batch_size`, `epochs` and `folds`
(`optimizer`, `learning_rate`, `l2`), and is answered with the seconds that training took.
"""

import json
import sys
import time

import torch

TRAIN_ROWS, VALIDATE_ROWS = 80, 20
UNITS = [1, 10, 15, 10, 1]


def build():
    modules = []
    for inputs, outputs in zip(UNITS, UNITS[1:]):
        modules += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    return torch.nn.Sequential(*modules[:-1])


def build_optimizer(fold, params):
    # The gradient of l2 * sum(p^2) is 2 * l2 * p: as weight_decay it costs the least.
    settings = {"lr": fold["learning_rate"], "weight_decay": 2 * fold["l2"]}
    if fold["optimizer"] == "adam":
        return torch.optim.Adam(params, **settings)
    if fold["optimizer"] == "rmsprop":
        return torch.optim.RMSprop(params, **settings)
    if fold["optimizer"] == "sgd":
        return torch.optim.SGD(params, **settings)
    raise ValueError(fold["optimizer"])


def train(features, targets, batch_size, epochs, fold):
    model = build().to(features.device)
    optimizer = build_optimizer(fold, model.parameters())
    mse = torch.nn.MSELoss()
    losses = []
    for _ in range(epochs):
        total = 0.0
        order = torch.randperm(TRAIN_ROWS, device=features.device)
        for start in range(0, TRAIN_ROWS, batch_size):
            rows = order[start : start + batch_size]
            optimizer.zero_grad()
            loss = mse(model(features[rows]), targets[rows])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        with torch.no_grad():
            val_loss = mse(model(features[TRAIN_ROWS:]), targets[TRAIN_ROWS:]).item()
        losses.append((total / TRAIN_ROWS, val_loss))
    return losses


def main():
    torch.set_num_threads(1)
    torch.manual_seed(42)
    features = torch.linspace(-1, 1, TRAIN_ROWS + VALIDATE_ROWS)[torch.randperm(TRAIN_ROWS + VALIDATE_ROWS)].unsqueeze(1)
    features = features.to(sys.argv[1])
    targets = 2 * features**3 - features
    print(torch.__version__, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        start = time.perf_counter()
        for fold in request["folds"]:
            train(features, targets, request["batch_size"], request["epochs"], fold)
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
