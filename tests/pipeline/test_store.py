import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.hashing import fingerprint, hash_arrays
from pipeline.index import StoreIndex
from pipeline.store import RunStore
from pipeline.types import Sample

RECIPE = {"version": 1, "settings": {"min_similarity": 0.6, "enabled": True}, "inputs": {"samples": "abc"}}


def sample(number: int, shade: int = 7, **more) -> Sample:
    picture = np.full((6, 6, 3), shade + number, np.uint8)
    picture.setflags(write=False)
    return Sample(f"boat-{number:04d}-0", "boat", "a boat", number, picture, **more)


def labelled(number: int) -> Sample:
    labels = np.zeros((6, 6), np.uint8)
    labels[2:4, 2:4] = 16
    free = np.zeros((6, 6), bool)
    free[0, 0] = True
    labels[0, 0] = 255
    return sample(number).labelled(labels, free, found=0.25)


def write_two(draft) -> None:
    draft.write_samples([sample(0), sample(1).dropped("empty: nothing there")])


@pytest.fixture
def store(tmp_path) -> RunStore:
    return RunStore(tmp_path / "store")


def test_finished_shard_is_found_again(store):
    """A second call with the same recipe computes nothing and gives the same record."""
    first = store.compute("images", "boat-000", RECIPE, write_two)
    second = store.compute("images", "boat-000", RECIPE, lambda draft: pytest.fail("computed again"))
    assert first == second
    assert first.counts == {"samples": 2, "kept": 1}
    assert first.dropped == {"empty": 1}


def test_samples_survive_the_disk(store):
    """Pictures, labels, free masks, scores and reasons come back as they were."""
    images = store.compute("images", "boat-000", RECIPE, lambda d: d.write_samples([sample(0), sample(1)]))
    judged, pictures = [labelled(0), sample(1).dropped("no")], store.pictures(images)
    labels = store.compute("annotate", "boat-000", RECIPE, lambda d: d.write_samples(judged, pictures))
    back = store.samples(labels)
    assert (back[0].picture == labelled(0).picture).all()
    assert (back[0].labels == labelled(0).labels).all()
    assert (back[0].free == labelled(0).free).all()
    assert back[0].scores == {"found": 0.25}
    assert (back[1].labels, back[1].free, back[1].reason) == (None, None, "no")
    assert not (store.folder(labels) / "images").exists(), "label-only stages copy no picture"


def test_content_is_free_of_dates_places_and_time(tmp_path):
    """The same outcome in another folder at another time has the same content hash."""
    one = RunStore(tmp_path / "a").compute("images", "boat-000", RECIPE, write_two)
    time.sleep(0.01)
    other = RunStore(tmp_path / "b" / "c").compute("images", "boat-000", {**RECIPE, "version": 2}, write_two)
    assert one.content == other.content
    assert one.fingerprint != other.fingerprint


def test_content_sees_one_changed_pixel(store):
    """A single different value changes the content hash."""
    one = store.compute("images", "boat-000", RECIPE, lambda d: d.write_samples([sample(0)]))
    other = store.compute("images", "boat-000", {**RECIPE, "version": 2}, lambda d: d.write_samples([sample(0, 8)]))
    assert one.content != other.content


def test_changed_setting_is_another_shard_and_the_reason_is_told(store):
    """Settings are part of the fingerprint, and `why` names the one that changed."""
    store.compute("filter", "boat-000", RECIPE, write_two)
    changed = {**RECIPE, "settings": {"min_similarity": 0.7, "enabled": True}}
    assert store.find("filter", "boat-000", changed) is None
    assert StoreIndex(store).why("filter", "boat-000", changed) == "changed: settings.min_similarity 0.6 -> 0.7"
    assert StoreIndex(store).why("filter", "boat-001", RECIPE) == "not computed yet"


def test_failed_work_leaves_nothing_finished(store):
    """When the work raises, the next call starts it again from an empty folder."""

    def fail(draft):
        (draft.folder / "half.txt").write_text("half")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        store.compute("images", "boat-000", RECIPE, fail)
    assert store.find("images", "boat-000", RECIPE) is None
    assert not list(store.root.glob("images/*"))
    record = store.compute("images", "boat-000", RECIPE, write_two)
    assert sorted(record.files) == ["images/boat-0000-0.png", "images/boat-0001-0.png", "samples.jsonl"]
    assert not list(store.root.glob("*/*.partial"))


