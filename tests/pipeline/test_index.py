"""The index of a store says what the store says, and reads no record twice."""

import os
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.hashing import fingerprint, fingerprints
from pipeline.index import FOLDER, StoreIndex
from pipeline.store import RunStore
from pipeline.types import Sample

RECIPES = {f"boat-{n:03d}": {"version": 1, "inputs": {"samples": f"{n:016x}"}} for n in range(4)}


def write(shade):
    def work(draft):
        draft.write_samples([Sample("boat-0", "boat", "a boat", 0, np.full((4, 4, 3), shade, np.uint8))])

    return work


def finish(store, shard, shade=7):
    return store.compute("images", shard, RECIPES[shard], write(shade))


def settle(store):
    """Give all folders an old time, as if the shards had been finished long ago."""
    for folder in [*store.root.glob("images/*"), store.root / "images"]:
        os.utime(folder, (1_700_000_000, 1_700_000_000))


def found(store):
    """Look by a new index, which is saved; gives shard -> content."""
    index = StoreIndex(store)
    looks = {shard: index.find("images", shard, fingerprint("images", recipe)) for shard, recipe in RECIPES.items()}
    index.save()
    return {shard: one.content for shard, one in looks.items() if one}


@pytest.fixture
def store(tmp_path):
    """Three finished shards, known to a saved index."""
    store = RunStore(tmp_path / "store")
    for number in range(3):
        finish(store, f"boat-{number:03d}", number)
    settle(store)
    found(store)
    return store


def test_index_says_what_the_store_says(store):
    """Finished shards are found with their contents, others are not."""
    records = {shard: store.find("images", shard, recipe) for shard, recipe in RECIPES.items()}
    assert found(store) == {shard: record.content for shard, record in records.items() if record}
    assert len(found(store)) == 3
    seconds, size = StoreIndex(store).usual("images")
    assert size == np.mean([sum(r.files.values()) for r in records.values() if r])
    assert seconds >= 0
    assert StoreIndex(store).usual("filter") is None


def test_a_saved_index_reads_no_record(store):
    """With the stage's folder as it was, records could be gone; that a shard is damaged is the store's to notice."""
    before = found(store)
    for path in store.root.glob("images/*/record.json"):
        path.write_text("")
    assert found(store) == before
    assert store.find("images", "boat-000", RECIPES["boat-000"]) is None


def test_new_and_deleted_shards_are_seen(store):
    """Whatever is added to or taken from the stage's folder changes the index."""
    finish(store, "boat-003")
    assert len(found(store)) == 4
    shutil.rmtree(next(store.root.glob("images/boat-001-*")))
    assert sorted(found(store)) == ["boat-000", "boat-002", "boat-003"]


def test_a_shard_that_was_computed_again_is_read_again(store):
    """A shard that comes back with another content, as on other hardware, is not known by its old one."""
    old = found(store)
    shutil.rmtree(next(store.root.glob("images/boat-001-*")))
    again = finish(store, "boat-001", 99)
    assert found(store)["boat-001"] == again.content != old["boat-001"]


def test_what_has_just_been_finished_is_read_next_time_too(store):
    """A folder might change once more in the same tick of the clock, so that a young one is not remembered."""
    young = finish(store, "boat-003")
    assert found(store)["boat-003"] == young.content
    (store.folder(young) / "record.json").unlink()
    assert "boat-003" not in found(store)
    assert StoreIndex(store).why("images", "boat-003", RECIPES["boat-003"]) == "files are missing"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"time": 1}', '{"form": 1, "time": 1, "shards": 3}', '{"form": 0}'])
def test_a_damaged_index_is_made_anew(store, text):
    """The files are the truth."""
    before = found(store)
    (store.root / FOLDER / "images.json").write_text(text)
    assert found(store) == before
    shutil.rmtree(store.root / FOLDER)
    assert found(store) == before


def test_an_empty_store_is_left_alone(tmp_path):
    """Looking makes no folder."""
    store = RunStore(tmp_path / "store")
    assert found(store) == {}
    assert not store.root.exists()


def test_what_is_remembered_is_made_once(store):
    """A list that follows from its name is made by the first who asks, and again where its file is damaged."""
    made = []

    def make():
        made.append(1)
        return ["a", "b"]

    assert StoreIndex(store).remembered("orders-1", make) == ["a", "b"]
    assert StoreIndex(store).remembered("orders-1", make) == ["a", "b"]
    assert len(made) == 1
    (store.root / FOLDER / "orders-1.json").write_text("[")
    assert StoreIndex(store).remembered("orders-1", make) == ["a", "b"]
    assert len(made) == 2


@given(st.text(max_size=8), st.text(max_size=8))
def test_fingerprints_of_many_shards_are_those_of_each(value, other):
    """Replacing one input in the canonical text gives the same hash as writing the recipe anew."""
    recipe = {"version": 1, "settings": {"a": 0.5, "z": None}, "inputs": {"samples": "x", "split": other, "zebra": 1}}
    for key in ("samples", "new"):
        wanted = fingerprint("filter", {**recipe, "inputs": {**recipe["inputs"], key: value}})
        if "\0" not in other:
            assert fingerprints("filter", recipe, key)(value) == wanted
