"""The loss of IIR."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from fss_models.iir import Decoded, SupportCode
from fss_models.layers import resize
from pipeline.classes import IGNORE


def iir_loss(
    out: Decoded,
    code: SupportCode,
    truth: Tensor,
    masks: Tensor,
    *,
    weights: tuple[float, float, float] = (1.0, 1.0, 1.0),
    ignore_as_background: bool = False,
) -> dict[str, Tensor]:
    """Give IIR's loss and its parts, with one foreground logit instead of two channels.

    Source: IIR (systems.md 5.6): L = w1 CE(final) + w2 / 2 [CE(query head) + CE(support head)] + w3 / 2 [CE(auxiliary
    query heads) + CE(auxiliary support heads)], means over heads and shots. Without an ensemble final and query head
    are one.

    Args:
        out: of the decoder for P queries.
        code: of the supports of P classes.
        truth: of the queries, uint8 (P, H, W) with 0, 1 and 255; 255 counts nowhere.
        masks: of the supports, uint8 (P, S, H, W) with 0, 1 and 255.
        weights: of the three parts.
        ignore_as_background: see `iir.Compat`.

    Returns:
        "loss", which is what to minimise, its parts "final", "heads" and "aux", and "masked".
    """
    if ignore_as_background:
        truth = truth.masked_fill(truth == IGNORE, 0)
    final = _cross_entropy(out.final[:, None], truth[:, None])
    heads = _cross_entropy(out.logits[:, None], truth[:, None]) + _cross_entropy(code.logits, masks)
    queries = [_cross_entropy(a[:, None], truth[:, None]) for a in out.aux.unbind(1)]
    supports = [_cross_entropy(a, masks) for a in code.aux.unbind(2)]
    aux = torch.stack(queries).mean() + torch.stack(supports).mean()
    w_final, w_heads, w_aux = weights
    loss = w_final * final + 0.5 * w_heads * heads + 0.5 * w_aux * aux
    return {"loss": loss, "final": final, "heads": heads, "aux": aux, "masked": out.masked}


def _cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """Binary cross-entropy of logits (P, S, h, w), enlarged, against labels (P, S, H, W) with 0, 1 and 255."""
    logits = resize(logits, truth.shape[-2:])
    loss = F.binary_cross_entropy_with_logits(logits, (truth == 1).to(logits.dtype), reduction="none")
    known = truth != IGNORE
    return (loss * known).sum() / known.sum().clamp(min=1)
