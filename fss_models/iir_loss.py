"""The loss of IIR."""

from __future__ import annotations

import torch
from torch import Tensor

from fss_models.iir import Decoded, SupportCode
from fss_models.layers import foreground_cross_entropy
from pipeline.classes import IGNORE


def iir_loss(
    out: Decoded,
    code: SupportCode,
    truth: Tensor,
    masks: Tensor,
    *,
    weights: tuple[float, float, float] = (1.0, 1.0, 1.0),
    ignore_as_background: bool = False,
    query_weight: Tensor | None = None,
    support_weight: Tensor | None = None,
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
        query_weight: of each query, (P,); one unless given.
        support_weight: of each class's supports, (P,); one unless given.

    Returns:
        "loss", which is what to minimise, its parts "final", "heads" and "aux", and "masked".
    """
    if ignore_as_background:
        truth = truth.masked_fill(truth == IGNORE, 0)

    def query(logits: Tensor) -> Tensor:
        return foreground_cross_entropy(logits[:, None], truth[:, None], query_weight)

    final = query(out.final)
    heads = query(out.logits) + foreground_cross_entropy(code.logits, masks, support_weight)
    supports = [foreground_cross_entropy(a, masks, support_weight) for a in code.aux.unbind(2)]
    aux = torch.stack([query(a) for a in out.aux.unbind(1)]).mean() + torch.stack(supports).mean()
    w_final, w_heads, w_aux = weights
    loss = w_final * final + 0.5 * w_heads * heads + 0.5 * w_aux * aux
    return {"loss": loss, "final": final, "heads": heads, "aux": aux, "masked": out.masked}
