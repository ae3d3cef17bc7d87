"""What an FSS model costs: weights that are trained, and the time of one episode."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from fss_models.fss import trainable_state

EPISODES = 12
"""Timed episodes; two more come first, untimed."""


@torch.no_grad()
def measure_cost(model: Any, side: int, shots: int = 1) -> dict[str, Any]:
    """Give the number of trained parameters, and milliseconds of one episode from pictures to logits, batch 1.

    On a CPU these are milliseconds of the process's CPU time, all threads added up, so that other work on the machine
    hardly changes them; on a GPU they are wall time. The frozen backbone's passes are in them: one of the query, one
    of each support.

    Args:
        model: any FSS model; pictures and mask are noise and a square, which cost what others do.
        side: of the pictures in pixels.
        shots: supports.

    Returns:
        ``parameters`` (without the frozen backbone's), ``backbone_parameters``, ``ms`` (median), ``shots``, ``side``,
        ``threads``, ``machine``.
    """
    device = model.backbone.mean.device
    generator = torch.Generator().manual_seed(0)
    query = torch.rand(1, 3, side, side, generator=generator).to(device)
    supports = torch.rand(1, shots, 3, side, side, generator=generator).to(device)
    masks = torch.zeros(1, shots, side, side, dtype=torch.uint8, device=device)
    masks[..., side // 4 : side // 2, side // 4 : side // 2] = 1
    classes = torch.ones(1, dtype=torch.long, device=device)
    model.eval()
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    spent = []
    for _ in range(2 + EPISODES):
        start = clock()
        model(query, supports, masks, classes)
        if device.type == "cuda":
            torch.cuda.synchronize()
        spent.append(1000 * (clock() - start))
    return {
        "parameters": sum(x.numel() for x in trainable_state(model).values()),
        "backbone_parameters": sum(p.numel() for p in model.backbone.parameters()),
        "ms": round(median(spent[2:]), 1), "shots": shots, "side": side, "threads": torch.get_num_threads(),
        "machine": _machine(device),
    }  # fmt: skip


def _machine(device: torch.device) -> str:
    """Name the processor that the model ran on."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "CPU")
