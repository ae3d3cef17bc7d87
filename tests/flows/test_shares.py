"""The same dataset, byte for byte, however the work is shared out."""

import json
import shutil
import time
from pathlib import Path

import fsspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from flows import wiring
from flows.data import store_of
from flows.merge import merge_stores
from flows.plan import make_plan
from flows.run import run
from flows.settings import load_config
from flows.shares import Share, shared
from pipeline.errors import InputError, OutOfMemory
from pipeline.hashing import list_files

TWO = ("boat", "bottle")
LABELLED = ("images", "annotate", "filter", "relabel", "refine")


@pytest.fixture
def elsewhere(finished, overrides, tmp_path):
    """Settings of the finished run for two of its classes, in a new folder that has its data and its teacher."""

    def copy(name, *more):
        for place in ("data", "store/teacher"):
            shutil.copytree(finished[1].parents[1] / place, tmp_path / name / place)
        sets = [*(o for o in overrides if "output" not in o), f"execution.output={tmp_path / name}"]
        return [*sets, f"experiment.prompts.classes=[{','.join(TWO)}]", *more]

    return copy


def flags(sets):
    return [part for override in sets for part in ("--set", override)]


def dataset_of(config):
    """The files of a finished run's dataset, without the record."""
    (record,) = [record for record in make_plan(config, "dataset").records if record.stage == "dataset"]
    folder = store_of(config).folder(record)
    return {name: (folder / name).read_bytes() for name in list_files(folder) if name != "record.json"}


def places(config, *stages):
    return {r.place: r.content for r in store_of(config).records() if r.stage in stages}


@given(st.lists(st.integers(0, 30), max_size=8), st.integers(1, 9))
def test_shares_are_all_of_it_once(counts, of):
    """Every shard is in one share, and no class gives one share two shards more than another."""
    every = [[(place, n) for n in range(count)] for place, count in enumerate(counts)]
    parts = [
        [list(shared(shards, place, Share(k, of))) for place, shards in enumerate(every)] for k in range(1, of + 1)
    ]
    assert sorted(x for part in parts for shards in part for x in shards) == sorted(x for s in every for x in s)
    for place in range(len(counts)):
        sizes = [len(part[place]) for part in parts]
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "a/b", "1/0", "1/2/3"])
def test_what_is_no_share_is_refused(call, text):
    """What is not k/n with k from 1 to n is one sentence."""
    code, _, told = call("run", "--shards", text)
    assert code == 2
    assert "expected k/n with k from 1 to n" in told


def test_shares_end_where_all_pictures_are_needed(call, tmp_path):
    """A share makes no dataset, and a preview has no shares."""
    output = ["--set", f"execution.output={tmp_path}"]
    assert "--shards goes up to refine" in call("run", "--shards", "1/2", "--until", "dataset", *output)[2]
    assert "leave --until and --shards out" in call("run", "--shards", "1/2", "--preview", 1, *output)[2]


@pytest.mark.slow
def test_shares_and_two_processes_give_the_bytes_of_one(finished, overrides, elsewhere, call, tmp_path):
    """One process, two, and two shares in folders of their own that are merged: the same dataset, byte for byte."""
    one = load_config(None, [*overrides, f"experiment.prompts.classes=[{','.join(TWO)}]"])
    run(one, "one", "dataset", Console(quiet=True))  # finds all but the dataset
    two = load_config(None, elsewhere("two", "execution.workers=2"))
    run(two, "two", "dataset", Console(quiet=True))

    sets = [elsewhere(name) for name in ("first", "second")]
    halves = [load_config(None, some) for some in sets]
    code, told, complaint = call("run", "--shards", "1/2", *flags(sets[0]))
    assert code == 0, complaint
    assert "when all 2 are done, this joins them: syn4seg run --set=" in told
    _, plan = run(halves[1], "half", "refine", Console(quiet=True), share=Share(2, 2))
    assert plan.stages["images"].total == 1
    first, second = (places(half, *LABELLED) for half in halves)
    assert len(first) == len(second) == len(LABELLED)
    assert not set(first) & set(second)

    joined = load_config(None, elsewhere("joined"))
    folders = [half.execution.output for half in halves]
    code, told, complaint = call("merge", *folders, "--output", joined.execution.output, "--json")
    assert code == 0, complaint
    assert [row["copied"] for row in json.loads(told)] == [2 + 5, 5]  # prompts are in both
    assert [row["copied"] for row in merge_stores([Path(f) for f in folders], joined.execution.output)] == [0, 0]
    left = make_plan(joined, "dataset").stages
    assert {stage: plan.total - plan.reuse for stage, plan in left.items() if plan.total > plan.reuse} == {"dataset": 1}
    run(joined, "joined", "dataset", Console(quiet=True))

    stages = ("prompts", *LABELLED, "dataset")
    assert places(two, *stages) == places(joined, *stages)
    assert places(two, *stages).items() <= places(one, *stages).items()
    assert len(dataset_of(one)) > 10
    assert dataset_of(one) == dataset_of(two) == dataset_of(joined)


