"""The prompt bank: a sentence is accepted if it is far enough from every sentence accepted before it.

Source: Syn4Seg, HDIG. With e = phi(p) / ||phi(p)|| and D_t the accepted vectors of class t,
s = max over u in D_t of e . u (-1 for an empty bank); p is accepted iff s < lambda_div (``max_similarity``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from prompts.agents import Proposal, Vectors
from prompts.vocabulary import Vocabulary

_BLOCK = 512
"""Candidates that are compared with one another at once."""

_LARGE = 1 << 22
"""Numbers in a matrix of kept vectors from which a product with a few candidates is quicker the other way round."""


@dataclass(frozen=True)
class Prompt:
    """An accepted sentence.

    Attributes:
        text: the sentence.
        name: its class.
        attributes: what it says, by attribute.
        similarity: largest cosine to the sentences accepted before it, -1 for the first.
    """

    text: str
    name: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    similarity: float = -1.0


@dataclass(frozen=True)
class Refusal:
    """A refused sentence: why, its largest cosine and the accepted sentence that it was nearest to."""

    text: str
    name: str
    reason: str
    similarity: float = -1.0
    nearest: str = ""


class PromptBank:
    """The accepted sentences in order, with the log of the refused.

    Any two accepted sentences of a class have a cosine below ``max_similarity``. Whether a sentence is accepted
    depends on those offered before it alone, so that asking for more later only appends.

    Args:
        vocabulary: knows which words name a class.
        max_similarity: lambda_div, -1..1.
    """

    def __init__(self, vocabulary: Vocabulary, max_similarity: float) -> None:
        self.max_similarity = max_similarity
        self._vocabulary = vocabulary
        self._prompts: list[Prompt] = []
        self._refused: list[Refusal] = []
        self._kept: dict[str, _Kept] = {}

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """All accepted sentences in the order of their acceptance."""
        return tuple(self._prompts)

    @property
    def refused(self) -> tuple[Refusal, ...]:
        """All refused sentences in order."""
        return tuple(self._refused)

    def of(self, name: str) -> tuple[Prompt, ...]:
        """Give the accepted sentences of a class in order."""
        return tuple(self._kept[name].prompts) if name in self._kept else ()

    def offer(self, proposals: Sequence[Proposal], vectors: Vectors) -> list[Refusal]:
        """Accept or refuse sentences of one class, in order; gives those of them that were refused.

        Args:
            proposals: N sentences.
            vectors: their unit vectors, float32 (N, C).

        Raises:
            ValueError: the sentences are of several classes, or the vectors are not N unit vectors.
        """
        if not proposals:
            return []
        if len({p.name for p in proposals}) > 1:
            raise ValueError("offer the sentences of one class at a time")
        if vectors.ndim != 2 or len(vectors) != len(proposals):
            raise ValueError(f"{len(proposals)} sentences came with vectors of shape {vectors.shape}")
        if not np.allclose(np.sqrt(np.einsum("nc,nc->n", vectors, vectors)), 1, atol=1e-3):  # no copy of the vectors
            raise ValueError("the vectors of a bank must have length 1")
        kept, before = self._kept.setdefault(proposals[0].name, _Kept()), len(self._refused)
        for start in range(0, len(proposals), _BLOCK):
            self._offer_block(kept, proposals[start : start + _BLOCK], vectors[start : start + _BLOCK])
        return self._refused[before:]

    def _offer_block(self, kept: _Kept, proposals: Sequence[Proposal], vectors: Vectors) -> None:
        before = len(kept.prompts)
        similarity, nearest = kept.compare(vectors)
        among = vectors @ vectors.T
        accepted: list[int] = []
        for i, proposal in enumerate(proposals):
            if accepted:
                j = int(np.argmax(among[i, accepted]))
                if among[i, accepted[j]] > similarity[i]:
                    similarity[i], nearest[i] = among[i, accepted[j]], before + j
            score = float(similarity[i])
            reason = self._objection(kept, proposal, score)
            if reason is None:
                accepted.append(i)
                prompt = Prompt(proposal.text, proposal.name, dict(proposal.attributes), score)
                kept.prompts.append(prompt)
                kept.texts.add(proposal.text)
                self._prompts.append(prompt)
            else:
                near = kept.prompts[nearest[i]].text if nearest[i] >= 0 else ""
                self._refused.append(Refusal(proposal.text, proposal.name, reason, score, near))
        kept.append(vectors[accepted])

    def _objection(self, kept: _Kept, proposal: Proposal, score: float) -> str | None:
        if proposal.text in kept.texts:
            return "the same sentence was accepted before"
        if not self._vocabulary.names(proposal.name, proposal.text):
            return f"it does not name the class {proposal.name}"
        if score >= self.max_similarity:
            return f"too similar to an accepted sentence ({score:.3f}, the limit is {self.max_similarity:g})"
        return None


class _Kept:
    """The accepted sentences of one class and their vectors, in a matrix that doubles when it is full."""

    def __init__(self) -> None:
        self.prompts: list[Prompt] = []
        self.texts: set[str] = set()
        self._matrix: Vectors = np.zeros((0, 0), np.float32)
        self._count = 0

    def compare(self, vectors: Vectors) -> tuple[Vectors, NDArray[np.int64]]:
        """Give the largest cosine of each of N vectors to the kept ones (-1 without any) and whose it is (-1)."""
        if self._count == 0:
            return np.full(len(vectors), -1, np.float32), np.full(len(vectors), -1, np.int64)
        matrix = self._matrix[: self._count]
        cosines = vectors @ matrix.T if matrix.size < _LARGE else (matrix @ vectors.T).T
        nearest = cosines.argmax(1)
        return cosines[np.arange(len(vectors)), nearest], nearest

    def append(self, vectors: Vectors) -> None:
        """Keep further vectors (n, C)."""
        needed = self._count + len(vectors)
        if needed > len(self._matrix):
            grown = np.zeros((max(needed, 2 * len(self._matrix), 64), vectors.shape[1]), np.float32)
            if self._count:
                grown[: self._count] = self._matrix[: self._count]
            self._matrix = grown
        self._matrix[self._count : needed] = vectors
        self._count = needed
