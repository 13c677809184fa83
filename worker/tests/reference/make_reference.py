"""Trains the runs of worker/tests/pytorch.rs with PyTorch 2.11 and writes their losses.

From the repository's root, with a Python that has PyTorch:

    cargo run --release -p trawl-worker --example dump_reference_inputs > /tmp/reference_inputs.json
    python worker/tests/reference/make_reference.py /tmp/reference_inputs.json worker/tests/data/pytorch_losses.json
"""

import json
import sys

import torch

ACTIVATIONS = {
    "relu": torch.nn.ReLU,
    "leaky_relu": torch.nn.LeakyReLU,
    "sigmoid": torch.nn.Sigmoid,
    "tanh": torch.nn.Tanh,
}


def build(layers, activation):
    modules = []
    for layer in layers:
        weight = torch.tensor(layer["weight"], dtype=torch.float32)
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            linear.weight.copy_(weight)
            linear.bias.copy_(torch.tensor(layer["bias"], dtype=torch.float32))
        modules += [linear, ACTIVATIONS[activation]()]
    return torch.nn.Sequential(*modules[:-1])


def build_optimizer(member, params):
    name, lr = member["optimizer"], member["learning_rate"]
    if name == "adam":
        return torch.optim.Adam(params, lr=lr)
    if name == "rmsprop":
        return torch.optim.RMSprop(params, lr=lr)
    if name == "sgd":
        return torch.optim.SGD(params, lr=lr, momentum=member["momentum"])
    raise ValueError(name)


def train(features, targets, activation, batch_size, member):
    model = build(member["layers"], activation)
    optimizer = build_optimizer(member, model.parameters())
    mse = torch.nn.MSELoss()
    train_losses, val_losses = [], []
    for order in member["orders"]:
        total = 0.0
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            optimizer.zero_grad()
            loss = mse(model(features[rows]), targets[rows])
            penalty = sum((p**2).sum() for p in model.parameters())
            (loss + member["l2"] * penalty).backward()
            optimizer.step()
            total += loss.item() * len(rows)
        train_losses.append(total / len(order))
        with torch.no_grad():
            rows = member["validate"]
            val_losses.append(mse(model(features[rows]), targets[rows]).item())
    return {"train": train_losses, "val": val_losses}


def main(inputs_path, losses_path):
    torch.set_num_threads(1)
    with open(inputs_path) as file:
        inputs = json.load(file)
    column = lambda name: torch.tensor(inputs[name], dtype=torch.float32).unsqueeze(1)
    features, targets = column("features"), column("targets")
    losses = {
        variant["name"]: {
            activation: [
                train(features, targets, activation, variant["batch_size"], member)
                for member in variant["members"]
            ]
            for activation in inputs["activations"]
        }
        for variant in inputs["variants"]
    }
    with open(losses_path, "w") as file:
        json.dump({"torch": torch.__version__, "losses": losses}, file, indent=0)
        file.write("\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
