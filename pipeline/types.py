"""What the stages hand to each other, and the protocols of the models that they use.

Letters: N images, B batch, K classes, S shots, C channels, H W pixels, h w feature cells. Pictures are uint8 RGB
(H, W, 3); label maps are uint8 (H, W) with split ids (`pipeline.classes.ClassSplit`). Boxes are xyxy in pixels, right
and bottom exclusive.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
LabelMap = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Sample:
    """One generated picture with its labels so far. Frozen: a stage returns a new one.

    Attributes:
        id: unique, readable, sortable: class, prompt number, copy.
        name: class that the prompt asks for.
        prompt: the sentence.
        seed: of the picture's own generator.
        picture: uint8 RGB (H, W, 3).
        labels: uint8 (H, W) split ids; None before the first labels.
        free: bool (H, W), pixels whose label is not decided yet (their entry in ``labels`` is 255).
        scores: what the stages measured, by name.
        reason: why the sample was dropped, or None.
    """

    id: str
    name: str
    prompt: str
    seed: int
    picture: Picture
    labels: LabelMap | None = None
    free: Mask | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    reason: str | None = None

    def labelled(self, labels: LabelMap, free: Mask, **scores: float) -> Sample:
        """Give the sample with new labels and further scores."""
        return replace(self, labels=labels, free=free, scores={**self.scores, **scores})

    def dropped(self, reason: str, **scores: float) -> Sample:
        """Give the sample marked as dropped."""
        return replace(self, reason=reason, scores={**self.scores, **scores})


def bare_reason(reason: str) -> str:
    """Give why a sample was dropped without what follows the colon, which differs from sample to sample."""
    return reason.split(":")[0]


@dataclass(frozen=True, eq=False)
class Support:
    """The K masked pictures of a novel class.

    Attributes:
        name: the class.
        pictures: S pictures, uint8 RGB (H, W, 3).
        masks: S masks, bool (H, W), True on the class.
        prototype: unit vector (C,) in the teacher's feature space; None until `pipeline.prototypes` computed it.
        labels: S label maps uint8 (H, W) of split ids with the base classes, where the protocol gives them.
    """

    name: str
    pictures: tuple[Picture, ...]
    masks: tuple[Mask, ...]
    prototype: Floats | None = None
    labels: tuple[LabelMap, ...] | None = None


class ImageGenerator(Protocol):
    """Text to pictures."""

    def draw(self, prompts: Sequence[str], seeds: Sequence[int]) -> Iterable[tuple[Picture, str | None]]:
        """Draw one picture a prompt, each from its own generator; the prompts of one call are one batch plan.

        They come in the order of the prompts, each with why it cannot be used, or None.
        """
        ...


class Teacher(Protocol):
    """The GFSS network that makes the first labels."""

    weights_id: str

    def features(self, pictures: Sequence[Picture]) -> Floats:
        """Give features (N, C, h, w) of pictures of one size."""
        ...

    def look(self, pictures: Sequence[Picture]) -> tuple[Floats, Floats]:
        """Give features (N, C, h, w) and class probabilities (N, 1+B+N, H, W) of pictures of one size."""
        ...


class BoundaryRefiner(Protocol):
    """A promptable segmenter such as SAM."""

    def segment(self, picture: Picture, boxes: NDArray[np.float32]) -> tuple[NDArray[np.bool_], Floats]:
        """Give a mask (R, H, W) and a predicted IoU (R,) for each of R boxes (R, 4) on one picture."""
        ...
