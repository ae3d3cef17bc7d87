"""Which number format this machine computes fastest in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch

Precision = Literal["auto", "fp32", "bf16"]
Autocast = Callable[[], contextlib.AbstractContextManager[object]]


def knows_bfloat16() -> bool:
    """Say whether bfloat16 is computed natively here; where it is not, it is many times slower than float32."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def fast_autocast() -> contextlib.AbstractContextManager[object]:
    """Compute in bfloat16 on a processor that knows it, in float32 on any other."""
    return torch.autocast("cpu", torch.bfloat16, enabled=knows_bfloat16())


def autocast_of(device: str, precision: Precision) -> Autocast:
    """Give the context in which a network of float32 weights is to compute on a device.

    Args:
        device: such as cpu or cuda:1.
        precision: fp32, bf16, or auto: bfloat16 on a GPU that knows it and float32 on any CPU, so that results there
            do not depend on the processor.
    """
    kind = torch.device(device).type
    bf16 = precision == "bf16" or (precision == "auto" and kind == "cuda" and knows_bfloat16())
    return partial(torch.autocast, kind, torch.bfloat16, enabled=bf16)
