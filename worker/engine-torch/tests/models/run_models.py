"""Has PyTorch 2.11 answer for the rows of worker/engine-torch/tests/data/models, by each model's own model.py and weights.

From the repository's root, with a Python that has PyTorch and safetensors:

    cargo run --release -p trawl-engine-torch --example dump_models worker/engine-torch/tests/data/models
    python worker/engine-torch/tests/models/run_models.py worker/engine-torch/tests/data/models

writes outputs.json into each of the folders below.
"""

import json
import pathlib
import re
import runpy
import sys

import torch

for folder in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    text = (folder / "model.py").read_text()
    shape = [int(size) for size in re.search(r"\[rows, ([^]]*)\]", text)[1].split(",")]
    model = runpy.run_path(str(folder / "model.py"))["load"](folder / "weights.safetensors")
    rows = torch.tensor(json.loads((folder / "rows.json").read_text()), dtype=torch.float32).view(-1, *shape)
    with torch.no_grad():
        outputs = model(rows).flatten().tolist()
    (folder / "outputs.json").write_text(json.dumps({"torch": torch.__version__, "outputs": outputs}) + "\n")
