"""The two GFSS conventions: which pictures are base pictures, supports and scored ones, and what is reported."""

import numpy as np
import pytest

from flows import data as data_module
from flows.data import (
    choose_supports,
    labelled,
    note_on_lists,
    prepare_data,
    read_supports,
    scored_places,
    side_of,
    split_of,
)
from flows.learning import base_pictures
from flows.settings import load_config
from flows.steps import scores_step, teacher_step, train_step
from pipeline.images import write_labels, write_picture
from pipeline.protocols import CAPL, DIAM, PROTOCOLS
from pipeline.store import StageRecord


def sets_of(overrides):
    return [part for override in overrides for part in ("--set", override)]


@pytest.fixture
def pascal(tmp_path):
    """Write a made VOC 2012: 24 training and 24 validation pictures of 200 x 200, some with a second novel class."""
    root = tmp_path / "data" / "VOC2012"
    lists = {"train_aug": [], "val": []}
    for number in range(48):
        name, labels = f"p{number:02d}", np.zeros((260, 260), np.uint8)
        labels[20:160, 20:160] = 1 + number % 5
        labels[200:, :60] = 6 + number % 15
        if number % 3 == 0:
            labels[200:, 200:] = 1 + (number + 1) % 5
        write_picture(root / "JPEGImages" / f"{name}.jpg", np.full((260, 260, 3), number, np.uint8))
        write_labels(root / "SegmentationClassAug" / f"{name}.png", labels)
        lists["val" if number % 2 else "train_aug"].append(name)
    lists["train_sbd"], lists["train"] = lists["train_aug"][::2], lists["train_aug"][:3]
    for name, ids in lists.items():
        path = root / "ImageSets" / "Segmentation" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(ids) + "\n")
    return [
        "experiment.dataset=pascal", f"execution.data={tmp_path / 'data'}", f"execution.output={tmp_path / 'out'}",
        "experiment.teacher.backbone=picto", "experiment.model.backbone=picto",
    ]  # fmt: skip


def test_supports_of_diam_are_hidden_from_the_score(pascal):
    """gfss-diam: supports are validation pictures with one novel class, without base labels, and are not scored."""
    config = load_config(None, [*pascal, "experiment.protocol=gfss-diam"])
    data, split = prepare_data(config), split_of(config)
    assert data["support"] == data["validation"]
    chosen = choose_supports(data["support"].pictures, split, 1, 0, DIAM)
    ids = data["validation"].pictures.ids
    places = scored_places(config)
    assert len(places) == len(ids) - 5
    assert not set(places) & {place for found in chosen.values() for place in found}
    assert all(s.labels is None for s in read_supports(config))
    for support in read_supports(config):
        assert support.masks[0].sum() >= 16384


def test_supports_of_capl_keep_base_labels(pascal):
    """gfss-capl: supports are training pictures with their base labels, and every validation picture is scored."""
    config = load_config(None, [*pascal, "experiment.protocol=gfss-capl"])
    data, split = prepare_data(config), split_of(config)
    assert data["support"].pictures.ids == data["base"].pictures.ids
    assert scored_places(config) == list(range(len(data["validation"].pictures.ids)))
    for support in read_supports(config):
        label = split.id_of(support.name)
        assert {label} < set(np.unique(support.labels[0])) <= {0, label, *split.base_ids}
        assert np.array_equal(support.labels[0] == label, support.masks[0])


def test_each_protocol_has_its_own_base_list(pascal, call, tmp_path):
    """gfss-diam trains on train_sbd and gfss-capl on train_aug; with VOC's list alone `check` and the run say so."""
    lists = tmp_path / "data/VOC2012/ImageSets/Segmentation"
    for protocol, name in (("gfss-diam", "train_sbd"), ("gfss-capl", "train_aug")):
        config = load_config(None, [*pascal, f"experiment.protocol={protocol}"])
        ids = (lists / f"{name}.txt").read_text().split()
        assert list(prepare_data(config)["base"].pictures.ids) == ids
        assert note_on_lists(config) is None
    (lists / "train_sbd.txt").unlink()
    assert "but not train_sbd (5,953)" in call("check", *sets_of(pascal), "--json")[1]
    (lists / "train_aug.txt").unlink()
    said = "are those of PASCAL's list train (1,464) and not of train_sbd (5,953)"
    assert said in call("check", *sets_of(pascal), "--json")[1]
    sets = sets_of([*pascal, "experiment.fss.episodes=2", "experiment.fss.seeds=1"])
    assert said in " ".join(call("train", "--protocol", "fss", "--model", "matching", *sets)[2].split())


