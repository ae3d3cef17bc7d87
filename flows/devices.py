"""Whether the device is there, and which GPU each worker process takes: one a process, in turns where they are few."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.config import Config
from pipeline.errors import InputError

VISIBLE = "CUDA_VISIBLE_DEVICES"
NODES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""One of them is there where Linux has a GPU that torch can use: NVIDIA's, AMD's, or Windows' own behind WSL."""


def check_device(name: str) -> None:
    """Look that torch knows a device and, where it is a GPU, sees it.

    Raises:
        InputError: it does not.
    """
    if name in ("auto", "cpu"):
        return
    import torch

    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"execution.device: got {name!r}, expected auto, cpu, cuda or cuda:1") from error
    seen = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= seen:
        raise InputError(
            f"execution.device: got {name!r}, but torch sees {seen} GPUs: choose auto "
            "or cpu, such as --set execution.device=cpu"
        )


def shared_gpus(config: Config) -> tuple[str, ...]:
    """Give the GPUs that the workers share, by the names that CUDA_VISIBLE_DEVICES takes.

    Empty without a GPU, and where the config names one device for all workers (cpu, cuda:1).
    """
    if config.execution.device not in ("auto", "cuda"):
        return ()
    if sys.platform == "linux" and not any(Path(node).exists() for node in NODES):
        return ()  # torch would say the same, but takes seconds to import
    import torch

    count = torch.cuda.device_count()
    named = os.environ.get(VISIBLE)
    names = [name.strip() for name in named.split(",")] if named else [str(number) for number in range(count)]
    return tuple(names[:count])


def deal(gpus: Sequence[str], workers: int) -> list[str]:
    """Give every worker its GPU, in turns; nothing where there is none."""
    return [gpus[number % len(gpus)] for number in range(workers)] if gpus else []


def take_gpu(name: str) -> None:
    """Show this process one GPU alone, which all libraries then take for the first; comes before CUDA is asked."""
    os.environ[VISIBLE] = name
