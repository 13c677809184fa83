"""Trains the runs of worker/engine-torch/tests/reference/methods.rs with PyTorch 2.11 and writes their losses.

From the repository's root, with a Python that has what make_reference.py needs:

    cargo run --release -p trawl-engine-torch --example dump_reference_inputs > /tmp/reference_inputs.json
    python worker/engine-torch/tests/reference/make_method_reference.py /tmp/reference_inputs.json worker/engine-torch/tests/data

writes pytorch_method_losses.json. Each run is trained in float64 too, and refused where float32 does not agree with it: such steps are too
large to compare anything by.
"""

import json
import math
import pathlib
import sys

import torch
from make_reference import METRICS, build, write
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

PRECISION = 2e-5
"""Relative difference that float32 may have from float64."""

MEASURED = {"val_loss": "val", "val_mae": "mae", "val_r2": "unexplained"}
"""What is measured here of each metric, so that less is better: val_r2 is 1 - unexplained."""


def build_optimizer(member, params):
    own = member["settings"]
    common = {"lr": own["learning_rate"], "foreach": False}
    betas = {"betas": (own["beta1"], own["beta2"]), "eps": own["eps"]}
    match member["optimizer"]:
        case "adam":
            return torch.optim.Adam(params, **common, **betas)
        case "adamw":
            return torch.optim.AdamW(params, **common, **betas, weight_decay=own["weight_decay"])
        case "nadam":
            return torch.optim.NAdam(params, **common, **betas)
        case "sgd":
            return torch.optim.SGD(params, **common, momentum=own["momentum"], nesterov=own["nesterov"] == 1)
        case "rmsprop":
            return torch.optim.RMSprop(params, **common, alpha=own["alpha"], eps=own["eps"], momentum=own["momentum"])
        case "adagrad":
            return torch.optim.Adagrad(params, **common, eps=own["eps"])
        case "adadelta":
            return torch.optim.Adadelta(params, **common, rho=own["rho"], eps=own["eps"])
    raise ValueError(member["optimizer"])


def build_schedule(member, optimizer, in_epoch, epochs):
    """A scheduler, and whether it goes on by step, by epoch, or by epoch with the validation loss."""
    own, name, steps = member["settings"], member["schedule"], in_epoch * epochs
    rise = round(own["warmup"] * steps)
    least = own["learning_rate"] * own["min_rate"]
    linear = lambda: lr_scheduler.LinearLR(optimizer, 1 / rise, 1.0, rise - 1)
    if name == "constant":
        return (linear(), "step") if rise else (None, "never")
    if name == "cosine":
        behind = lambda: lr_scheduler.CosineAnnealingLR(optimizer, steps - rise, least)
        if not rise:
            return behind(), "step"
        return lr_scheduler.SequentialLR(optimizer, [linear(), behind()], [rise]), "step"
    if name == "one_cycle":
        last = 1 / (25 * own["min_rate"]) if own["min_rate"] else math.inf
        schedule = lr_scheduler.OneCycleLR(
            optimizer,
            own["learning_rate"],
            steps,
            pct_start=own["warmup"],
            final_div_factor=last,
            cycle_momentum=False,
        )
        return schedule, "step"
    if name == "plateau":
        factor, patience = own["decay"], int(own["plateau_epochs"])
        schedule = lr_scheduler.ReduceLROnPlateau(optimizer, factor=factor, patience=patience, min_lr=least)
        return schedule, "loss"
    every = int(own["decay_epochs"]) if name == "step" else 1
    if not rise and not own["min_rate"]:
        if name == "step":
            return lr_scheduler.StepLR(optimizer, every, own["decay"]), "epoch"
        return lr_scheduler.ExponentialLR(optimizer, own["decay"]), "epoch"

    def share(step):
        decayed = max(own["decay"] ** (step // in_epoch // every), own["min_rate"])
        return decayed * min(1.0, (step + 1) / rise) if rise else decayed

    return lr_scheduler.LambdaLR(optimizer, share), "step"


def clip(model, own):
    """Before the part of l2 is added, as PyTorch's optimizers add weight_decay."""
    if own["clip_value"]:
        torch.nn.utils.clip_grad_value_(model.parameters(), own["clip_value"])
    if own["clip_norm"]:
        torch.nn.utils.clip_grad_norm_(model.parameters(), own["clip_norm"])
    for p in model.parameters():
        p.grad += 2 * own["l2"] * p.detach()


class Patience:
    """The losses that are told of each epoch, with early stopping."""

    def __init__(self, member):
        own = member["settings"]
        self.patience, self.min_delta = own["patience"], own["min_delta"]
        self.what = MEASURED[member["stops_by"]] if self.patience else None
        self.best, self.waited = None, 0

    def stopped(self):
        return bool(self.patience) and self.waited >= self.patience

    def told(self, losses):
        if not self.patience:
            return losses
        if self.best is None or losses[self.what] < self.best[self.what] - self.min_delta:
            self.best, self.waited = losses, 0
            return losses
        self.waited += 1
        return self.best if self.stopped() else losses


def train(features, targets, batch_size, member, dtype):
    own, measure = member["settings"], torch.nn.MSELoss()
    features, targets = features.to(dtype), targets.to(dtype)
    model = build(member["layers"], "tanh").to(dtype)
    optimizer = build_optimizer(member, model.parameters())
    in_epoch = math.ceil(len(member["orders"][0]) / batch_size)
    schedule, goes_on = build_schedule(member, optimizer, in_epoch, len(member["orders"]))
    average = None
    if own["ema_decay"]:
        average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(own["ema_decay"]))
    patience = Patience(member)
    all_told = []
    for order in member["orders"]:
        if patience.stopped():
            all_told.append(patience.best)
            continue
        total = 0.0
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            optimizer.zero_grad()
            loss = measure(model(features[rows]), targets[rows])
            loss.backward()
            clip(model, own)
            optimizer.step()
            if goes_on == "step":
                schedule.step()
            if average:
                average.update_parameters(model)
            total += loss.item() * len(rows)
        with torch.no_grad():
            rows = member["validate"]
            outputs = (average or model)(features[rows])
            losses = {"train": total / len(order), "val": measure(outputs, targets[rows]).item()}
            losses |= {name: metric(outputs, targets[rows]).item() for name, metric in METRICS.items()}
        if goes_on == "epoch":
            schedule.step()
        elif goes_on == "loss":
            schedule.step(losses["val"])
        all_told.append(patience.told(losses))
    return {name: [told[name] for told in all_told] for name in all_told[0]}


def checked(features, targets, run, member):
    single, double = (train(features, targets, run["batch_size"], member, d) for d in (torch.float32, torch.float64))
    off = max(abs(a - b) / abs(b) for what in single for a, b in zip(single[what], double[what]))
    name = f"{run['name']} {member['optimizer']} {member['schedule']}"
    print(f"{name}: {off:.1e} from float64, losses {double['val'][0]:.3g} to {double['val'][-1]:.3g}", file=sys.stderr)
    if off > PRECISION:
        raise SystemExit("the steps are too large")
    return single


def main(inputs_path, data_folder):
    torch.set_num_threads(1)
    with open(inputs_path) as file:
        inputs = json.load(file)
    column = lambda name: torch.tensor(inputs[name], dtype=torch.float32).unsqueeze(1)
    features, targets = column("features"), column("targets")
    losses = {
        run["name"]: [checked(features, targets, run, member) for member in run["members"]]
        for run in inputs["methods"]
    }
    write(pathlib.Path(data_folder) / "pytorch_method_losses.json", losses)


if __name__ == "__main__":
    main(*sys.argv[1:])
