"""The ladder: its rungs, its cells, the intervals, and a tiny one from config to charts."""

import json

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from flows.ablation import cells
from flows.ablation.cells import FILE, compute_cells, list_cells, read_cells
from flows.ablation.charts import draw_ablation
from flows.ablation.rungs import BEYOND, LADDER, PLAIN, RUNGS, SWEEPS, chosen_rungs
from flows.ablation.summary import interval, summarise, table_of, write_summary
from flows.data import find_data, labelled, split_of, store_of
from flows.results import tables
from flows.run import compute
from flows.settings import load_config
from pipeline.errors import InputError


def row(rung, fold, seed, novel, **more):
    """A cell with a harmonic and a base score that follow from the novel one."""
    figures = {"base_miou": 0.6, "novel_miou": novel, "mean_miou": 0.5, "harmonic_miou": novel + 0.1}
    return {"rung": rung, "dataset": "picto", "shots": 1, "fold": fold, "seed": seed, **figures, "pictures": 10,
            "seconds": 60.0, **more}  # fmt: skip


def test_every_rung_of_the_ladder_switches_one_thing_on():
    """From one rung to the next exactly one switch goes from off to on."""
    configs = [load_config("picto", rung.changes).experiment for rung in LADDER]
    on = [[c.prompts.enabled, c.filter.enabled, c.relabel.enabled, c.refine.enabled] for c in configs]
    assert [sum(one) for one in on] == [0, 0, 1, 2, 3, 4]
    assert configs[-1] == load_config("picto", PLAIN).experiment
    assert all(config.second_round == configs[-1].second_round for config in configs)
    assert [rung.below for rung in LADDER] == ["", *(rung.name for rung in LADDER[:-1])]


def test_sweeps_are_valid_and_hold_the_default():
    """Every value passes the config's checks, and picto's own value is among them."""
    for name in SWEEPS:
        found = [load_config("picto", rung.changes) for rung in chosen_rungs([], [name])]
        assert load_config("picto", PLAIN) in found, name


def test_what_goes_beyond_the_paper_changes_one_thing():
    """Each of these rungs is the whole chain and one setting more."""
    whole = set(LADDER[-1].changes)
    assert [len(set(rung.changes) - whole) for rung in BEYOND] == [1, 1, 1, 1]
    assert {r.name for r in chosen_rungs(["beyond"], [])} == {"confidence", "adaptive", "second-labels", "second-base"}


@pytest.mark.parametrize(
    ("names", "sweeps", "told"),
    [
        (["abc"], [], "--rungs abc: expected ladder, beyond, all or some of none"),
        ([], ["abc"], "--sweep abc: expected all, KEY="),
        ([], ["filter.min_simlarity=1"], "did you mean"),
        ([], ["relabel.blend=2"], "expected a number from 0 to 1"),
        ([], ["fold=0,1"], "got the fold, over which means are taken: give --folds 0 1"),
    ],
)
def test_unknown_rungs_and_sweeps_are_told(names, sweeps, told):
    """One sentence that says what is there."""
    with pytest.raises(InputError, match=told):
        chosen_rungs(names, sweeps)


def test_interval_is_students():
    """As scipy has it; a single value is its own interval."""
    values = [0.3, 0.4, 0.35, 0.5]
    found = interval(values)
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (found["low"], found["high"]) == pytest.approx((low, high))
    assert interval([0.2]) == {"mean": 0.2, "low": 0.2, "high": 0.2}


