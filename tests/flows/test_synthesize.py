import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from flows.data import prepare_data, split_of, store_of
from flows.learning import train_teacher_stage
from flows.plan import make_plan
from flows.predict import predict_files
from flows.run import check_inputs, run
from flows.settings import load_config
from flows.standalone import evaluate_alone, train_alone
from flows.steps import CHAIN, prompts_step
from flows.turns import take_turn
from pipeline.errors import InputError
from pipeline.images import read_labels, read_picture, write_picture

QUIET = Console(quiet=True)
SCORES = ("base_miou", "novel_miou", "mean_miou", "harmonic_miou")


def test_run_writes_what_it_promises(finished):
    """Settings, lineage, scores, dataset, checkpoints and report lie in the run's folder."""
    config, folder, plan = finished
    assert not plan.complete
    assert load_config(str(folder / "experiment.yaml")) == config
    scores = json.loads((folder / "scores.json").read_text())
    assert {"dataset", "fold", "shots", "seed", "protocol", "labels", "seconds"} <= set(scores)
    for which in ("teacher", "before", "after"):
        assert all(0 <= scores[which][name] <= 1 for name in SCORES)
        assert len(scores[which]["per_class"]) == 21
    lineage = json.loads((folder / "lineage.json").read_text())
    assert list(lineage) == list(CHAIN)
    assert [len(lineage[s]) for s in ("prompts", "images", "refine", "train", "scores")] == [5, 5, 5, 2, 3]
    assert {p.name for p in (folder / "checkpoints").iterdir()} == {"teacher", "before", "after"}
    assert (folder.parent / "latest").resolve() == folder.resolve()


def test_report_shows_what_the_models_see(finished):
    """The page has predictions of every model, IIR's maps and similarities, each with its files."""
    _, folder, _ = finished
    text = (folder / "report" / "data" / "summary.js").read_text()
    looks = json.loads(text.partition("=")[2].rstrip(";\n"))["looks"]
    assert "note" not in looks
    assert looks["models"] == ["teacher", "before", "after"]
    assert looks["predictions"]
    assert looks["maps"]
    for row in looks["predictions"]:
        assert set(row["iou"]) == set(looks["models"])
        picture, strip = (Image.open(folder / "report" / "looks" / f"{row['file']}.{end}") for end in ("jpg", "png"))
        assert strip.size == (4 * picture.width, picture.height)
    for row in looks["maps"]:
        files = [folder / "report" / "looks" / f"{row['file']}-{end}" for end in ("support.jpg", "query-parts.png")]
        assert all(path.exists() for path in files)
    assert {row["class"] for row in looks["predictions"]} == {row["class"] for row in looks["maps"]}
    assert any(one["filter"] for one in looks["similarities"].values())


def test_dataset_is_voc(finished):
    """Every picture of the list has a picture file and both kinds of label files of its size."""
    _, folder, _ = finished
    data = folder / "dataset"
    names = (data / "ImageSets" / "Segmentation" / "train.txt").read_text().split()
    assert len(names) > 5
    for name in names:
        size = read_picture(data / "JPEGImages" / f"{name}.jpg").shape[:2]
        index = read_labels(data / "SegmentationClassAug" / f"{name}.png")
        assert index.shape == size
        assert (index == read_labels(data / "SegmentationClass" / f"{name}.png")).all()


