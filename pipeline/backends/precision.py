"""Which number format this machine computes fastest in."""

from __future__ import annotations

import contextlib

import torch


def knows_bfloat16() -> bool:
    """Say whether bfloat16 is computed natively here; where it is not, it is many times slower than float32."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def fast_autocast() -> contextlib.AbstractContextManager[object]:
    """Compute in bfloat16 on a processor that knows it, in float32 on any other."""
    return torch.autocast("cpu", torch.bfloat16, enabled=knows_bfloat16())