def test_differences_are_paired_over_what_both_rungs_have():
    """A gain that is the same everywhere has a narrow interval, however far the folds are apart."""
    base = {(0, 0): 0.2, (0, 1): 0.3, (1, 0): 0.6, (1, 1): 0.5}
    rows = [row("none", *place, novel) for place, novel in base.items()]
    rows += [row("class-name", *place, novel + 0.1) for place, novel in base.items() if place != (1, 1)]
    first, second = summarise(rows)
    assert first["rung"] == "none"
    assert (first["folds"], first["seeds"]) == ([0, 1], [0, 1])
    assert "difference" not in first
    assert second["difference"]["cells"] == 3
    assert second["difference"]["novel_miou"]["low"] == pytest.approx(0.1)
    assert second["novel_miou"]["high"] - second["novel_miou"]["low"] > 0.5
    text = table_of([first, second], "picto")
    assert "| none | 2 x 2 | 60.0 | 40.0 ±" in text
    assert "| none: +10.0 (+10.0 to +10.0) |" in text
    assert second["gain"] == second["difference"]


def test_the_ladder_stands_in_the_results(tmp_path):
    """Beside the scores of runs, data set by data set; intervals of shares end at 0 and 1."""
    cells = [row("none", 0, seed, novel) for seed, novel in enumerate((0.0, 0.9))]
    cells += [{**row("sabr", 0, 0, 0.5), "dataset": "other"}]
    (tmp_path / FILE).write_text("".join(json.dumps(cell) + "\n" for cell in cells))
    (rung,) = write_summary(tmp_path, "picto")
    assert (rung["novel_miou"]["low"], rung["novel_miou"]["high"]) == (0, 1)
    told = {"dataset": "picto", "protocol": "fss", "shots": 1, "fold": 0, "seed": 0}
    (tmp_path / "run.json").write_text(json.dumps(told))
    text = tables(tmp_path)
    assert text.index("## other, the ladder, 1-shot") < text.index("## picto, the ladder, 1-shot")


def test_charts_are_the_same_bytes_for_the_same_rows(tmp_path):
    """A chart of the ladder and one of a sweep, twice."""
    rows = summarise([row(r.name, 0, s, 0.3 + 0.01 * s) for r in RUNGS.values() for s in range(3)]
                     + [row(f"beta={b}", 0, 0, b / 2) for b in (0, 0.5, 1)])  # fmt: skip
    first = {path.name: path.read_bytes() for path in draw_ablation(tmp_path, rows, "picto")}
    assert set(first) == {"picto-ladder-1shot.svg", "picto-sweep-beta-1shot.svg"}
    assert first == {path.name: path.read_bytes() for path in draw_ablation(tmp_path, rows, "picto")}


def test_sweeps_of_keys_of_ones_own_are_told_and_drawn(tmp_path):
    """Numbers stand in their order, words beside each other, and another number of shots apart."""
    rows = [row(f"{key}={value}", 0, 0, 0.3) for key, values in (
        ("relabel.blend", ("0.5", "10", "2")), ("train.optimiser", ("sgd", "muon")), ("experiment.shots", ("1", "5")),
    ) for value in values]  # fmt: skip
    rows[-1]["shots"] = 5
    rows += [{**row("relabel.blend=0.5", 0, 0, 0.4), "shots": 5}]
    found = summarise(rows)
    text = table_of(found, "picto")
    places = [text.index(f"| {value} | 60.0 |") for value in ("0.5", "2", "10")]
    assert places == sorted(places)
    titles = {line.partition("sweep of ")[2] for line in text.splitlines() if line.startswith("##")}
    assert titles == {"relabel.blend, 1-shot", "relabel.blend, 5-shot", "train.optimiser, 1-shot", "shots"}
    charts = {path.name: path.read_text() for path in draw_ablation(tmp_path, found, "picto")}
    assert set(charts) == {
        f"picto-sweep-{name}.svg"
        for name in ("relabel-blend-1shot", "relabel-blend-5shot", "train-optimiser-1shot", "experiment-shots")
    }
    assert ">sgd<" in charts["picto-sweep-train-optimiser-1shot.svg"]


