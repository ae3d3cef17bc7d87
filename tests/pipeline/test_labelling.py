"""First labels, APF, APR and SABR on small label maps."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pipeline.annotate import annotate, estimated_odds, look_twice, otsu
from pipeline.classes import IGNORE, ClassSplit
from pipeline.config import AnnotateSettings, FilterSettings, RefineSettings, RelabelSettings
from pipeline.filtering import filter_regions, judged_regions
from pipeline.prototypes import centred, unit
from pipeline.refine import band_width, refine, update_set
from pipeline.relabel import blended_prototype, relabel
from pipeline.types import Sample

SPLIT = ClassSplit.of("picto", 0)
BOAT = SPLIT.id_of("boat")
BOTTLE = SPLIT.id_of("bottle")
CUP = SPLIT.id_of("cup")
EAST, NORTH = np.array([1, 0], np.float32), np.array([0, 1], np.float32)


def frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def sample_of(labels: np.ndarray | None = None, free: np.ndarray | None = None, side: int = 6) -> Sample:
    """A boat with read-only arrays, so that a stage that writes to its arguments fails."""
    shape = (side, side) if labels is None else labels.shape
    sample = Sample("boat-0000-0", "boat", "a boat", 1, frozen(np.zeros((*shape, 3), np.uint8)))
    if labels is None:
        return sample
    free = np.zeros(shape, bool) if free is None else free
    labels = np.where(free, IGNORE, labels).astype(np.uint8)
    return sample.labelled(frozen(labels), frozen(free))


def scores_of(certain: dict[int, float], side: int = 6) -> np.ndarray:
    """The same probabilities at every pixel; what is left goes to the background."""
    scores = np.zeros((len(SPLIT.names), side, side), np.float32)
    for label, score in certain.items():
        scores[label] = score
    scores[0] += 1 - scores.sum(0)
    return scores


def test_only_the_prompted_novel_class_is_predicted() -> None:
    """A bottle in a picture of a boat is suppressed: the next best label wins."""
    scores = scores_of({BOTTLE: 0.6, BOAT: 0.3})
    result = annotate(sample_of(), frozen(scores), SPLIT, AnnotateSettings(prompt_odds=1))
    assert (result.labels == BOAT).all()
    assert result.reason is None


def test_the_prompted_class_is_expected() -> None:
    """With odds of 10 a boat of probability 0.08 beats a background of 0.7, one of 0.06 does not."""
    scores = scores_of({BOAT: 0.08, CUP: 0.22})
    scores[:, 3:] = scores_of({BOAT: 0.06, CUP: 0.24})[:, 3:]
    result = annotate(sample_of(), frozen(scores), SPLIT, AnnotateSettings(prompt_odds=10))
    assert result.labels is not None
    assert (result.labels[:3] == BOAT).all()
    assert (result.labels[3:] == 0).all()


def test_odds_are_estimated_from_the_pictures_own_log_odds() -> None:
    """Where a boat has probability 0.02 on some pixels and 0.0001 on the others, the first are the boat."""
    scores = scores_of({BOAT: 0.0001})
    scores[:, 2:4] = scores_of({BOAT: 0.02})[:, 2:4]
    result = annotate(sample_of(), frozen(scores), SPLIT, AnnotateSettings())
    assert result.labels is not None
    assert (result.labels[2:4] == BOAT).all()
    assert (result.labels[[0, 1, 4, 5]] == 0).all()
    assert estimated_odds(scores_of({BOAT: 0.3}), BOAT) == 1  # nothing to part
    assert annotate(sample_of(), scores_of({BOAT: 0.3}), SPLIT, AnnotateSettings()).reason is not None


@given(st.lists(st.integers(-20, 20), min_size=2, max_size=30))
def test_otsu_is_the_best_cut(values: list[int]) -> None:
    """No other cut gives two groups with a smaller variance inside them."""
    data = np.array(values, np.float64)

    def inside(cut: float) -> float:
        return float(sum(((g - g.mean()) ** 2).sum() for g in (data[data <= cut], data[data > cut]) if len(g)))

    best = min(inside(cut) for cut in [*data])
    assert inside(otsu(data)) == pytest.approx(best)


def test_uncertain_base_pixels_are_ignored_not_free() -> None:
    """A base class below the threshold becomes 255, above it stays, after the suppressed classes were taken out."""
    scores = scores_of({CUP: 0.75, BOAT: 0.2})
    scores[:, :, 3:] = scores_of({CUP: 0.7, BOTTLE: 0.25})[:, :, 3:]  # 0.7 of the remaining 0.75
    scores[:, 0] = scores_of({BOAT: 0.5, CUP: 0.2})[:, 0]
    result = annotate(sample_of(), scores, SPLIT, AnnotateSettings(min_base_score=0.8, prompt_odds=1))
    assert result.labels is not None
    assert result.free is not None
    assert (result.labels[0] == BOAT).all()
    assert (result.labels[1:, :3] == IGNORE).all()
    assert (result.labels[1:, 3:] == CUP).all()
    assert not result.free.any()


def test_a_picture_without_its_class_is_dropped_and_bad_calls_raise() -> None:
    """A bad sample is returned with a reason, a bad call raises."""
    assert annotate(sample_of(), scores_of({CUP: 0.9}), SPLIT, AnnotateSettings()).reason == "the teacher sees no boat"
    broken = scores_of({BOAT: 0.9})
    broken[0, 0, 0] = np.nan
    assert "finite" in str(annotate(sample_of(), broken, SPLIT, AnnotateSettings()).reason)
    with pytest.raises(ValueError, match="do not fit"):
        annotate(sample_of(), scores_of({BOAT: 0.9}, side=5), SPLIT, AnnotateSettings())
    with pytest.raises(ValueError, match="no labels"):
        filter_regions(sample_of(), np.zeros((2, 3, 3), np.float32), EAST, SPLIT, FilterSettings())


def test_mirrored_looks_are_averaged() -> None:
    """With the mirror image, the scores of a teacher that sees brightness are those of the picture itself."""
    class Bright:
        weights_id = "bright"

        def look(self, pictures: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
            light = np.stack([p[..., 0] for p in pictures])[:, None].astype(np.float32)
            ramp = np.linspace(0, 1, light.shape[-1], dtype=np.float32)  # a teacher that favours the right side
            return light[:, :, ::2, ::2], light + ramp

    picture = np.random.default_rng(0).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    features, scores = look_twice(Bright(), [picture], flip=True)
    np.testing.assert_allclose(scores[0, 0], picture[..., 0] + 0.5, atol=1e-4)
    assert features.dtype == scores.dtype == np.float32
    once = look_twice(Bright(), [picture], flip=False)[1]
    assert not np.allclose(once, scores)


def two_regions() -> tuple[np.ndarray, np.ndarray]:
    """A 6x6 map with a region that looks like a boat (east) and one that does not (north), and 3x3 features."""
    labels = np.zeros((6, 6), np.uint8)
    labels[0:2, 0:2], labels[4:6, 2:6], labels[0, 5] = BOAT, BOAT, CUP
    features = np.zeros((2, 3, 3), np.float32)
    features[0, 0], features[1, 1:] = 1, 1
    return labels, frozen(features)


def test_apf_frees_the_region_that_does_not_resemble_the_supports() -> None:
    """The unlike region becomes free (255 in the map), the like region and all other labels stay."""
    labels, features = two_regions()
    settings = FilterSettings(min_similarity=0.6, min_contrast=None, part=1)
    result = filter_regions(sample_of(labels), features, EAST, SPLIT, settings)
    expected = labels.copy()
    expected[4:6, 2:6] = IGNORE
    assert np.array_equal(result.labels, expected)
    assert np.array_equal(result.free, expected == IGNORE)
    assert result.scores["apf_kept"] == 1


def test_apf_frees_small_regions_and_can_be_switched_off() -> None:
    """A region below the area limit is freed however alike; a disabled filter keeps everything."""
    labels, features = two_regions()
    settings = FilterSettings(min_similarity=-1, min_contrast=None, min_area=0.15)
    strict = filter_regions(sample_of(labels), features, EAST, SPLIT, settings)
    assert strict.free is not None
    assert strict.free.sum() == 4
    assert strict.free[0, 0]
    disabled = sample_of(labels)
    assert filter_regions(disabled, features, EAST, SPLIT, FilterSettings(enabled=False)) is disabled


def test_apf_judges_parts_of_a_region() -> None:
    """Of one region the like half stays and the unlike half becomes free; judged whole, all of it stays."""
    labels = np.full((6, 6), BOAT, np.uint8)
    features = np.zeros((2, 3, 3), np.float32)
    features[0, :, :2], features[1, :, 2] = 1, 1
    parts = filter_regions(sample_of(labels), features, EAST, SPLIT, FilterSettings(min_similarity=0.2, part=1 / 3))
    assert np.array_equal(parts.free, np.arange(36).reshape(6, 6) % 6 >= 4)
    assert parts.scores["apf_kept"] == 6
    whole = filter_regions(sample_of(labels), features, EAST, SPLIT, FilterSettings(part=1))
    assert whole.free is not None
    assert not whole.free.any()


def test_apf_frees_parts_that_stand_out_of_the_background_less_than_the_label() -> None:
    """Where all of a label resembles the supports enough, the part that resembles the background as well is freed."""
    labels = np.zeros((6, 6), np.uint8)
    labels[:, :4] = BOAT
    features = np.zeros((2, 3, 3), np.float32)
    features[0], features[1, :, 1], features[1, :, 2] = 1, 1, 2
    plain, strict = (
        filter_regions(
            sample_of(labels), features, EAST, SPLIT, FilterSettings(min_contrast=least, min_similarity=0.2, part=1 / 3)
        )
        for least in (None, 0.7)
    )
    assert plain.free is not None
    assert not plain.free.any()
    assert np.array_equal(strict.free, np.isin(np.arange(36).reshape(6, 6) % 6, (2, 3)))
    # by hand: east and (1, 1) / sqrt(2) are 1 / sqrt(5) and 3 / sqrt(10) alike to the background's (1, 2) / sqrt(5)
    regions = list(judged_regions(labels == BOAT, features, EAST, FilterSettings(part=1 / 3)))
    d_of = {1.0: 1 - 1 / 5**0.5, 0.5**0.5: 1 - 3 / 10**0.5}
    assert len(regions) == 6
    for region in regions:
        d = d_of[min(d_of, key=lambda s: abs(s - region.similarity))]
        assert region.contrast == pytest.approx(d / (sum(d_of.values()) / 2), abs=1e-5)


def test_every_background_cell_counts_for_itself() -> None:
    """A part like one cell of the background is freed, though the background's mean is unlike it."""
    labels = np.zeros((4, 8), np.uint8)
    labels[:, :4] = BOAT
    features = np.zeros((2, 2, 4), np.float32)
    features[0, :, 0], features[1, :, 1] = 1, 1  # the label: east, then north
    features[:, :, 2], features[0, :, 3] = [[0], [1]], -5  # the background: north, and much of the west
    settings = FilterSettings(min_similarity=-1, min_contrast=0.5, part=1 / 4)
    result = filter_regions(sample_of(labels), frozen(features), EAST, SPLIT, settings)
    assert np.array_equal(result.free, np.isin(np.arange(32).reshape(4, 8) % 8, (2, 3)))


