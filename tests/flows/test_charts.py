"""Charts of scores: what they name, and that they are the same bytes every time."""

import json

import pytest

from flows.charts import draw_charts
from flows.results import tables
from pipeline.errors import InputError


def write(folder, model, fold, **parts):
    told = {"dataset": "toy", "protocol": "gfss-diam", "shots": 1, "fold": fold, "seed": 0, "model": model}
    told |= {part: {"base_miou": 0.5, "novel_miou": novel} for part, novel in parts.items()}
    (folder / f"{model}-{fold}.json").write_text(json.dumps(told))


def test_a_model_that_lacks_a_fold_says_so(tmp_path):
    """Its mean is over other folds than that of the others, so its name tells."""
    for fold in (0, 1):
        write(tmp_path, "whole", fold, before=0.2, after=0.4)
    write(tmp_path, "part", 0, before=0.3, after=0.6)
    (chart,) = draw_charts(tmp_path)
    assert chart.name == "toy-gfss-diam-1shot.svg"
    drawn = chart.read_bytes()
    text = drawn.decode()
    assert "part, with synthetic (without fold 1)" in text
    assert "whole, without synthetic" in text
    assert "whole, with synthetic (" not in text
    assert text.index("part, with synthetic") > text.index("whole, without synthetic"), "best at the top"
    assert ">40.0<" in text
    assert ">60.0<" in text
    draw_charts(tmp_path)
    assert chart.read_bytes() == drawn
    assert f"({tmp_path.name}/{chart.name})" in tables(tmp_path)


def test_charts_stay_in_their_folder(tmp_path):
    """Also where scores name their data set by a path, as those of own classes once did."""
    mine = tmp_path / "mine"
    mine.mkdir()
    told = {"dataset": str(mine / "garden.yaml"), "protocol": "fss", "shots": 1, "fold": 0, "seed": 0, "model": "iir"}
    found = {"episodes": 1, "per_seed": [0.5], "resolution": "original", "shots": 1, "miou": 0.5, "fb_iou": 0.5}
    (tmp_path / "scores.json").write_text(json.dumps({**told, "fss": found}))
    assert draw_charts(tmp_path) == [tmp_path / "garden-fss-1shot.svg"]
    assert not list(mine.iterdir())


def test_no_scores(tmp_path):
    """A folder without scores is told in a sentence."""
    with pytest.raises(InputError, match="no results in"):
        draw_charts(tmp_path)
