"""What the stages make of one fixed picture is pinned beside their versions.

When a pinned value changes, results of earlier runs no longer hold: raise the stage's VERSION, then pin the new value.
"""

import numpy as np

from pipeline import annotate, filtering, generate, refine, relabel
from pipeline.classes import ClassSplit
from pipeline.config import AnnotateSettings, FilterSettings, RefineSettings, RelabelSettings
from pipeline.hashing import hash_arrays, hash_json
from pipeline.types import Sample
from prompts import build
from prompts.agents import GrammarAgent
from prompts.vocabulary import load_vocabulary

SPLIT = ClassSplit.of("picto", 0)
BOAT, BOTTLE, CUP = (SPLIT.id_of(name) for name in ("boat", "bottle", "cup"))

PINNED = {
    ("annotate", 2): "4012b76cb77a8b2a",
    ("filtering", 3): "d8bb0a8be05fb783",
    ("relabel", 3): "444273351440d5e2",
    ("refine", 2): "d5665bb503112174",
    ("generate", 1): "2539813142766492413",
    ("prompts", 1): "5c37d62eeee83b97",
}


def disc(y: float, x: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:48, :48]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


class Disc:
    """A refiner that always sees the true boat."""

    weights_id = "disc"

    def segment(self, picture: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Answer every box with the boat."""
        return np.stack([disc(24, 24, 11.3)] * len(boxes)), np.ones(len(boxes), np.float32)


def test_results_change_only_with_the_version() -> None:
    """Every stage gives for a fixed input what it gave when its version was set."""
    scores = np.full((len(SPLIT.names), 48, 48), 0.01, np.float32)
    scores[0] = 0.5
    scores[BOAT, disc(25, 22, 10)] = scores[BOAT, disc(6, 40, 5)] = 0.7
    scores[CUP, disc(40, 8, 6)], scores[CUP, disc(40, 40, 4)] = 9.0, 0.9
    scores[BOTTLE, disc(24, 24, 4)] = 0.8
    scores[BOAT, disc(38, 30, 5)] = 0.2  # beaten by the background, but expected
    scores /= scores.sum(0)
    maps = np.stack([disc(24, 24, 12) | disc(6, 44, 4), ~disc(24, 24, 12), disc(6, 40, 6)])
    features = maps.astype(np.float32)[:, 2::4, 2::4]
    east = np.array([1, 0, 0], np.float32)

    first = annotate.annotate(
        Sample("boat-0000-0", "boat", "a boat", 0, np.zeros((48, 48, 3), np.uint8)), scores, SPLIT,
        AnnotateSettings(),
    )  # fmt: skip
    trusted = filtering.filter_regions(first, features, east, SPLIT, FilterSettings(min_similarity=0.6, part=1 / 16))
    filled = relabel.relabel(trusted, features, east, SPLIT, RelabelSettings(min_similarity=0.5))
    sharp = refine.refine(filled, Disc(), SPLIT, RefineSettings(band=0.05))
    words = [p.text for p in GrammarAgent(load_vocabulary("picto"), 0).propose("boat", 64)]

    found = {
        ("annotate", annotate.VERSION): hash_arrays(first.labels, first.free),
        ("filtering", filtering.VERSION): hash_arrays(trusted.labels, trusted.free),
        ("relabel", relabel.VERSION): hash_arrays(filled.labels, filled.free),
        ("refine", refine.VERSION): hash_arrays(sharp.labels, sharp.free),
        ("generate", generate.VERSION): str(generate.sample_seed(0, "boat", "a boat", 0)),
        ("prompts", build.VERSION): hash_json(words),
    }
    assert sharp.reason is None
    assert found == PINNED
