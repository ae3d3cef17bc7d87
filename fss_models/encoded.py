"""What a model makes of pictures and of supports, computed once for all episodes that show them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor

from fss_models.augment import fit
from fss_models.backbones import Levels
from fss_models.data import Labelled
from fss_models.episodes import Episode
from fss_models.fss import Code, FssModel
from fss_models.multiscale import PLAIN, Views, mean_foreground, scaled, viewed
from pipeline.classes import IGNORE
from pipeline.types import LabelMap, Picture

KEPT = 2 << 30
"""Bytes of levels, and as many of supports, that stay: all of picto's, 40 pictures of a ResNet-50 at 473 pixels."""

Key = TypeVar("Key", bound=Hashable)
Row = dict[str, Tensor]


class Remembered(Generic[Key]):
    """Rows of tensors by key; the ones that were not asked for longest are forgotten first.

    Args:
        compute: gives the rows of keys that are not remembered, all in one batch.
        limit: bytes to keep.
    """

    def __init__(self, compute: Callable[[list[Key]], Row], limit: int = KEPT) -> None:
        self._compute, self._limit, self._size = compute, limit, 0
        self._rows: OrderedDict[Key, Row] = OrderedDict()

    def __call__(self, keys: Sequence[Key]) -> Row:
        """Give the rows of keys, stacked."""
        found = {key: self._rows[key] for key in keys if key in self._rows}
        for key in found:
            self._rows.move_to_end(key)
        if missing := [key for key in dict.fromkeys(keys) if key not in found]:
            batch = self._compute(missing)
            for i, key in enumerate(missing):
                found[key] = self._rows[key] = {name: x[i].clone() for name, x in batch.items()}
                self._size += _bytes(found[key])
            while self._size > self._limit:
                self._size -= _bytes(self._rows.popitem(last=False)[1])
        rows = [found[key] for key in keys]
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


class Encoded:
    """The queries and supports of episodes as a model wants them.

    Args:
        model: any FSS model, in evaluation mode.
        data: pictures with all labels.
        side: of the squares that they are fitted to, see `augment.fit`.
        limit: bytes of each kind to keep.
        views: of the queries, see `multiscale`.
    """

    def __init__(
        self, model: FssModel, data: Labelled, side: int, limit: int = KEPT, views: Views = PLAIN
    ) -> None:
        self.model, self.data, self.side, self.views = model, data, side, views
        self._levels: Remembered[tuple[int, tuple[float, ...]]] = Remembered(self._see, limit)
        self._codes: Remembered[tuple[int, int]] = Remembered(self._encode, limit)

    def queries(self, episodes: Sequence[Episode], view: tuple[float, ...] = PLAIN[0]) -> Levels:
        """Give the levels of the queries in a view, float (P, C, h, w) each."""
        return Levels(**self._levels([(e.query, view) for e in episodes]))

    def supports(self, episodes: Sequence[Episode]) -> Code:
        """Give the code of the supports, (P, S, ...) each."""
        rows = self._codes([(place, e.label) for e in episodes for place in e.supports])
        return {name: x.unflatten(0, (len(episodes), -1)) for name, x in rows.items()}

    def logits(self, episodes: Sequence[Episode], view: tuple[float, ...] = PLAIN[0]) -> Tensor:
        """Give foreground logits of the squares in a view, float (P, h, w)."""
        side = scaled(self.side, view)
        return self.model.decode(self.queries(episodes, view), self.supports(episodes), (side, side)).float()

    def margins(self, episodes: Sequence[Episode]) -> Tensor:
        """Give what is above 0 on the foreground, float (P, h, w).

        Of one view the logits; of several the mean of the foreground's probability less that of the background.
        """
        if len(self.views) == 1:
            return self.logits(episodes, self.views[0])
        return 2 * mean_foreground([self.logits(episodes, v) for v in self.views], (self.side, self.side)) - 1

    def _see(self, keys: list[tuple[int, tuple[float, ...]]]) -> Row:
        view = keys[0][1]  # all the same: views differ in size
        squares = torch.stack([fit(*self.data[place], self.side)[0] for place, _ in keys])
        levels = self.model.see(viewed(squares.to(self.model.backbone.mean.device), view))
        return {name: x for name, x in levels._asdict().items() if x is not None}

    def _encode(self, keys: list[tuple[int, int]]) -> Row:
        levels = Levels(**self._levels([(place, PLAIN[0]) for place, _ in keys]))
        masks = torch.stack([fit(*shown(self.data, place, label), self.side)[1] for place, label in keys])
        device = self.model.backbone.mean.device
        return self.model.encode(levels, masks.to(device), torch.tensor([label for _, label in keys], device=device))


def shown(data: Labelled, place: int, label: int) -> tuple[Picture, LabelMap]:
    """Give a picture and the mask of a class: uint8 (H, W) with 1 on it, 0 on the rest and 255 where unknown."""
    picture, labels = data[place]
    mask = (labels == label).astype("uint8")
    mask[labels == IGNORE] = IGNORE
    return picture, mask


def _bytes(row: Row) -> int:
    return sum(x.nbytes for x in row.values())
