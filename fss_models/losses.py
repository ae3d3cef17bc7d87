"""Losses that the models share; pixels of label 255 count nowhere."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from fss_models.iir import Decoded, SupportCode
from fss_models.layers import resize
from pipeline.classes import IGNORE


def iir_losses(
    out: Decoded, code: SupportCode, truth: Tensor, masks: Tensor,
    query_weight: Tensor | None = None, support_weight: Tensor | None = None,
) -> dict[str, Tensor]:
    """Give IIR's loss and its parts, with one foreground logit instead of two channels.

    Source: IIR, L = CE(final) + 1/2 [CE(meta) + CE(meta supports)] + 1/2 [CE(aux) + CE(aux supports)]. Without the
    ensemble of base learner and decoder, final and meta are one.

    Args:
        out: of the decoder for P queries.
        code: of the supports of P classes.
        truth: of the queries, uint8 (P, H, W) with 0, 1 and 255.
        masks: of the supports, uint8 (P, S, H, W) with 0, 1 and 255.
        query_weight: of each query, (P,); one unless given.
        support_weight: of each class's supports, (P,); one unless given.
    """
    main = bce(out.logits, truth, query_weight)
    aux = torch.stack([bce(a, truth, query_weight) for a in out.aux.unbind(1)]).mean()
    flat = masks.flatten(0, 1)
    weight = None if support_weight is None else support_weight.repeat_interleave(masks.shape[1])
    head = bce(code.logits.flatten(0, 1), flat, weight)
    aux_s = torch.stack([bce(a.flatten(0, 1), flat, weight) for a in code.aux.unbind(2)]).mean()
    return {"loss": 1.5 * main + 0.5 * head + 0.5 * (aux + aux_s), "decoder": main, "masked": out.masked}


def binary(labels: Tensor, wanted: Tensor) -> Tensor:
    """Give 1 where labels (P, H, W) are the wanted one (P,), 255 where they are unknown, else 0."""
    return torch.where(labels == IGNORE, labels, (labels == wanted[:, None, None]).to(labels.dtype))


def bce(logits: Tensor, truth: Tensor, weight: Tensor | None = None) -> Tensor:
    """Binary cross-entropy of logits (P, h, w), enlarged, against labels (P, H, W) with 0, 1, 255."""
    logits = resize(logits[:, None], truth.shape[-2:])[:, 0]
    loss = F.binary_cross_entropy_with_logits(logits, (truth == 1).float(), reduction="none")
    return weighted(loss, truth != IGNORE, weight)


def weighted(loss: Tensor, known: Tensor, weight: Tensor | None = None) -> Tensor:
    """Average a loss (P, H, W) over known pixels, pictures weighted by (P,)."""
    w = known.to(loss.dtype) if weight is None else known * weight[:, None, None]
    return (loss * w).sum() / w.sum().clamp(min=1)
