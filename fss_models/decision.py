"""Which label a pixel gets: the class with the highest probability, each divided by the IoU that is expected of it.

Source: the IoU of a class is greatest with the threshold J / (1 + J), odds of J to 1, J being the best IoU that can be
had (from half of the best F1, Lipton et al. 2014, and F1 = 2 J / (1 + J)). The most probable class is best for the
share of right pixels instead, and gives up things that the model is unsure of. Background is taken to be certain, with
J = 1; that several classes compete at a pixel is passed over. Ours (decisions.md, labels that the IoU asks for).
"""

from __future__ import annotations

import math

from torch import Tensor

ExpectedIou = tuple[float, float]
"""Of base and of novel classes, above 0 and at most 1; (1, 1) takes the most probable class."""

ARGMAX: ExpectedIou = (1.0, 1.0)


def votes(log_probabilities: Tensor, base: int, expected_iou: ExpectedIou) -> Tensor:
    """Give what is greatest at the label of a pixel.

    Args:
        log_probabilities: (..., 1+B+N, H, W), in the order of the split ids.
        base: B.
        expected_iou: of base and novel classes.

    Returns:
        Log probabilities minus the log of the expected IoU, of the same shape.
    """
    if tuple(expected_iou) == ARGMAX:
        return log_probabilities
    found = log_probabilities.clone()
    for place, iou in zip((slice(1, 1 + base), slice(1 + base, None)), expected_iou, strict=True):
        found[..., place, :, :] -= math.log(iou)
    return found