def test_prefect_shows_stages_shards_and_what_came_out(finished):
    """Every stage is a subflow, every shard a task with its name; a table a class, the scores and the report follow."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter

    titles = {stage: "filter and relabel" if stage == "filter" else stage for stage in CHAIN if stage != "relabel"}
    with get_client(sync_client=True) as client:
        (run_,) = client.read_flow_runs(flow_run_filter=FlowRunFilter(name={"any_": ["tiny"]}))
        inner = FlowRunFilter(parent_flow_run_id={"any_": [run_.id]})
        stages = client.read_flow_runs(flow_run_filter=inner)
        assert {stage.name for stage in stages} == set(titles.values())
        assert all(stage.state.is_completed() for stage in (run_, *stages))
        wanted = {"prompts boat", "images boat-000", "refine boat-000", "train after", "scores teacher"}
        end = time.monotonic() + 60  # Prefect tells of tasks in the background
        while not wanted <= (names := {task.name for task in client.read_task_runs(flow_run_filter=inner)}):
            assert time.monotonic() < end, names
            time.sleep(0.2)
        artifacts = client.request("POST", "/artifacts/filter", json={"limit": 200}).json()
    mine = [a for a in artifacts if a["flow_run_id"] == str(run_.id)]
    assert [a["data"] for a in mine if a["type"] == "progress"] == [100.0] * len(titles)
    told = {a["key"]: a for a in mine if a["key"]}
    assert {"tiny-boat", "tiny-scores", "tiny-report"} <= set(told)
    rows = {row["stage"]: row for row in json.loads(told["tiny-boat"]["data"])}
    assert rows["prompts"]["kept"] == rows["images"]["came"] == "2"
    assert rows["with synthetic"]["IoU"]
    page = (finished[1] / "report" / "index.html").resolve()
    assert page.as_uri() in told["tiny-report"]["data"]
    assert str(page) in told["tiny-scores"]["data"]


def test_the_deployed_flow_is_the_same_run(finished):
    """What a server starts gives the run that the command line gives, and its form reaches the run."""
    from flows.scheduled import scheduled

    config, folder, _ = finished
    state = scheduled(name="tiny", config=config.model_dump(mode="json"), return_state=True)
    assert state.is_completed()
    assert "2 prompts a class" in state.message
    assert [p for p in folder.parent.iterdir() if not p.is_symlink()] == [folder]
    with take_turn(config, "refuse", print):
        state = scheduled(name="tiny", config=config, return_state=True)
    assert state.is_cancelled()
    assert "running already" in state.message
    wrong = config.model_dump(mode="json")
    wrong["experiment"]["prompts"]["classes"] = ["fish"]
    assert "'fish' is no novel class" in scheduled(name="tiny", config=wrong, return_state=True).message


def test_second_run_computes_nothing(finished, overrides):
    """Run again, everything is reused and the same folder comes back."""
    config, folder, _ = finished
    again, plan = run(config, "tiny", "scores", Console(quiet=True))
    assert plan.complete
    assert again == folder


def test_another_name_of_the_same_run_is_told(call, finished, overrides):
    """`run --name` says on stderr that an equal run is finished and which; by its own name nothing is said."""
    _, folder, _ = finished
    sets = [part for override in overrides for part in ("--set", override)]
    code, told, complaint = call("run", "--name", "other", "--json", *sets)
    assert (code, json.loads(told)["run"]) == (0, str(folder))
    assert f"--name other names nothing, since an equal run is finished, {folder.name}: " in complaint
    assert "names nothing" not in call("run", "--name", "tiny", "--json", *sets)[2]


def test_changed_threshold_redraws_nothing(finished, overrides):
    """A change of APF leaves prompts, pictures, teacher and first labels; the plan says so and why."""
    plan = make_plan(load_config(None, [*overrides, "experiment.filter.min_similarity=0.9"]))
    left = {name: stage.compute + stage.resume for name, stage in plan.stages.items()}
    assert [left[s] for s in ("prompts", "images", "teacher", "annotate")] == [0, 0, 0, 0]
    assert left["filter"] == 5
    assert plan.stages["filter"].why == {"changed: settings.min_similarity -1.0 -> 0.9": 5}
    assert plan.stages["train"].reuse == 1, "the model without synthetic pictures does not depend on APF"


def test_quick_plan_says_the_same(finished, overrides):
    """The index knows what the files say, whether all is finished or a setting was changed."""
    changes = [[], ["experiment.filter.min_similarity=0.9"], ["experiment.seed=1"], ["experiment.filter.enabled=false"]]
    configs = [load_config(None, [*overrides, *change]) for change in changes]
    whole = [make_plan(config).stages for config in configs]
    assert [make_plan(config, quick=True).stages for config in configs] == whole
    assert make_plan(configs[0], quick=True).complete
    some = [make_plan(config, "refine", 1, quick=True).stages for config in configs]
    assert some == [make_plan(config, "refine", 1).stages for config in configs]


def test_switched_off_stage_ignores_its_settings(finished, overrides):
    """Settings of a stage that is off are no part of its fingerprint."""
    off = [*overrides, "experiment.relabel.enabled=false"]
    plans = [make_plan(load_config(None, [*off, f"experiment.relabel.blend={blend}"])) for blend in (0.1, 0.9)]
    assert plans[0].stages == plans[1].stages


def test_larger_budget_adds_shards(finished, overrides):
    """More prompts a class keep what was drawn where shards are full, and draw what is new."""
    config = load_config(None, overrides)
    bank = store_of(config).find(*_step(config))
    larger = load_config(None, [*overrides, "experiment.prompts.per_class=3"])
    assert bank
    assert store_of(larger).find(*_step(larger)) is None
    from flows.banks import write_prompts

    more = write_prompts(larger, "boat")
    texts = [_texts(store_of(config), record) for record in (bank, more)]
    assert texts[1][:2] == texts[0]
    assert len(texts[1]) == 3


def test_deleted_picture_is_drawn_again_and_nothing_else(finished):
    """A picture that is gone costs its shard; what depends on it is found again, since its content is the same."""
    config, folder, _ = finished
    store = store_of(config)
    (record,) = [r for r in store.records() if r.stage == "images" and r.shard == "boat-000"]
    next((store.folder(record) / "images").iterdir()).unlink()
    plan = make_plan(config)
    assert (plan.stages["images"].compute, plan.stages["images"].why) == (1, {"files are missing": 1})
    assert make_plan(config, quick=True).complete, "a quick plan looks into no shard"
    again, _ = run(config, "tiny", "scores", Console(quiet=True))
    assert again == folder
    assert store.find(record.stage, record.shard, record.recipe).content == record.content


def test_teacher_can_be_trained_again(trained, tmp_path):
    """The same settings and seed give the same weights in another folder."""
    config, record = trained
    other = config.model_copy(update={"execution": config.execution.model_copy(update={"output": str(tmp_path)})})
    assert train_teacher_stage(other, prepare_data(other)).content == record.content


def test_evaluate_repeats_the_scores(finished):
    """The checkpoints of a run give its scores again, and prototype matching beside them if asked for."""
    _, folder, _ = finished
    scores, again = json.loads((folder / "scores.json").read_text()), evaluate_alone(
        folder, None, None, (), QUIET, matching=True
    )
    assert 0 <= again["matching"]["novel_miou"] <= 1
    assert "matching" not in scores
    for which in ("teacher", "before", "after"):
        assert np.allclose([scores[which][n] for n in SCORES], [again[which][n] for n in SCORES], atol=1e-6)
    for more in ({"shots": 5}, {"dataset": "deepglobe"}, {"overrides": ["experiment.fss.multiscale=true"]}):
        with pytest.raises(InputError, match="go with fss, this is a run of gfss-diam"):
            evaluate_alone(folder, None, None, **{"overrides": (), "console": QUIET, **more})


def test_train_on_a_finished_run(finished):
    """With --data RUN the model trains on base and the run's pictures: a run with all three models, found again."""
    config, folder, _ = finished
    alone = config.model_copy(
        update={"experiment": config.experiment.model_copy(
            update={"generate": config.experiment.generate.model_copy(update={"enabled": False})}
        )}
    )  # fmt: skip
    found = train_alone(alone, "on", "gfss-diam", str(folder), Console(quiet=True))
    scores, run_scores = (json.loads((f / "scores.json").read_text()) for f in (found, folder))
    assert scores["before"] == run_scores["before"]
    # the same pictures, steps and seed as in the run itself
    assert scores["after"] == run_scores["after"]
    assert train_alone(alone, "again", "gfss-diam", str(folder / "dataset"), Console(quiet=True)) == found


