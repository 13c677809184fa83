"""Trains the runs of worker/engine-torch/tests/pytorch.rs with PyTorch 2.11 and writes their losses.

From the repository's root, with a Python that has PyTorch and, for balanced class weights, scikit-learn 1.9.1:

    cargo run --release -p trawl-engine-torch --example dump_reference_inputs > /tmp/reference_inputs.json
    python worker/engine-torch/tests/reference/make_reference.py /tmp/reference_inputs.json worker/engine-torch/tests/data

writes pytorch_losses.json, pytorch_class_losses.json, pytorch_cnn_losses.json and pytorch_network_losses.json. The convolutional runs, and those of
networks with norms, residuals and the like, are trained in float64 too, and refused where float32 does not agree with it: such steps are too large to compare
anything by.
"""

import json
import pathlib
import sys

import torch
from sklearn.utils.class_weight import compute_class_weight

ACTIVATIONS = {
    "relu": torch.nn.ReLU,
    "leaky_relu": torch.nn.LeakyReLU,
    "sigmoid": torch.nn.Sigmoid,
    "tanh": torch.nn.Tanh,
    "gelu": torch.nn.GELU,
    "silu": torch.nn.SiLU,
    "elu": torch.nn.ELU,
    "selu": torch.nn.SELU,
    "softplus": torch.nn.Softplus,
}

LOSSES = {"huber": torch.nn.HuberLoss, "l1": torch.nn.L1Loss}


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
    if name == "adamw":
        return torch.optim.AdamW(params, lr=lr, weight_decay=member["weight_decay"])
    if name == "rmsprop":
        return torch.optim.RMSprop(params, lr=lr)
    if name == "sgd":
        return torch.optim.SGD(params, lr=lr, momentum=member["momentum"])
    raise ValueError(name)


CNN_PRECISION = 1e-4
"""Relative difference that float32 may have from float64."""


