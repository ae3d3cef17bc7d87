"""Seeds, plans and the checks of drawn pictures."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from pipeline.assemble import write_voc
from pipeline.classes import ClassSplit
from pipeline.generate import TWIN, draw_samples, plan_samples, sample_seed
from pipeline.store import RunStore
from prompts.bank import Prompt

PROMPTS = [Prompt("a boat", "boat"), Prompt("a red boat", "boat"), Prompt("a blue boat", "boat")]


class Noise:
    """Draws noise from the seed alone."""

    def draw(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[tuple[np.ndarray, str | None]]:
        """Draw."""
        return [(np.random.default_rng(s).integers(0, 255, (8, 8, 3), dtype=np.uint8), None) for s in seeds]


class Broken(Noise):
    """Draws the same picture twice, then nothing, then something of which it complains."""

    def draw(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[tuple[np.ndarray, str | None]]:
        """Draw."""
        noise = super().draw(prompts, [1, 1, 2])
        return [*noise[:2], (np.zeros((8, 8, 3), np.uint8), None), (noise[2][0], "the generator says so")]


def test_ids_are_readable_and_seeds_differ() -> None:
    """Ids count prompts and copies; seeds fit in 63 bits, differ, and depend on run seed, prompt and copy."""
    orders = plan_samples(PROMPTS, run_seed=0, copies=2)
    assert [o.id for o in orders[:3]] == ["boat-0000-0", "boat-0000-1", "boat-0001-0"]
    assert len({o.seed for o in orders} | {o.seed for o in plan_samples(PROMPTS, 1, 2)}) == 12
    assert all(0 <= o.seed < 2**63 for o in orders)
    assert orders[3].seed == sample_seed(0, "boat", "a red boat", 1)


def test_classes_of_two_words_can_be_kept(tmp_path) -> None:
    """A class such as "traffic light" gives ids that the store takes as names of files, and keeps its name."""
    orders = plan_samples([Prompt("a traffic light", "traffic light")], 0)
    assert [(o.id, o.name) for o in orders] == [("traffic_light-0000-0", "traffic light")]
    samples = list(draw_samples(orders, Noise()))
    store = RunStore(tmp_path)
    record = store.compute("images", "traffic_light-000", {}, lambda draft: draft.write_samples(samples))
    assert [s.name for s in store.samples(record)] == ["traffic light"]


def test_a_longer_bank_keeps_the_orders_of_a_shorter_one() -> None:
    """More prompts append orders and leave the first ones as they are."""
    assert plan_samples(PROMPTS, 3)[:2] == plan_samples(PROMPTS[:2], 3)


def test_seeds_never_change() -> None:
    """The seed of a known picture is pinned: another would redraw every picture ever drawn."""
    assert sample_seed(0, "boat", "a boat", 0) == 2539813142766492413


def test_useless_pictures_are_dropped_with_a_reason() -> None:
    """A twin, a black picture and a flawed one are dropped, the first of the twins is kept."""
    prompts = [*PROMPTS, Prompt("a green boat", "boat")]
    first, twin, black, flawed = draw_samples(plan_samples(prompts, 0), Broken())
    assert first.reason is None
    assert twin.reason == "the same picture as another: boat-0000-0"
    assert "uniform" in str(black.reason)
    assert flawed.reason == "the generator says so"


def test_twins_of_different_shards_are_written_once(tmp_path) -> None:
    """The data set holds the first of equal pictures, whatever was drawn after it; all twins are counted together."""
    split = ClassSplit.of("picto", 0)
    sample = next(draw_samples(plan_samples(PROMPTS, 0), Noise()))
    empty = np.zeros((8, 8), np.uint8)
    sample = sample.labelled(empty, empty.astype(bool))
    twin = replace(sample, id="boat-0040-0")
    other = replace(sample, id="boat-0041-0", picture=255 - sample.picture)
    again = [replace(sample, id=f"boat-000{i}-0").dropped(f"{TWIN}: boat-000{i}-1") for i in (2, 3)]
    written = write_voc([sample, twin, other, *again], tmp_path / "three", split)
    assert written.ids == ("syn_boat_0000_0", "syn_boat_0041_0")
    assert written.dropped == {"the same picture as another": 3}
    assert written.content == write_voc([sample, other], tmp_path / "two", split).content


def test_samples_carry_their_order() -> None:
    """Each picture comes from its own seed and carries its prompt."""
    orders = plan_samples(PROMPTS, 0)
    samples = list(draw_samples(orders, Noise()))
    assert [(s.id, s.prompt, s.seed) for s in samples] == [(o.id, o.prompt, o.seed) for o in orders]
    (alone,) = draw_samples(orders[1:2], Noise())
    assert np.array_equal(alone.picture, samples[1].picture)


def test_a_generator_that_breaks_its_promise_raises() -> None:
    """Too few pictures, or pictures that are not uint8 RGB, are a bad call."""
    class Few(Noise):
        def draw(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[tuple[np.ndarray, str | None]]:
            return super().draw(prompts, seeds)[1:]

    class Many(Noise):
        def draw(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[tuple[np.ndarray, str | None]]:
            return super().draw(prompts, [*seeds, 9])

    class Floats(Noise):
        def draw(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[tuple[np.ndarray, str | None]]:
            return [(picture / 255, flaw) for picture, flaw in super().draw(prompts, seeds)]

    with pytest.raises(ValueError, match="2 pictures for 3"):
        list(draw_samples(plan_samples(PROMPTS, 0), Few()))
    with pytest.raises(ValueError, match="4 pictures for 3"):
        list(draw_samples(plan_samples(PROMPTS, 0), Many()))
    with pytest.raises(ValueError, match="float64"):
        list(draw_samples(plan_samples(PROMPTS, 0), Floats()))