def test_learners_are_compared_on_the_same_run(call, finished, overrides, tmp_path):
    """A comparison of learners takes what the store holds, and writes the run's own scores, but for the teacher's."""
    config, folder, _ = finished
    sets = [part for override in overrides for part in ("--set", override)]
    asked = ["--protocol", "gfss-diam", "--folds", 0, "--seeds", 0, "--shots", 1, "--vary", "iir", "--to", tmp_path]
    shards = set((Path(config.execution.output) / "store").glob("*/*"))
    code, told, complaint = call("compare", *asked, *sets, "--output", config.execution.output)
    assert code == 0, complaint
    assert set((Path(config.execution.output) / "store").glob("*/*")) == shards
    found = json.loads((tmp_path / "picto-gfss-diam-iir-fold0-1shot-seed0.json").read_text())
    scores = json.loads((folder / "scores.json").read_text())
    assert found["after"] == scores["after"]
    assert found["before"] == scores["before"]
    assert "teacher" not in found
    assert "| iir, with synthetic | 1 |" in told
    assert (tmp_path / "picto-gfss-diam-1shot.svg").exists()


def test_another_learner_starts_from_a_model_of_its_own_kind(finished, tmp_path):
    """With the run's teacher and pictures another model learns the base classes once, for both of its trainings."""
    config, folder, _ = finished
    alone = load_config(str(folder / "experiment.yaml"), [
        "experiment.model.name=i2r", "experiment.generate.enabled=false",
        f"execution.output={config.execution.output}",
    ])  # fmt: skip
    found = train_alone(alone, "i2r", "gfss-diam", str(folder), Console(quiet=True))
    scores, theirs = (json.loads((f / "scores.json").read_text()) for f in (found, folder))
    assert scores["teacher"] == theirs["teacher"]
    assert scores["model"] == "i2r"
    names = {which: json.loads((found / "checkpoints" / which / "config.json").read_text())["name"]
             for which in ("teacher", "before", "after")}  # fmt: skip
    assert names == {"teacher": "iir", "before": "i2r", "after": "i2r"}
    lineage, before = (json.loads((f / "lineage.json").read_text()) for f in (found, folder))
    assert lineage["teacher"] == before["teacher"]
    assert set(lineage["start"]) == {"i2r"}
    assert "start" not in before
    plan = make_plan(alone)
    assert plan.complete
    assert list(plan.stages)[-3:] == ["start", "train", "scores"]
    again = evaluate_alone(found, None, "i2r", (), QUIET)
    for which in ("teacher", "before", "after"):
        assert np.allclose([scores[which][n] for n in SCORES], [again[which][n] for n in SCORES], atol=1e-6)
    write_picture(tmp_path / "a.png", np.zeros((40, 50, 3), np.uint8))
    predict_files(tmp_path / "a.png", found, None, None, tmp_path / "out")
    assert read_labels(tmp_path / "out" / "labels" / "a.png").shape == (40, 50)