@pytest.fixture
def scored(monkeypatch):
    """Stand in for the training of cells and for the look at their data; gives the rungs that were computed."""
    rungs = []

    def computed(cell, labels, *_):
        rungs.append(cell.rung.name)
        judged = {"labels": {"precision": 1, "recall": 1, "iou": 1}, "labelled": labels} if labels else {}
        return {"base_miou": 0.6, "novel_miou": 0.3, "harmonic_miou": 0.4, "pictures": 1, "seconds": 1.0, **judged}

    monkeypatch.setattr(cells, "_computed", computed)
    monkeypatch.setattr(cells, "check_chains", lambda *_: None)
    monkeypatch.setattr(cells, "choose_items", lambda *_: None)
    return rungs


def ablated(to, *overrides, rungs=("none",), folds=(0,), labels=0):
    """Compute the cells of some rungs."""
    listed = list_cells(None, overrides, chosen_rungs(rungs, []), folds, [0], [1])
    compute_cells(listed, to, labels, Console(quiet=True))


def test_cells_of_other_settings_do_not_come_into_a_folder(tmp_path, scored):
    """They are refused before work, whichever cells they are; the same settings and older rows go on."""
    ablated(tmp_path, rungs=["none", "sabr"])
    before = (tmp_path / FILE).read_text()
    scored.clear()
    for folds in ([0], [1]):
        with pytest.raises(InputError, match=r"ablation-cells\.jsonl holds cells of picto .*: give another folder by"):
            ablated(tmp_path, "experiment.filter.min_similarity=0.4", folds=folds)
    assert not scored
    assert (tmp_path / FILE).read_text() == before
    ablated(tmp_path, "experiment.filter.min_similarity=-0.1", folds=[0, 1])  # the default
    assert scored == ["none"]
    old = [{key: value for key, value in one.items() if key != "base"} for one in read_cells(tmp_path)]
    (tmp_path / FILE).write_text("".join(json.dumps(one) + "\n" for one in old))
    ablated(tmp_path, "experiment.filter.min_similarity=0.4", folds=[2])
    assert len(read_cells(tmp_path)) == len(old) + 1


def test_another_process_with_other_settings_is_noticed_at_the_end(tmp_path, scored, monkeypatch):
    """Two that start in an empty folder at once do not mix their cells either."""
    trained = cells._computed

    def slow(*given):
        monkeypatch.setattr(cells, "_computed", trained)
        ablated(tmp_path)
        return trained(*given)

    monkeypatch.setattr(cells, "_computed", slow)
    with pytest.raises(InputError, match="other settings"):
        ablated(tmp_path, "experiment.filter.min_similarity=0.4")
    assert len(read_cells(tmp_path)) == 1


def test_labels_of_another_number_are_judged_again(tmp_path, scored):
    """The row tells how many there were; where none are asked for, or an older row does not tell, it stays."""
    for labels in (10, 10, 0, 20):
        ablated(tmp_path, rungs=["none", "sabr"], labels=labels)
    assert scored == ["none", "sabr", "sabr"]
    (sabr,) = [one for one in read_cells(tmp_path) if one["rung"] == "sabr"]
    assert sabr.pop("labelled") == 20
    (tmp_path / FILE).write_text(json.dumps(sabr) + "\n")
    ablated(tmp_path, rungs=["sabr"], labels=30)
    assert scored == ["none", "sabr", "sabr"]


def test_the_last_cell_is_looked_at_before_the_first_is_trained(call, tmp_path, monkeypatch):
    """What would stop a run after days stops it at once."""
    monkeypatch.setattr(cells, "_computed", lambda *_: pytest.fail("a cell was trained"))
    monkeypatch.chdir(tmp_path)
    code, _, complaint = call("ablate", "--rungs", "none", "--sweep", "generate.model=picto,./nowhere")
    assert code == 2
    assert "no generator at './nowhere'" in complaint
    assert not (tmp_path / "outputs/results").exists()