def test_sweep_spares_what_is_in_work(store):
    """What a process that is gone left is deleted; what another one is computing stays."""
    (store.root / "images" / "boat-000-0123456789abcdef.partial").mkdir(parents=True)

    def work(draft):
        store.sweep()
        assert [p.name for p in store.root.glob("images/*.partial")] == [draft.folder.name]
        write_two(draft)

    store.compute("images", "boat-001", RECIPE, work)


@pytest.mark.parametrize("damage", ["delete picture", "cut table", "no record", "broken record"])
def test_damaged_shard_is_computed_again(store, damage):
    """A shard with a missing or cut file counts as unfinished and comes back with the same content."""
    record = store.compute("images", "boat-000", RECIPE, write_two)
    folder = store.folder(record)
    if damage == "delete picture":
        (folder / "images" / "boat-0000-0.png").unlink()
    elif damage == "cut table":
        (folder / "samples.jsonl").write_text("{}")
    elif damage == "no record":
        (folder / "record.json").unlink()
    else:
        (folder / "record.json").write_text('{"stage": "ima')
    assert store.find("images", "boat-000", RECIPE) is None
    again = store.compute("images", "boat-000", RECIPE, write_two)
    assert again.content == record.content
    assert store.find("images", "boat-000", RECIPE) == again


COMPUTE_ELSEWHERE = """
import json, sys, time
from pathlib import Path
from pipeline.store import RunStore

root, recipe, started, seconds = sys.argv[1:]

def work(draft):
    (draft.folder / "half.txt").write_text("half")
    with open(started, "a") as file:
        file.write("started;")
    time.sleep(float(seconds))

RunStore(Path(root)).compute("images", "boat-000", json.loads(recipe), work)
"""


def compute_elsewhere(store: RunStore, started: Path, seconds: float) -> subprocess.Popen:
    """Another process that computes the shard, says that it has started, and takes its time."""
    arguments = [str(store.root), json.dumps(RECIPE), str(started), str(seconds)]
    return subprocess.Popen([sys.executable, "-c", COMPUTE_ELSEWHERE, *arguments], cwd=Path(__file__).parents[2])


def test_killed_process_frees_its_shard(store, tmp_path):
    """After a kill -9 in the middle of a shard another process computes it whole at once."""
    started = tmp_path / "started"
    process = compute_elsewhere(store, started, 300)
    while not started.exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert StoreIndex(store).why("images", "boat-000", RECIPE) == "was interrupted"
    before = time.monotonic()
    record = store.compute("images", "boat-000", RECIPE, write_two)
    assert time.monotonic() - before < 60
    assert "half.txt" not in record.files


def test_two_live_processes_do_not_compute_one_shard(store, tmp_path):
    """The second process waits for the first and takes its result."""
    started = tmp_path / "started"
    processes = [compute_elsewhere(store, started, 0.5) for _ in range(3)]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    assert started.read_text() == "started;"



def test_scratch_outlives_a_failure_and_goes_with_success(store):
    """Checkpoints of a training wait for the next attempt, and only for that."""

    def train(draft, *, fail):
        draft.scratch.mkdir(exist_ok=True)
        step = draft.scratch / "step"
        start = int(step.read_text()) if step.exists() else 0
        step.write_text(str(start + 1))
        if fail:
            raise KeyboardInterrupt
        (draft.folder / "model.txt").write_text(str(start))

    with pytest.raises(KeyboardInterrupt):
        store.compute("teacher", "iir", RECIPE, lambda d: train(d, fail=True))
    record = store.compute("teacher", "iir", RECIPE, lambda d: train(d, fail=False))
    assert (store.folder(record) / "model.txt").read_text() == "1"
    assert not list(store.root.glob("teacher/*.scratch"))


def test_files_count_unless_they_are_notes(tmp_path):
    """Without a given content the files are hashed, those that tell of the work left out."""

    def work(text, log):
        def write(draft):
            (draft.folder / "model").write_text(text)
            (draft.folder / "log").write_text(log)
            draft.notes = ("log",)

        return write

    contents = [
        RunStore(tmp_path / str(i)).compute("train", "after", RECIPE, work(*pair)).content
        for i, pair in enumerate([("weights", "12 s"), ("weights", "13 s"), ("others", "12 s")])
    ]
    assert contents[0] == contents[1] != contents[2]