def test_a_label_that_leaves_no_background_is_judged_by_the_supports_alone() -> None:
    """A label of the whole picture has nothing to stand out of."""
    labels = np.full((6, 6), BOAT, np.uint8)
    result = filter_regions(sample_of(labels), two_regions()[1], EAST, SPLIT, FilterSettings(min_similarity=-1))
    assert result.free is not None
    assert not result.free.any()


def test_centring_tells_features_apart_that_point_the_same_way() -> None:
    """With a large common component both regions pass; once it is subtracted, only the right one does."""
    labels, features = two_regions()
    common = np.array([5, 5], np.float32)
    biased = features + common[:, None, None]
    settings = FilterSettings(min_similarity=0.2, min_contrast=None, part=1)
    plain = filter_regions(sample_of(labels), biased, unit(EAST + common), SPLIT, settings)
    apart = filter_regions(sample_of(labels), centred(biased), EAST, SPLIT, settings)
    assert plain.scores["apf_kept"] == 2
    assert apart.scores["apf_kept"] == 1


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), limit=st.floats(-1, 1), blend=st.floats(0, 1))
def test_apf_only_frees_and_apr_only_fills(seed: int, limit: float, blend: float) -> None:
    """APF changes labels to free only; APR changes free pixels only, to the class only."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, CUP, BOAT, BOAT, IGNORE], (9, 9)).astype(np.uint8)
    features = rng.normal(size=(4, 3, 3)).astype(np.float32)
    prototype = unit(rng.normal(size=4).astype(np.float32))
    before = sample_of(labels)
    trusted = filter_regions(before, features, prototype, SPLIT, FilterSettings(min_similarity=limit))
    assert before.labels is not None
    assert trusted.labels is not None
    assert trusted.free is not None
    changed = trusted.labels != before.labels
    assert np.array_equal(changed, trusted.free)
    assert (trusted.labels[changed] == IGNORE).all()
    assert (before.labels[changed] == BOAT).all()
    filled = relabel(trusted, features, prototype, SPLIT, RelabelSettings(blend=blend, min_similarity=limit))
    assert filled.labels is not None
    assert filled.free is not None
    changed = filled.labels != trusted.labels
    assert not (changed & ~trusted.free).any()
    assert (filled.labels[changed] == BOAT).all()
    assert np.array_equal(filled.free, trusted.free & ~changed)


def test_beta_one_and_zero_give_the_pure_prototypes() -> None:
    """Beta 1 is the support prototype, 0 the picture's own, between them a unit vector between them."""
    labels, features = two_regions()
    features = 3 * features  # the length of a feature must not count
    seeds = np.zeros((6, 6), bool)
    seeds[4:6, 2:6] = True  # looks north
    np.testing.assert_array_equal(blended_prototype(EAST, features, seeds, 1.0), EAST)
    np.testing.assert_allclose(blended_prototype(EAST, features, seeds, 0.0), NORTH, atol=1e-6)
    np.testing.assert_allclose(blended_prototype(EAST, features, seeds, 0.5), [2**-0.5, 2**-0.5], atol=1e-6)
    np.testing.assert_array_equal(blended_prototype(EAST, features, labels == 99, 0.0), EAST)