def test_the_oracle_is_left_out_where_there_is_none(call, tmp_path, monkeypatch):
    """Of all rungs it is left out, in one line; by name it is refused at once."""
    assert set(RUNGS) - {rung.name for rung in chosen_rungs(["all"], [], "mine.yaml")} == {"oracle"}
    monkeypatch.chdir(tmp_path)
    code, _, complaint = call("ablate", "--set", "experiment.dataset=pascal")
    assert code == 2
    assert complaint.startswith("the rung oracle is left out: only picto's scenes can be drawn with exact labels\n")
    code, _, complaint = call("ablate", "--set", "experiment.dataset=pascal", "--rungs", "ladder", "oracle")
    assert code == 2
    assert complaint.startswith("syn4seg: --rungs oracle: pascal has no scenes to draw with exact labels")
    assert complaint.count("\n") == 1


@pytest.mark.parametrize("source", ["copy-paste", "oracle"])
def test_controls_bring_exact_labels_to_the_dataset(finished, apart, source):
    """As many pictures as a generator would have drawn, every one with its class, no pixel ignored or changed."""
    switches = RUNGS[source].changes
    config = load_config(None, [*apart, *switches])
    records = compute(config, "dataset", Console(quiet=True), "controls").records
    by_stage = {r.stage: r for r in records}
    assert by_stage["dataset"].counts["pictures"] == 10
    images = [r for r in records if r.stage == "images"]
    sharp = {s.id: s for r in records if r.stage == "refine" for s in store_of(config).samples(r)}
    for record in images:
        for sample in store_of(config).samples(record):
            assert (sample.labels == sharp[sample.id].labels).all()
            assert split_of(config).id_of(sample.name) in sample.labels
    if source == "copy-paste":
        base = labelled(config, find_data(config)["base"], hide_novel=True)
        pictures = [base[i][0] for i in range(len(base))]
        sample = next(iter(sharp.values()))
        beside = sample.labels == 0
        assert any((picture[beside] == sample.picture[beside]).all() for picture in pictures)


def test_oracle_is_for_picto_alone():
    """Other worlds cannot be drawn: one sentence."""
    from flows.run import check_inputs

    with pytest.raises(InputError, match="oracle is for picto"):
        check_inputs(load_config("picto", ["experiment.generate.source=oracle", "experiment.dataset=pascal"]))


def test_ablate_goes_on_where_it_was(call, finished, apart, tmp_path):
    """Cells are lines of a file; what is there is not computed again, not even without a store."""
    given = [argument for pair in apart for argument in ("--set", pair) if not pair.startswith("execution.output")]
    output = next(pair.partition("=")[2] for pair in apart if pair.startswith("execution.output"))
    command = ["ablate", *given, "--rungs", "none", "sabr", "--labels", "1", "--to", tmp_path]
    code, out, err = call(*command, "--output", output)
    assert code == 0, err
    assert "| sabr | 1 x 1 |" in out
    rows = json.loads((tmp_path / "ablation.json").read_text())
    scores = json.loads((finished[1] / "scores.json").read_text())
    assert [r["rung"] for r in rows] == ["none", "sabr"]
    assert rows[0]["novel_miou"]["mean"] == scores["before"]["novel_miou"]
    assert rows[1]["novel_miou"]["mean"] == scores["after"]["novel_miou"]
    assert set(rows[1]["labels"]) == {"precision", "recall", "iou"}
    code, again, err = call(*command, "--output", tmp_path / "empty")
    assert (code, again) == (0, out), err
    assert not (tmp_path / "empty").exists()
    changed = [*apart, "experiment.train.final_steps=3"]
    (cell,) = list_cells(None, changed, chosen_rungs(["none"], []), [0], [0], [1])
    assert cell.identity not in {r["identity"] for r in read_cells(tmp_path)}


def test_a_damaged_file_of_cells_is_told(tmp_path):
    """One sentence with the file and what to do."""
    (tmp_path / FILE).write_text("{\n")
    with pytest.raises(InputError, match=r"ablation-cells\.jsonl is damaged"):
        compute_cells([], tmp_path, 0, Console(quiet=True))