@pytest.mark.slow
def test_prefects_processes_give_the_bytes_of_one(finished, overrides, elsewhere):
    """Shards that Prefect's pool computed are task runs of the run's flow, and the dataset has the same bytes."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter

    one = load_config(None, [*overrides, f"experiment.prompts.classes=[{','.join(TWO)}]"])
    run(one, "one", "dataset", Console(quiet=True))
    two = load_config(None, elsewhere("prefects", "execution.runner=prefect", "execution.workers=2"))
    _, plan = run(two, "by prefect", "dataset", Console(quiet=True))
    assert plan.stages["images"].reuse == 0
    assert places(two, "prompts", *LABELLED, "dataset").items() <= places(one, "prompts", *LABELLED, "dataset").items()
    assert dataset_of(one) == dataset_of(two)
    wanted = {f"{stage} {name}-000" for stage in ("images", "annotate", "refine") for name in TWO}
    end = time.monotonic() + 60  # Prefect tells of tasks in the background
    with get_client(sync_client=True) as client:
        mine = FlowRunFilter(name={"any_": ["by prefect"]})
        while not wanted <= (names := {task.name for task in client.read_task_runs(flow_run_filter=mine)}):
            assert time.monotonic() < end, names
            time.sleep(0.2)


def test_merging_overwrites_nothing(elsewhere, finished, tmp_path):
    """A shard that is there with other content is refused, and so is one that is not what its record says."""
    source, into = tmp_path / "source", tmp_path / "into"
    bank = store_of(finished[0]).root / "prompts"
    shutil.copytree(bank, source / "store" / "prompts")
    shutil.copytree(bank, into / "store" / "prompts")
    mine = next((into / "store" / "prompts").glob("boat-*")) / "record.json"
    record = json.loads(mine.read_text())
    mine.write_text(json.dumps({**record, "content": "other"}))
    with pytest.raises(InputError, match="were computed from the same settings and differ"):
        merge_stores([source], str(into))
    assert json.loads(mine.read_text())["content"] == "other"
    theirs = next((source / "store" / "prompts").glob("boat-*")) / "record.json"
    theirs.write_text(json.dumps({**record, "recipe": {"version": 0}}))
    with pytest.raises(InputError, match=r"is not what its record\.json says"):
        merge_stores([source], str(tmp_path / "new"))
    with pytest.raises(InputError, match="has no store/"):
        merge_stores([tmp_path / "nothing"], str(into))


def test_an_empty_cache_of_a_url_computes_nothing(finished, overrides, tmp_path, monkeypatch):
    """What lies at a URL is reused where there is nothing but the data sets, and the run's folder goes there."""
    url = "memory://outputs-of-a-run"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    output = finished[1].parents[1]
    assert merge_stores([output], url)[0]["known"] == 0
    shutil.copytree(output / "data", tmp_path / "cache" / "data")
    places = [f"execution.output={url}", f"execution.cache={tmp_path / 'cache'}"]
    config = load_config(None, [*(o for o in overrides if "output" not in o), *places])
    assert not (tmp_path / "cache" / "store").exists()
    folder, plan = run(config, "far", "scores", Console(quiet=True))
    assert plan.complete
    assert json.loads((folder / "scores.json").read_text())["after"]
    files, base = fsspec.core.url_to_fs(url)
    for name in ("lineage.json", "report/index.html", "checkpoints/after/model.safetensors"):
        assert files.cat_file(f"{base}/runs/{folder.name}/{name}") == (folder / name).read_bytes()


def test_what_is_computed_into_a_url_is_found_from_another_cache(elsewhere, tmp_path):
    """Pictures of one class go there as they are drawn; with an empty cache they are found there, not drawn again."""
    url = "memory://computed-by-a-run"
    one, two = (
        load_config(None, [*elsewhere(name), "experiment.prompts.classes=[boat]", f"execution.output={url}",
                           f"execution.cache={tmp_path / name}"])
        for name in ("one", "two")
    )  # fmt: skip
    _, plan = run(one, "one", "images", Console(quiet=True))
    assert [(stage.reuse, stage.total) for stage in plan.stages.values()] == [(0, 1), (0, 1)]
    files, base = fsspec.core.url_to_fs(url)
    for place in places(one, "prompts", "images"):
        assert files.exists(f"{base}/store/{place}/record.json")
    _, plan = run(two, "two", "images", Console(quiet=True))
    assert plan.complete
    (drawn,) = [record for record in plan.records if record.stage == "images"]
    assert not (tmp_path / "two" / "store" / "images").exists()
    for mine, theirs in zip(store_of(two).samples(drawn), store_of(one).samples(drawn), strict=True):
        assert np.array_equal(mine.picture, theirs.picture)
    assert (tmp_path / "two" / "store" / "images").exists()


def test_want_of_memory_costs_the_shard_alone(finished, elsewhere, call, monkeypatch):
    """One class does not fit: its shard fails, all others are labelled, and the end is one sentence and exit 2."""
    sets = elsewhere("short")
    config = load_config(None, sets)
    generator = type(wiring.generator_of(config))
    draw = generator.draw

    def draw_some(self, prompts, seeds):
        if any("boat" in prompt for prompt in prompts):
            raise OutOfMemory("8 pictures at once are too many for cpu: --set experiment.generate.batch=4")
        return draw(self, prompts, seeds)

    monkeypatch.setattr(generator, "draw", draw_some)
    code, _, told = call("run", "--until", "dataset", *flags(sets))
    assert code == 2
    assert told.splitlines()[-1].startswith("syn4seg: too large for the memory: images boat-000: 8 pictures at once")
    assert "batch=4. All others that do not hang on them are finished" in told
    left = make_plan(config, "dataset").stages
    assert {s: p.total - p.reuse for s, p in left.items() if p.total > p.reuse} == {
        **dict.fromkeys(LABELLED, 1), "dataset": 1,
    }  # fmt: skip
    assert [row.place for row in store_of(config).records() if row.stage == "refine" and "boat" in row.shard] == []