def test_apr_claims_free_pixels_that_look_like_the_class() -> None:
    """Free pixels over east-looking cells become boat, those over north-looking cells stay free."""
    labels = np.zeros((6, 6), np.uint8)
    labels[0, 0] = BOAT
    free = np.zeros((6, 6), bool)
    free[0, 1:], free[5] = True, True
    _, features = two_regions()
    result = relabel(sample_of(labels, free), features, EAST, SPLIT, RelabelSettings())
    assert result.labels is not None
    assert (result.labels[0] == BOAT).all()
    assert (result.labels[5] == IGNORE).all()
    assert np.array_equal(result.free, np.arange(36).reshape(6, 6) >= 30)


def test_apr_claims_what_is_more_like_a_kept_cell_than_like_the_background() -> None:
    """A free cell like one of the kept ones is claimed though the mean is unlike it; one like the background is not."""
    labels = np.zeros((2, 12), np.uint8)
    labels[:, 0:4] = BOAT
    free = np.zeros((2, 12), bool)
    free[:, 4:8] = True
    east, north, west = [[1.0], [0.0]], [[0.0], [1.0]], [[-1.0], [0.0]]
    features = np.stack([east, west, west, north, north, north], axis=-1).reshape(2, 1, 6).astype(np.float32)
    # cells: kept east and west, free west and north, background north and north
    plain, margin = (
        relabel(sample_of(labels, free), features, EAST, SPLIT, RelabelSettings(min_similarity=-1, min_margin=least))
        for least in (None, 0.3)
    )
    assert plain.free is not None
    assert not plain.free.any()
    assert margin.free is not None
    # the margin is 1 in the free west cell and -1 in the north one, linear between their centres: 1, 0.5, -0.5, -1
    assert np.array_equal(np.flatnonzero(margin.free[0]), [6, 7])
    strict = RelabelSettings(min_similarity=0.5, blend=1)
    assert np.array_equal(relabel(sample_of(labels, free), features, EAST, SPLIT, strict).free, free)