def test_files_are_written_while_samples_are_made(store):
    """The first picture is on the disk before the last one is there, and a failure among them leaves nothing."""
    limit = time.monotonic() + 60

    def made(draft, last):
        yield sample(0)
        while not (draft.folder / "images" / "boat-0000-0.png").exists():
            assert time.monotonic() < limit
            time.sleep(0.01)
        yield last()

    record = store.compute("images", "boat-000", RECIPE, lambda d: d.write_samples(made(d, lambda: sample(1))))
    together = store.compute("images", "boat-001", RECIPE, lambda d: d.write_samples([sample(0), sample(1)]))
    assert (record.content, record.counts, record.files) == (together.content, together.counts, together.files)
    with pytest.raises(ZeroDivisionError):
        store.compute("images", "boat-002", RECIPE, lambda d: d.write_samples(made(d, lambda: 1 // 0)))
    assert not list(store.root.glob("images/boat-002*"))


@pytest.mark.parametrize("name", ["../evil", "a/b", "", ".hidden", "a b"])
def test_ids_stay_inside_the_folder(store, name):
    """An id that could leave its folder is refused."""
    with pytest.raises(InputError, match="cannot be a file name"):
        store.compute("images", name, RECIPE, write_two)


def test_unwritable_output_is_one_sentence(tmp_path):
    """An output folder that cannot be made is the user's to mend."""
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write to the output folder .*execution\.output"):
        RunStore(tmp_path / "file" / "store").compute("images", "boat-000", RECIPE, write_two)


def test_fingerprint_does_not_depend_on_the_order_of_keys():
    """Two spellings of one recipe are one recipe."""
    one, other = {"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}
    assert fingerprint("filter", one) == fingerprint("filter", other)
    assert fingerprint("filter", {"a": 1}) != fingerprint("relabel", {"a": 1})


def test_array_hash_tells_shape_and_type():
    """Equal bytes of another shape or type are another array."""
    zeros = np.zeros(4, np.uint8)
    hashes = {hash_arrays(zeros), hash_arrays(zeros.reshape(2, 2)), hash_arrays(zeros.view(bool)), hash_arrays(None)}
    assert len(hashes) == 4


def test_record_is_small_readable_json(store):
    """The record on disk is what tasks hand to each other."""
    record = store.compute("images", "boat-000", RECIPE, write_two)
    raw = json.loads((store.folder(record) / "record.json").read_text())
    assert raw["recipe"] == RECIPE
    assert raw["content"] == record.content
    assert set(raw["versions"]) >= {"numpy", "pillow"}
    assert list(store.records()) == [record]


def test_followers_work_along_and_write_nothing(store):
    """A second process of one training does the same work, gets the first one's record, and leaves no file."""
    from threading import Timer

    drafts = []
    recipe = {"version": 1}

    def write(draft):
        (draft.folder / "x").write_text("first")

    later = Timer(0.5, lambda: store.compute("train", "a", recipe, write))
    later.start()
    record = store.follow("train", "a", recipe, drafts.append)
    later.join()
    assert record == store.find("train", "a", recipe)
    assert drafts[0].scratch.name == f"a-{record.fingerprint}.scratch"
    assert not drafts[0].folder.exists()
    assert store.follow("train", "a", recipe, None) == record


def test_followers_of_a_process_that_failed_stop(store, monkeypatch):
    """Who waits for a shard that nobody computes says so, once there was time to begin it."""
    monkeypatch.setattr("pipeline.store.PATIENCE", 0.3)
    with pytest.raises(ZeroDivisionError):
        store.compute("scores", "a", RECIPE, lambda _: 1 // 0)
    start = time.monotonic()
    with pytest.raises(InputError, match="the first process has stopped without finishing scores/a"):
        store.follow("scores", "a", RECIPE, None)
    assert time.monotonic() - start > 0.3


def test_followers_wait_for_long_work(store, monkeypatch, tmp_path):
    """Work that takes longer than a follower's patience is waited for, as long as its process lives."""
    monkeypatch.setattr("pipeline.store.PATIENCE", 0.3)
    process = compute_elsewhere(store, tmp_path / "started", 1)
    while not (tmp_path / "started").exists():
        time.sleep(0.02)
    record = store.follow("images", "boat-000", RECIPE, None)
    assert process.wait(60) == 0
    assert record == store.find("images", "boat-000", RECIPE)
