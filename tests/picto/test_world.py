"""The drawn world: seeds, scenes, masks and captions."""

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import numpy as np
import pytest

from picto.datasets import ensure_dataset
from picto.other_things import PRETRAINING_CLASSES
from picto.pen import COLOURS, Pen
from picto.scenes import BACKGROUNDS, IMAGE_SIZE, LOW_CONTRAST, _compose, _Drawn, draw_portrait, draw_scene
from picto.seeds import SEED_RANGES, scene_rng
from picto.things import FOLD_CLASSES

WORLDS = {"folds": FOLD_CLASSES, "pretraining": PRETRAINING_CLASSES}


def test_seed_ranges_are_disjoint():
    """No seed belongs to two purposes."""
    for (a, first), (b, second) in combinations(SEED_RANGES.items(), 2):
        assert max(first.start, second.start) >= min(first.stop, second.stop), (a, b)


def test_scene_rng_refuses_what_is_outside():
    """An index beyond a purpose's range cannot reach into the next purpose."""
    width = len(SEED_RANGES["sam"])
    scene_rng("sam", width - 1)
    with pytest.raises(IndexError):
        scene_rng("sam", width)
    with pytest.raises(KeyError):
        scene_rng("samm", 0)


def test_pretraining_classes_are_in_no_fold():
    """Neither a class nor a kind nor a drawing of the folds is used for pretraining."""
    assert not set(FOLD_CLASSES) & set(PRETRAINING_CLASSES)
    kinds, drawings = zip(*[(set(k), set(k.values())) for w in WORLDS.values() for k in w.values()], strict=True)
    assert len(set().union(*kinds)) == sum(map(len, kinds))
    assert len(set().union(*drawings)) == sum(map(len, drawings))


@pytest.mark.parametrize("draw", [draw_portrait, draw_scene])
def test_scene_is_a_function_of_its_seed(draw):
    """The same seed draws the same pixels and masks, another seed others."""
    first, again, other = (draw(scene_rng("tuning", i)) for i in (5, 5, 6))
    np.testing.assert_array_equal(first.picture, again.picture)
    assert [t.name for t in first.things] == [t.name for t in again.things]
    for a, b in zip(first.things, again.things, strict=True):
        np.testing.assert_array_equal(a.mask, b.mask)
    assert (first.picture != other.picture).any()


@pytest.mark.parametrize("world", WORLDS)
def test_masks_are_disjoint_and_never_empty(world):
    """A pixel belongs to one thing at most, and each named thing is seen."""
    for i in range(60):
        scene = draw_scene(scene_rng("tuning", i), WORLDS[world])
        masks = np.stack([t.mask for t in scene.things])
        assert scene.picture.shape == (IMAGE_SIZE, IMAGE_SIZE, 3)
        assert scene.picture.dtype == np.uint8
        assert masks.dtype == bool
        assert masks.sum(0).max() <= 1
        assert masks.any((1, 2)).all()
        assert all(t.kind in WORLDS[world][t.name] for t in scene.things)


def test_mask_is_the_half_covered_pixels_of_the_front_thing():
    """By hand: two things on a row of four pixels, the second in front."""
    canvas = np.full((1, 4, 3), 100.0, np.float32)

    def drawn(name: str, value: float, cover: list[float]) -> _Drawn:
        share = np.array([cover], np.float32)
        return _Drawn(name, name, "red", None, share[..., None] * np.full(3, value, np.float32), share)

    back, front = drawn("back", 0, [1.0, 1.0, 0.4, 0.0]), drawn("front", 200, [0.0, 0.5, 0.5, 0.49])
    scene = _compose(canvas, "sea", [back, front])
    np.testing.assert_array_equal(scene.things[0].mask, [[True, False, False, False]])
    np.testing.assert_array_equal(scene.things[1].mask, [[False, True, True, False]])
    np.testing.assert_array_equal(scene.picture[0, :, 0], [0, 100, 130, 149])
    assert (canvas == 100).all()


def test_asked_class_is_shown():
    """must_show puts the class into the scene whatever the seed draws."""
    for i in range(20):
        assert "key" in [t.name for t in draw_scene(scene_rng("support", i), must_show="key").things]


def test_invisible_pairs_are_never_drawn():
    """No thing stands on a background that would hide its colour."""
    pairs = set()
    for i in range(300):
        for scene in (draw_portrait(scene_rng("tuning", i)), draw_scene(scene_rng("tuning", i))):
            pairs |= {(t.colour, scene.background) for t in scene.things}
    assert not pairs & LOW_CONTRAST
    assert len(pairs) > 0.9 * (len(COLOURS) * len(BACKGROUNDS) - len(LOW_CONTRAST))


@pytest.mark.parametrize("world", WORLDS)
def test_every_kind_fills_its_box(world):
    """Each drawing covers a fair share of its box, and its cover is within 0..1."""
    matrix = np.array([[28.0, 0, 32], [0, 28, 32]])
    for kinds in WORLDS[world].values():
        for kind, drawing in kinds.items():
            pen = Pen(IMAGE_SIZE, matrix, COLOURS["red"], np.random.default_rng(0))
            drawing(pen)
            _, cover = pen.finish()
            assert 0 <= cover.min() <= cover.max() <= 1, kind
            assert 0.08 < (cover >= 0.5).mean() < 0.8, kind


def test_a_data_set_that_two_want_is_drawn_once(tmp_path):
    """Who comes while another one draws it waits for it."""
    told = []

    def progress(done, _):
        told.append(done)
        time.sleep(0.3)

    with ThreadPoolExecutor() as pool:
        wanted = [pool.submit(ensure_dataset, tmp_path / "picto", "audit", 2, progress) for _ in range(3)]
    assert [one.result() for one in wanted] == [tmp_path / "picto" / "audit-2"] * 3
    assert told == [2]
    assert len(list((tmp_path / "picto/audit-2/JPEGImages").iterdir())) == 2