def test_published_sides_are_no_part_of_fingerprints(pascal):
    """Unless a side is set, shards of published data sets are named by the protocol alone, and it decides the side."""
    config = load_config(None, pascal)
    assert side_of(config) == 260  # the made pictures are smaller than 417
    data = prepare_data(config)
    recipe = teacher_step(config, data).recipe
    assert set(recipe["inputs"]) == {"base", "supports", "split", "protocol"}
    assert "side" not in recipe["settings"]
    teacher = StageRecord("teacher", "iir", "f", "content", recipe, {}, {}, 0.0, {}, {})
    assert "side" not in train_step(config, data, teacher, None).recipe["settings"]
    for side, known in ((300, 300), (0, None)):
        other = load_config(None, [*pascal, f"experiment.train.side={side}"])
        assert side_of(other) == side or not side
        steps = [teacher_step(other, data), train_step(other, data, teacher, None)]
        steps.append(scores_step(other, data, teacher, "before"))
        assert [step.recipe["inputs"].get("side") for step in steps] == [known] * 3


def test_every_row_of_the_table_of_conventions():
    """The presets say what systems.md section 3 says."""
    assert PROTOCOLS == {"gfss-diam": DIAM, "gfss-capl": CAPL}
    assert (DIAM.side, CAPL.side) == (417, 473)
    assert (DIAM.resolution, CAPL.resolution) == ("network", "original")
    assert (DIAM.base_key, CAPL.base_key) == ("base_miou", "base_miou_with_background")
    assert (DIAM.aggregate, CAPL.aggregate) == ("mean", "total")
    assert (DIAM.pascal_base, CAPL.pascal_base) == ("train_sbd", "train_aug")
    assert (DIAM.drop_novel, CAPL.drop_novel) == (False, True)
    assert (DIAM.base_labels, CAPL.base_labels) == (False, True)
    assert (DIAM.hide_supports, CAPL.hide_supports) == (True, False)
    assert DIAM.support_pixels == CAPL.support_pixels == 16384
    assert DIAM.least_pixels(500 * 375) == 16384
    assert DIAM.least_pixels(64 * 64) == 164
    assert CAPL.seeds == (123, 321, 456, 654, 999)
    assert DIAM.test_pictures["coco"] == 10_000
    assert len(DIAM.seeds) == 5
    scores = {"base_miou": 0.5, "base_miou_with_background": 0.6, "novel_miou": 0.2, "mean_miou": 0.35}
    scores["total_miou"] = 0.5
    assert DIAM.reported(scores) == {"base": 0.5, "novel": 0.2, "mean": 0.35}
    assert CAPL.reported(scores) == {"base": 0.6, "novel": 0.2, "total": 0.5}


def test_base_pictures_of_both_conventions(tiny, tmp_path, monkeypatch):
    """gfss-diam keeps every base picture, novel things as background; gfss-capl leaves out those that show one."""
    monkeypatch.setattr(data_module, "SUPPORT_POOL", 80)
    picto = [*tiny, f"execution.output={tmp_path}"]
    config = load_config(None, picto)
    data, split = prepare_data(config), split_of(config)
    whole = labelled(config, data["base"])
    shows = whole.counts[:, list(split.novel_ids)].any(1)
    assert 0 < shows.sum() < len(whole)
    kept = base_pictures(config, data)
    assert len(kept) == len(whole)
    first = int(np.flatnonzero(shows)[0])
    truth, seen = whole[first][1], kept[first][1]
    novel = np.isin(truth, split.novel_ids)
    assert novel.any()
    assert not seen[novel].any()
    assert np.array_equal(seen[~novel], truth[~novel])
    capl = load_config(None, [*picto, "experiment.protocol=gfss-capl"])
    kept, places = base_pictures(capl, data), np.flatnonzero(~shows)
    assert len(kept) == len(places)
    assert not kept.counts[:, list(split.novel_ids)].any()
    assert all(np.array_equal(kept[i][1], whole[int(place)][1]) for i, place in enumerate(places[:20]))