def test_apr_without_a_claim_drops_the_picture() -> None:
    """Without a seed the support prototype decides; where it claims nothing, or APR is off, the picture is dropped."""
    free = np.ones((6, 6), bool)
    features = np.zeros((2, 3, 3), np.float32)
    features[1] = 1
    blank = sample_of(np.zeros((6, 6), np.uint8), free)
    assert "resembles" in str(relabel(blank, features, EAST, SPLIT, RelabelSettings()).reason)
    assert "resembles" in str(relabel(blank, features, NORTH, SPLIT, RelabelSettings(enabled=False)).reason)
    found = relabel(blank, features, NORTH, SPLIT, RelabelSettings())
    assert found.reason is None
    assert (found.labels == BOAT).all()


class Answers:
    """A refiner that answers each box by a function of the box."""

    weights_id = "answers"

    def __init__(self, answer: Callable[[np.ndarray], np.ndarray]) -> None:
        self._answer = answer

    def segment(self, picture: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Answer every box."""
        masks = [self._answer(box.astype(int)) for box in boxes]
        return np.array(masks), np.ones(len(boxes), np.float32)


def square(side: int, start: int, stop: int) -> np.ndarray:
    mask = np.zeros((side, side), bool)
    mask[start:stop, start:stop] = True
    return mask


SHARP = RefineSettings(band=0.1, pad=0.1)  # 1 pixel on 10 by 10


def test_sabr_moves_the_boundary_to_sams() -> None:
    """In the band, pixels in SAM's mask join the class, others leave it; a hole inside SAM's mask is not dug."""
    labels = np.where(square(10, 2, 8), BOAT, 0).astype(np.uint8)
    truth = square(10, 3, 9)
    truth[5, 5] = False  # SAM errs in the interior, which is frozen
    result = refine(sample_of(labels), Answers(lambda box: truth), SPLIT, SHARP)
    expected = np.where(square(10, 3, 8), BOAT, 0)
    expected[8, 3:8] = expected[3:8, 8] = BOAT  # the corner (8, 8) has no 4-neighbour of another label
    assert np.array_equal(result.labels, expected)
    assert result.free is not None
    assert not result.free.any()


def test_sabr_skips_a_mask_that_is_something_else() -> None:
    """Below the overlap limit SAM's mask is not used and the labels stay."""
    labels = np.where(square(10, 2, 8), BOAT, 0).astype(np.uint8)
    result = refine(sample_of(labels), Answers(lambda box: square(10, 0, 3)), SPLIT, SHARP)
    assert np.array_equal(result.labels, labels)
    assert result.scores["sabr_skipped"] == 1


def test_sabr_decides_free_pixels() -> None:
    """A free pixel that adjoins the class follows SAM, whose box it widens; one that stands alone is ignored."""
    labels = np.zeros((12, 12), np.uint8)
    labels[2:6, 2:6] = BOAT
    free = np.zeros((12, 12), bool)
    free[2:6, 6:9], free[11, 11] = True, True
    truth = np.zeros((12, 12), bool)
    truth[2:6, 2:8] = True
    boxes = []
    settings = RefineSettings(band=0.09, pad=0)
    refiner = Answers(lambda box: boxes.append(box.tolist()) or truth)
    result = refine(sample_of(labels, free), refiner, SPLIT, settings)
    assert result.labels is not None
    assert band_width((12, 12), settings) == 1
    assert boxes == [[2, 2, 9, 6]]
    assert (result.labels[2:6, 6:8] == BOAT).all()
    assert (result.labels[2:6, 8] == 0).all()
    assert result.labels[11, 11] == IGNORE
    skipped = refine(sample_of(labels, free), Answers(lambda box: square(12, 9, 12)), SPLIT, settings)
    assert np.array_equal(skipped.labels == IGNORE, free)


def test_sabr_is_the_identity_where_nothing_may_change() -> None:
    """With an empty update set, or switched off, the labels stay whatever SAM says."""
    whole = sample_of(np.full((8, 8), BOAT, np.uint8))
    result = refine(whole, Answers(lambda box: square(8, 0, 7)), SPLIT, RefineSettings())
    assert np.array_equal(result.labels, whole.labels)
    assert refine(whole, Answers(lambda box: square(8, 0, 2)), SPLIT, RefineSettings(enabled=False)) is whole


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), band=st.sampled_from([0.05, 0.1, 0.2]), overlap=st.sampled_from([0.0, 0.5]))
def test_sabr_changes_only_the_update_set(seed: int, band: float, overlap: float) -> None:
    """No pixel outside band and free pixels changes, so interiors eroded by the half-width stay; none stays free."""
    rng = np.random.default_rng(seed)
    blobs = ndimage.gaussian_filter(rng.normal(size=(20, 20)), 2)
    labels = np.select([blobs > 0.1, blobs < -0.15], [BOAT, CUP], 0).astype(np.uint8)
    labels[rng.random((20, 20)) < 0.02] = IGNORE
    free = rng.random((20, 20)) < 0.1
    before = sample_of(labels, free)
    settings = RefineSettings(band=band, min_overlap=overlap)
    after = refine(before, Answers(lambda box: rng.random((20, 20)) < 0.7), SPLIT, settings)
    width = band_width((20, 20), settings)
    assert before.labels is not None
    assert after.labels is not None
    assert after.free is not None
    update = update_set(before.labels, free, width)
    assert not ((after.labels != before.labels) & ~update).any()
    interior = ndimage.distance_transform_edt(before.labels == BOAT) > width
    assert (after.labels[interior] == BOAT).all()
    assert not after.free.any()
    assert set(np.unique(after.labels)) <= {0, BOAT, CUP, IGNORE}


def test_dropped_samples_pass_through_every_stage() -> None:
    """A dropped sample comes back as it is."""
    dropped = sample_of().dropped("black")
    features = np.zeros((2, 3, 3), np.float32)
    assert annotate(dropped, scores_of({BOAT: 1}), SPLIT, AnnotateSettings()) is dropped
    assert filter_regions(dropped, features, EAST, SPLIT, FilterSettings()) is dropped
    assert relabel(dropped, features, EAST, SPLIT, RelabelSettings()) is dropped
    assert refine(dropped, Answers(lambda box: square(6, 0, 1)), SPLIT, RefineSettings()) is dropped
