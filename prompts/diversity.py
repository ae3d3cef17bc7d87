"""How different the sentences of a bank are from one another, in the generator's text space."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from prompts.agents import Vectors

_BLOCK = 1024
"""Rows of the matrix of cosines that are in memory at once."""


def diversity(vectors: Vectors) -> dict[str, float]:
    """Say how different sentences are.

    Args:
        vectors: their unit vectors, float32 (N, C).

    Returns:
        ``mean_cosine`` over all pairs, ``nearest_cosine``, the mean over the sentences of the cosine to their nearest
        other one, and ``effective``, the Vendi score: as how many wholly different sentences they count.
    """
    count = len(vectors)
    if count < 2:
        return {"mean_cosine": 1.0, "nearest_cosine": 1.0, "effective": float(count)}
    total = float(np.square(vectors.sum(0, dtype=np.float64)).sum())
    nearest = 0.0
    for start in range(0, count, _BLOCK):
        rows = vectors[start : start + _BLOCK] @ vectors.T
        np.fill_diagonal(rows[:, start:], -1)
        nearest += float(rows.max(1).sum(dtype=np.float64))
    return {
        "mean_cosine": round((total - count) / (count * (count - 1)), 4),
        "nearest_cosine": round(nearest / count, 4),
        "effective": round(vendi(vectors), 2),
    }


def vendi(vectors: NDArray[Any]) -> float:
    """Give the Vendi score of unit vectors (N, C): 1 where all are equal, N where all are orthogonal.

    Source: Friedman and Dieng 2023, exp(-sum_i l_i log l_i) with l the eigenvalues of K / N, K the matrix of cosines;
    X^T X / N has the same ones and is no larger than (C, C).
    """
    rows = vectors if len(vectors) > vectors.shape[1] else vectors.T
    gram = np.zeros((rows.shape[1], rows.shape[1]))
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK].astype(np.float64)
        gram += block.T @ block
    values = np.linalg.eigvalsh(gram / len(vectors))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))