def test_matching_is_no_learner_of_the_chain():
    """What learns nothing is refused before any work."""
    for key in ("teacher", "model"):
        with pytest.raises(InputError, match=f"{key}.name: prototype matching learns nothing"):
            check_inputs(load_config(None, [f"experiment.{key}.name=matching"]))


def test_predict_with_a_finished_run(finished, tmp_path):
    """The best model of a run labels a folder of pictures of any size with ids of the data set."""
    _, folder, _ = finished
    names = sorted((folder / "dataset" / "JPEGImages").iterdir())[:2]
    write_picture(tmp_path / "in" / "a.png", read_picture(names[0])[:40, :50])
    rows = predict_files(tmp_path / "in", folder, None, None, tmp_path / "out")
    labels = read_labels(tmp_path / "out" / "labels" / "a.png")
    assert labels.shape == (40, 50)
    assert labels.max() <= 20
    with pytest.raises(InputError, match="--multiscale goes with fss models: after"):
        predict_files(tmp_path / "in", folder, None, None, tmp_path / "out", multiscale=True)
    assert set(rows[0]["classes"]) == {split_of(finished[0]).all_names[i - 1] for i in np.unique(labels) if i}


def _step(config):
    step = prompts_step(config, "boat")
    return step.stage, step.shard, step.recipe


def _texts(store, record):
    lines = (store.folder(record) / "prompts.jsonl").read_text().splitlines()
    return [json.loads(line)["text"] for line in lines]


def test_a_stage_that_prefect_cannot_begin_ends_the_run(finished, monkeypatch):
    """Where Prefect's server fails between two stages, the run says so; no stage waits for one that never began."""
    from flows import synthesize

    real = synthesize.flow

    def unreachable():
        raise ConnectionError("the server is gone")

    def flow(**options):
        return (lambda _: unreachable) if options["name"].endswith("filter and relabel") else real(**options)

    monkeypatch.setattr(synthesize, "flow", flow)
    found = []

    def work():
        try:
            run(finished[0], "tiny", "scores", Console(quiet=True), show=True)
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(120)
    assert not thread.is_alive()
    assert isinstance(found[0], ConnectionError)