def build_cnn(layers, parameters, dtype):
    parameters = iter(parameters)
    modules, channels = [], 1
    for layer in layers:
        kind, settings = layer["kind"], layer["settings"]
        if kind in ("linear", "conv2d"):
            values = next(parameters)
            weight = torch.tensor(values["weight"], dtype=torch.float32)
            if kind == "linear":
                module = torch.nn.Linear(weight.shape[1], weight.shape[0])
            else:
                kernel = round((weight.shape[1] / channels) ** 0.5)
                module = torch.nn.Conv2d(channels, weight.shape[0], kernel)
                channels = weight.shape[0]
            with torch.no_grad():
                module.weight.copy_(weight.view_as(module.weight))
                module.bias.copy_(torch.tensor(values["bias"], dtype=torch.float32))
            modules.append(module)
        elif kind == "max_pool2d":
            modules.append(torch.nn.MaxPool2d(settings["kernel"]))
        elif kind == "avg_pool2d":
            modules.append(torch.nn.AvgPool2d(settings["kernel"]))
        elif kind == "global_avg_pool":
            modules += [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
        elif kind == "flatten":
            modules.append(torch.nn.Flatten())
        else:
            modules.append(ACTIVATIONS[settings["kind"]]())
    return torch.nn.Sequential(*modules).to(dtype)


def train_cnn(inputs, member, dtype):
    pixels = torch.tensor(inputs["pixels"], dtype=torch.uint8)
    features = pixels.view(-1, *inputs["shape"]).to(torch.float32).div(255).to(dtype)
    targets = torch.tensor(inputs["labels"])
    model = build_cnn(inputs["layers"], member["layers"], dtype)
    return fit(model, torch.nn.CrossEntropyLoss(), features, targets, inputs["batch_size"], member)


class Residual(torch.nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


def build_nested(layers, parameters, x, words=()):
    """The modules of layers as network.json has them; `parameters` has the weights of those to come, and `x` is what goes in. `words` has of each
    column of words the first number, and how many it has."""
    modules = []
    for layer in layers:
        ((kind, settings),) = layer.items()
        channels = x.shape[1]
        if kind in ("linear", "conv1d", "conv2d"):
            values = next(parameters)
            if kind == "linear":
                module = torch.nn.Linear(channels, settings["units"])
            else:
                conv = torch.nn.Conv1d if kind == "conv1d" else torch.nn.Conv2d
                module = conv(channels, settings["filters"], settings["kernel"], padding=settings["padding"])
            with torch.no_grad():
                module.weight.copy_(torch.tensor(values["weight"], dtype=torch.float32).view_as(module.weight))
                module.bias.copy_(torch.tensor(values["bias"], dtype=torch.float32))
        elif kind == "embedding":
            module = Embeddings(words, torch.tensor(next(parameters)["weight"], dtype=torch.float32))
        elif kind == "residual":
            module = Residual(*build_nested(settings["layers"], parameters, x))
        elif kind == "sequence":
            channels = settings["channels"] or x[0].numel() // x.shape[-1]
            module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Unflatten(1, (channels, -1)))
        elif kind == "batch_norm":
            module = BatchNorm(channels)
        elif kind == "layer_norm":
            module = torch.nn.LayerNorm(channels)
        elif kind in POOLS:
            module = POOLS[kind](*settings.values())
        elif kind == "flatten":
            module = torch.nn.Flatten()
        elif kind == "global_avg_pool":
            pool = torch.nn.AdaptiveAvgPool1d if x.dim() == 3 else torch.nn.AdaptiveAvgPool2d
            module = torch.nn.Sequential(pool(1), torch.nn.Flatten())
        else:
            module = ACTIVATIONS[settings["kind"]]()
        x = module.eval()(x)
        modules.append(module)
    return modules


POOLS = {
    "max_pool1d": torch.nn.MaxPool1d,
    "avg_pool1d": torch.nn.AvgPool1d,
    "max_pool2d": torch.nn.MaxPool2d,
    "adaptive_avg_pool2d": torch.nn.AdaptiveAvgPool2d,
    "adaptive_max_pool2d": torch.nn.AdaptiveMaxPool2d,
}


class Embeddings(torch.nn.Module):
    """An nn.Embedding for each column of words, which looks its word up."""

    def __init__(self, words, weight):
        super().__init__()
        parts = weight.split([count for _, count in words])
        self.words, self.parts = words, torch.nn.ModuleList(torch.nn.Embedding.from_pretrained(p, freeze=False) for p in parts)

    def forward(self, x):
        pieces, end = [], 0
        for (start, count), part in zip(self.words, self.parts):
            pieces += [x[:, end:start], part(x[:, start : start + count].argmax(1))]
            end = start + count
        return torch.cat([*pieces, x[:, end:]], 1)


class BatchNorm(torch.nn.BatchNorm1d):
    """Of vectors and images. A batch with one value of each number goes by the running statistics, and leaves them as they are."""

    def forward(self, x):
        by_batch = self.training and x.numel() > x.shape[1]
        running = self.running_mean, self.running_var
        return torch.nn.functional.batch_norm(x, *running, self.weight, self.bias, by_batch, self.momentum, self.eps)


def train_network(inputs, run, member, dtype):
    if run["images"]:
        images = inputs["images"][0]
        pixels = torch.tensor(images["pixels"], dtype=torch.uint8)
        features = pixels.view(-1, *images["shape"]).to(torch.float32).div(255).to(dtype)
        targets, measure = torch.tensor(images["labels"]), torch.nn.CrossEntropyLoss()
    else:
        column = lambda name: torch.tensor(inputs[name], dtype=torch.float32).unsqueeze(1).to(dtype)
        features, targets = column("features"), column("targets")
        if run["words"]:
            features = torch.tensor(inputs["words"]["features"], dtype=torch.float32).to(dtype)
        measure = torch.nn.MSELoss()
    words = inputs["words"]["words"]
    model = torch.nn.Sequential(*build_nested(run["layers"], iter(member["layers"]), features[:2].float(), words)).to(dtype)
    return fit(model, measure, features, targets, run["batch_size"], member)


def checked_losses(run, train):
    losses = []
    for member in run["members"]:
        single, double = (train(member, dtype) for dtype in (torch.float32, torch.float64))
        for what in single:
            off = max(abs(a - b) / abs(b) for a, b in zip(single[what], double[what]))
            print(f"{run['name']} {member['optimizer']} l2={member['l2']} {what}: {off:.1e} from float64", file=sys.stderr)
            if off > CNN_PRECISION:
                raise SystemExit("the steps are too large")
        losses.append(single)
    return losses


def train(features, targets, activation, batch_size, member, measure=torch.nn.MSELoss, metrics={}):
    model = build(member["layers"], activation)
    return fit(model, measure(), features, targets, batch_size, member, metrics)


def unexplained(outputs, targets):
    """1 - r2_score of scikit-learn."""
    outputs, targets = outputs.double(), targets.double()
    return (outputs - targets).square().sum() / (targets - targets.mean()).square().sum()


METRICS = {"mae": torch.nn.L1Loss(), "unexplained": unexplained}


def fit(model, measure, features, targets, batch_size, member, metrics={}):
    optimizer = build_optimizer(member, model.parameters())
    train_losses, val_losses, measured = [], [], {name: [] for name in metrics}
    for order in member["orders"]:
        model.train()
        total = 0.0
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            optimizer.zero_grad()
            loss = measure(model(features[rows]), targets[rows])
            penalty = sum((p**2).sum() for p in model.parameters())
            (loss + member["l2"] * penalty).backward()
            optimizer.step()
            total += loss.item() * len(rows)
        train_losses.append(total / len(order))
        model.eval()
        with torch.no_grad():
            rows = member["validate"]
            outputs = model(features[rows])
            val_losses.append(measure(outputs, targets[rows]).item())
            for name, metric in metrics.items():
                measured[name].append(metric(outputs, targets[rows]).item())
    return {"train": train_losses, "val": val_losses, **measured}


class FocalLoss:
    """The formula of Lin, Goyal, Girshick, He and Dollár, 2017, which PyTorch has not; weighted as torch.nn.CrossEntropyLoss."""

    def __init__(self, gamma, weight):
        self.gamma, self.weight = gamma, weight

    def __call__(self, outputs, labels):
        p = outputs.softmax(1).gather(1, labels.unsqueeze(1)).squeeze(1)
        losses = -((1 - p) ** self.gamma) * p.log()
        weight = torch.ones(outputs.shape[1]) if self.weight is None else self.weight
        return (weight[labels] * losses).sum() / weight[labels].sum()


CLASSES = ["a", "b", "c"]


def class_weight(run, labels, member):
    match run["class_weights"]:
        case None:
            return None
        case "balanced":
            of_rows = labels[member["orders"][0]].numpy()
            weights = compute_class_weight("balanced", classes=torch.arange(len(CLASSES)).numpy(), y=of_rows)
        case named:
            weights = [named.get(name, 1.0) for name in CLASSES]
    return torch.tensor(weights, dtype=torch.float32)


def train_classes(run, features, labels, binary, member):
    weight = class_weight(run, labels, member)
    if run["loss"] == "bce":
        measure, labels = torch.nn.BCEWithLogitsLoss(), binary
    elif run["loss"] == "focal":
        measure = FocalLoss(member["focal_gamma"], weight)
    else:
        measure = torch.nn.CrossEntropyLoss(weight=weight, label_smoothing=member["label_smoothing"])
    model = build(member["layers"], "tanh")
    return fit(model, measure, features, labels, run["batch_size"], member)


def write(path, losses):
    with open(path, "w") as file:
        json.dump({"torch": torch.__version__, "losses": losses}, file, indent=0)
        file.write("\n")


def main(inputs_path, data_folder):
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
    losses["of_numbers"] = {
        run["loss"]: [
            train(features, targets, "tanh", run["batch_size"], member, LOSSES[run["loss"]], METRICS)
            for member in run["members"]
        ]
        for run in inputs["losses"]
    }
    folder = pathlib.Path(data_folder)
    write(folder / "pytorch_losses.json", losses)
    labels = torch.tensor(inputs["labels"])
    class_losses = {
        run["name"]: [train_classes(run, features, labels, torch.tensor(inputs["binary"]), member) for member in run["members"]]
        for run in inputs["class_losses"]
    }
    write(folder / "pytorch_class_losses.json", class_losses)
    write(
        folder / "pytorch_cnn_losses.json",
        {run["name"]: checked_losses(run, lambda member, dtype: train_cnn(run, member, dtype)) for run in inputs["images"]},
    )
    write(
        folder / "pytorch_network_losses.json",
        {
            run["name"]: checked_losses(run, lambda member, dtype: train_network(inputs, run, member, dtype))
            for run in inputs["networks"]
        },
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
