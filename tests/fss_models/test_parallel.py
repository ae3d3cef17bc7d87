"""Training in several processes."""

import os
import pickle
import socket
import subprocess
import sys

import pytest
import torch

WORK = """
import pickle, sys
from pathlib import Path
import torch
from torch import nn
from fss_models.randomness import numpy_rng
from fss_models.trainer import Place, train_steps
from pipeline.config import LoopSettings

class Line(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Linear(4, 2)
    def forward(self, batch, step):
        return {"loss": (self.net(batch[0]) - batch[1]).square().mean()}

class Pair(tuple):
    def to(self, device):
        return self

def batches(number):
    x = torch.from_numpy(numpy_rng("line", number).normal(size=(6, 4))).float()
    return Pair((x, x[:, :2]))

line = Line()
folder, accumulate = Path(sys.argv[1]), int(sys.argv[2])
train_steps(line, line, batches, 4, 0.05, LoopSettings(optimiser="sgd", accumulate=accumulate), seed=0,
            place=Place(folder), name="line")
import os
if os.environ.get("RANK", "0") == "0":
    pickle.dump(line.net.weight.detach().numpy(), (folder / "weight.pkl").open("wb"))
"""


@pytest.mark.slow
def test_two_processes_are_two_accumulated_batches(tmp_path, root):
    """Two processes with one batch each take the same steps as one with two, and only the first one writes."""
    script = tmp_path / "work.py"
    script.write_text(WORK)
    env = {**os.environ, "PYTHONPATH": f"{root}:{os.environ.get('PYTHONPATH', '')}"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={port}", str(script)]
    for name, command in (("one", [sys.executable, str(script)]), ("two", run)):
        (tmp_path / name).mkdir()
        accumulate = "2" if name == "one" else "1"
        found = subprocess.run(
            [*command, str(tmp_path / name), accumulate], cwd=root, capture_output=True, text=True, check=False,
            timeout=280, env=env,
        )  # fmt: skip
        assert found.returncode == 0, found.stderr
    one, two = (pickle.loads((tmp_path / name / "weight.pkl").read_bytes()) for name in ("one", "two"))
    torch.testing.assert_close(torch.from_numpy(two), torch.from_numpy(one))
    assert len((tmp_path / "two" / "line.jsonl").read_text().splitlines()) == 4
