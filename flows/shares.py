"""A run in shares, for job arrays: every job draws and labels a part of the pictures and knows nothing of others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from pipeline.errors import InputError

T = TypeVar("T")

LAST = "refine"
"""The last stage that can be shared: the dataset is made of all pictures."""


@dataclass(frozen=True)
class Share:
    """One of ``of`` equal parts of the shards of pictures, by their numbers alone.

    Attributes:
        number: which part, from 1 to ``of``.
        of: how many parts there are.
    """

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Share:
        """Read ``2/8``.

        Raises:
            InputError: it is no share.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        share = cls(int(found[1]), int(found[2])) if found else cls(0, 0)
        if not 1 <= share.number <= share.of:
            raise InputError(f"--shards: got {text!r}, expected k/n with k from 1 to n, such as 2/8")
        return share

    @property
    def name(self) -> str:
        """As part of a file's name."""
        return f"{self.number}-of-{self.of}"


def shared(shards: Iterable[T], place: int, share: Share | None) -> Iterator[T]:
    """Give those of a class's shards that belong to a share; all without one.

    Args:
        shards: of a class, in order.
        place: the class's place among those of the run, so that classes of few shards do not all go to the first share.
        share: of the run.
    """
    return iter(shards) if share is None else islice(shards, (share.number - 1 - place) % share.of, None, share.of)
