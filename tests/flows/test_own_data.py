"""Own classes: what docs/own_data.md says, command by command, and what is told where something is wrong."""

import json
import re
import shlex
import shutil

import numpy as np
import pytest
import yaml

from flows.audit.items import choose_items
from flows.data import (
    check_data,
    find_data,
    prepare_data,
    read_supports,
    side_of,
    split_of,
    vocabulary_of,
)
from flows.plan import make_plan
from flows.runs import find_run
from flows.settings import load_config
from flows.steps import prompts_step, teacher_step
from picto.scenes import draw_portrait, draw_scene
from picto.seeds import scene_rng
from pipeline.errors import InputError
from pipeline.export.items import export_id
from pipeline.generate import plan_samples
from pipeline.images import read_labels, write_labels, write_picture
from pipeline.store import RunStore
from prompts.bank import Prompt

BASE, NOVEL = ("cup", "house", "tree"), ("mushroom", "snail")


def page(root):
    """Give the page's YAML files by their names, and its commands."""
    text = (root / "docs/own_data.md").read_text()
    files = {re.match(r"# (\S+)", block)[1]: block for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)}
    commands = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    return files, commands


def write_scene(folder, name, scene, ids):
    """Write a drawn scene with a mask of ``ids`` (class -> id)."""
    labels = np.zeros(scene.picture.shape[:2], np.uint8)
    for thing in scene.things:
        labels[thing.mask] = ids.get(thing.name, 0)
    write_picture(folder / "pictures" / f"{name}.jpg", scene.picture)
    write_labels(folder / "masks" / f"{name}.png", labels)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Make the folders of the page once, of drawn pictures."""
    place = tmp_path_factory.mktemp("drawn")
    ids = {name: number for number, name in enumerate(BASE, start=1)}
    for i in range(18):
        write_scene(place / "garden/base", f"{i:02d}", draw_scene(scene_rng("base", i), must_show=BASE[i % 3]), ids)
    for i in range(6):
        scene = draw_scene(scene_rng("validation", i), must_show=(BASE + NOVEL)[i % 5])
        write_scene(place / "garden/validation", f"v{i}", scene, ids | {"mushroom": 4, "snail": 5})
    for name in NOVEL:
        for i in range(2):
            scene = draw_portrait(scene_rng("support", i), name)
            write_scene(place / f"garden/new/{name}", "ab"[i], scene, {name: 255})
    return place


@pytest.fixture
def garden(tmp_path, drawn, root):
    """Give a copy of the folders with the page's YAML files."""
    shutil.copytree(drawn, tmp_path, dirs_exist_ok=True)
    for name, text in page(root)[0].items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def overrides(tmp_path):
    """Say where the output of a test goes."""
    return [f"execution.output={tmp_path}/outputs", "experiment.shots=2", "experiment.dataset=garden/garden.yaml",
            "experiment.second_round.base=false"]  # fmt: skip


def test_the_page_loads_as_it_stands(garden, monkeypatch):
    """Both YAML files of the page are valid without a change, and the data set is found beside the run's YAML."""
    monkeypatch.chdir("/")
    config = load_config(str(garden / "garden.run.yaml"))
    assert config.experiment.dataset == str(garden / "garden/garden.yaml")
    split = split_of(config)
    assert (split.base, split.novel) == (BASE, NOVEL)
    assert check_data(config) == []
    assert [s.name for s in read_supports(config)] == list(NOVEL)
    assert all(len(s.masks) == 2 and all(m.any() for m in s.masks) for s in read_supports(config))


def test_prompts_say_the_words_of_the_page(garden, monkeypatch):
    """A class's own words are used, what it does not say comes from the generic words, and both name the class."""
    from prompts.agents import GrammarAgent

    words = vocabulary_of(load_config(str(garden / "garden.run.yaml")))
    proposals = GrammarAgent(words, 0).propose("mushroom", 200)
    texts = [p.text for p in proposals]
    assert all(words.names("mushroom", text) for text in texts)
    assert any("tall mushroom" in text for text in texts)
    assert any("a photo" in text for text in texts)
    assert {p.attributes["scene"] for p in proposals if "scene" in p.attributes} == {
        "on the grass", "in the snow", "in the desert", "at night", "at sunset"
    }  # fmt: skip


def test_words_and_names_reach_the_fingerprint_and_places_do_not(garden, overrides, monkeypatch):
    """Other words are other prompts; another folder is not."""
    monkeypatch.chdir(garden)
    recipe = prompts_step(load_config(None, overrides), "mushroom").recipe
    path = garden / "garden/garden.yaml"
    path.rename(garden / "moved.yaml")
    moved = [*overrides, "experiment.dataset=moved.yaml"]
    assert prompts_step(load_config(None, moved), "mushroom").recipe == recipe
    (garden / "moved.yaml").write_text((garden / "moved.yaml").read_text().replace("tall mushroom", "red mushroom"))
    assert prompts_step(load_config(None, moved), "mushroom").recipe != recipe
    assert str(garden) not in json.dumps(recipe)


def edit(change):
    """Change the page's data set."""

    def spoil(garden):
        path = garden / "garden/garden.yaml"
        raw = yaml.safe_load(path.read_text())
        change(raw)
        path.write_text(yaml.safe_dump(raw, sort_keys=False))

    return spoil


def rename(raw, **names):
    """Call new classes otherwise, in their words too."""
    for group, part in ((raw, "novel"), (raw["prompts"], "classes")):
        group[part] = {names.get(name, name): entry for name, entry in group[part].items()}


def mask(path, value):
    """Write a mask of one value in the size of the drawn pictures."""
    return lambda garden: write_labels(garden / "garden" / path, np.full((64, 64), value, np.uint8))


def two_values(garden):
    labels = np.zeros((64, 64), np.uint8)
    labels[0, 0], labels[1, 1], labels[2, 2] = 3, 7, 255
    write_labels(garden / "garden/new/snail/masks/b.png", labels)


def few_pixels(garden):
    labels = np.zeros((64, 64), np.uint8)
    labels[0, :59] = 4
    for name in ("03", "04"):
        write_labels(garden / f"garden/base/masks/{name}.png", labels)


WRONG = {
    "missing mask": (lambda g: (g / "garden/base/masks/03.png").unlink(), r"03\.jpg has no mask: expected .*03\.png"),
    "missing support mask": (lambda g: (g / "garden/new/snail/masks/a.png").unlink(), r"a\.jpg has no mask"),
    "damaged mask": (lambda g: (g / "garden/base/masks/03.png").write_bytes(b"\x89PNG"), r"03\.png cannot be read"),
    "damaged picture": (lambda g: (g / "garden/base/pictures/03.jpg").write_bytes(b"no"), r"03\.jpg cannot be read"),
    "foreign id": (mask("base/masks/03.png", 77), r"03\.png: a mask holds id 77 \(4096 pixels\).*are 0\.\.5 and 255"),
    "size": (lambda g: write_labels(g / "garden/base/masks/03.png", np.zeros((9, 7), np.uint8)), "is 7x9 but its pict"),
    "empty support": (mask("new/snail/masks/b.png", 0), r"support mask .*snail/masks/b\.png is empty"),
    "two ids in a support": (two_values, r"b\.png holds the ids 3 and 7"),
    "no folder": (edit(lambda raw: raw["novel"]["snail"].update(masks="nowhere")), "the folder .*nowhere does not"),
    "no pictures": (lambda g: [p.unlink() for p in (g / "garden/new/snail/pictures").iterdir()], "holds no pictures"),
    "two of a name": (lambda g: write_picture(g / "garden/base/pictures/03.png", np.zeros((64, 64, 3), np.uint8)),
                      "two pictures named 03"),
    "class never shown": (edit(lambda raw: raw["base"]["classes"].append("boat")), "no base mask shows 'boat'"),
    "class in one picture": (
        lambda g: (edit(lambda raw: raw["base"]["classes"].append("boat"))(g), mask("base/masks/03.png", 4)(g)),
        r"'boat' \(id 4\) is shown on at least 60 pixels by 1 base picture, training needs 2",
    ),
    "class too small": (
        lambda g: (edit(lambda raw: raw["base"]["classes"].append("boat"))(g), few_pixels(g)),
        "'boat' .* by 0 base pictures, training needs 2",
    ),
    "few supports": (lambda g: [(g / f"garden/new/snail/{p}").unlink() for p in ("pictures/b.jpg", "masks/b.png")],
                     "'snail' has 1 support pictures .*experiment.shots is 2"),
    "words of another class": (edit(lambda raw: raw["prompts"]["classes"].update(snale={})), "did you mean 'snail'"),
    "unknown word": (edit(lambda raw: raw["prompts"]["classes"]["snail"].update(scenes=["x"])), "did you mean 'scene'"),
    "a word for a list": (edit(lambda raw: raw["prompts"]["classes"]["snail"].update(scene="on the grass")),
                          "classes.snail.scene: got 'on the grass', expected a list such as"),
    "stray braces": (edit(lambda raw: raw["prompts"]["classes"]["snail"].update(scene=["100% {cotton"])),
                     "snail.scene: got '100% {cotton', expected no braces but"),
    "name of no file": (edit(lambda raw: rename(raw, snail="cup/mug")), "after the class 'cup/mug': expected letters"),
    "names of the same files": (edit(lambda raw: rename(raw, snail="hot dog", mushroom="hot_dog")),
                                "would have the same names for the classes 'hot_dog' and 'hot dog': rename one"),
    "unknown group of words": (edit(lambda raw: raw["prompts"].update(colours={})), "unknown words 'colours'"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_told_before_work(garden, overrides, monkeypatch, call, wrong):
    """`run` stops with one sentence and exit 2 before anything is computed, and `check` lists the same sentence."""
    spoil, sentence = WRONG[wrong]
    spoil(garden)
    monkeypatch.chdir(garden)
    arguments = [part for o in overrides for part in ("--set", o)]
    for command in ("run", "check"):
        code, told, complaint = call(command, *arguments, *(["--json"] if command == "check" else []))
        assert code == 2
        assert complaint.count("\n") == 1
        if command == "run":
            assert re.search(sentence, complaint)
        else:
            found = [row["found"] for row in json.loads(told) if not row["ok"]]
            assert any(re.search(sentence, row) for row in found)
    assert not list((garden / "outputs").glob("store/*/*/record.json"))


def test_check_lists_everything_that_is_wrong(garden, overrides, monkeypatch):
    """Three mistakes are three sentences."""
    monkeypatch.chdir(garden)
    for wrong in ("missing mask", "empty support"):
        WRONG[wrong][0](garden)
    mask("base/masks/05.png", 77)(garden)
    found = check_data(load_config(None, overrides))
    assert len(found) == 3


def test_everything_that_is_wrong_is_told_in_one_go(garden, overrides, monkeypatch, call):
    """Wrong words hide no missing folder, nor one folder another; `run` lists twenty things and counts the others."""
    monkeypatch.chdir(garden)
    edit(lambda raw: raw["prompts"]["classes"].update(snale={}, mushrom={}))(garden)
    edit(lambda raw: raw["novel"].update(snail={"pictures": "here", "masks": "there"}))(garden)
    for name in ("a", "b"):
        (garden / f"garden/new/mushroom/pictures/{name}.jpg").unlink()
    found = check_data(load_config(None, overrides))
    for words in ("'snale'.*'mushrom'", "folder .*/here does", "folder .*there does", "mushroom/pictures holds no"):
        assert len([row for row in found if re.search(words, row)]) == 1
    assert len(found) == 4
    for path in (garden / "garden/base/masks").glob("*.png"):
        path.unlink()
    code, _, complaint = call("run", *(part for o in overrides for part in ("--set", o)))
    lines = complaint.splitlines()
    assert (code, len(lines)) == (2, 22)
    assert lines[0] == "syn4seg: 22 things are wrong:"
    assert lines[-1] == "- ... and 2 more"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda raw: raw.pop("base"), "base is missing"),
        (lambda raw: raw.update(clases=[]), "unknown key 'clases': did you mean 'classes'"),
        (lambda raw: raw["base"].update(classes=["cup", "snail"]), "the class name 'snail' cannot be used"),
        (lambda raw: raw["base"].update(classes=["background"]), "the class name 'background' cannot be used"),
        (lambda raw: raw["base"].update(classes=[]), "base.classes"),
        (lambda raw: raw.update(name="../up"), "name: "),
        (lambda raw: raw["novel"].clear(), "novel"),
    ],
)
def test_a_wrong_yaml_is_one_sentence(garden, overrides, monkeypatch, change, sentence):
    """What the YAML says wrong is told when it is read."""
    monkeypatch.chdir(garden)
    edit(change)(garden)
    with pytest.raises(InputError, match=re.escape(sentence)) as error:
        load_config(None, overrides)
    assert "\n" not in str(error.value)


def test_every_mistake_of_the_yaml_is_told(garden, overrides, monkeypatch):
    """Three mistakes in the YAML are three lines; so are two names that cannot be used."""
    monkeypatch.chdir(garden)
    edit(lambda raw: (raw.update(name="../up", clases=[]), raw["base"].pop("masks")))(garden)
    with pytest.raises(InputError, match="3 things are wrong") as error:
        load_config(None, overrides)
    for sentence in ("name: ", "unknown key 'clases'", "base.masks is missing"):
        assert f"garden.yaml: {sentence}" in str(error.value)
    changes = {"name": "garden", "base": {"pictures": "p", "masks": "m", "classes": ["snail", "background"]}}
    edit(lambda raw: (raw.update(changes), raw.pop("clases")))(garden)
    with pytest.raises(InputError, match=r"(?s)2 things are wrong.*'snail'.*'background'"):
        load_config(None, overrides)


@pytest.mark.parametrize(
    ("names", "fit"),
    [(["Hot dog", "T-shirt_2", "v1.5"], True), (["Füchse"], False), (["cup/mug"], False), (["_x"], False),
     (["hot dog", "hot_dog"], False), (["hot dog", "hot-dog"], False), (["a.b", "a b"], False)],
)  # fmt: skip
def test_files_can_be_named_after_new_classes(garden, overrides, monkeypatch, call, names, fit):
    """What store and export would refuse after drawing is told by both checks, unless nothing is drawn."""
    monkeypatch.chdir(garden)
    edit(lambda raw: raw.update(prompts={}, novel=dict.fromkeys(names, raw["novel"]["snail"])))(garden)
    edit(lambda raw: raw.pop("validation"))(garden)
    found = check_data(load_config(None, overrides))
    assert (found == []) == fit
    assert check_data(load_config(None, [*overrides, "experiment.generate.enabled=false"])) == []
    told = call("check", "--no-weights", "--json", *(part for o in overrides for part in ("--set", o)))[1]
    assert [row["found"] for row in json.loads(told) if row["what"] == "classes" and not row["ok"]] == found
    ids = [plan_samples([Prompt(name, name)], 0)[0].id for name in names]
    try:
        for name in ids:
            RunStore(garden / "store").compute("images", name, {}, lambda draft: None)
        kept = len({export_id(name, "syn") for name in ids}) == len(names)
    except InputError:
        kept = False
    assert kept == fit


def test_counts_are_kept_and_follow_the_files(garden, overrides, monkeypatch):
    """A second look reads no mask; a changed mask is looked at again."""
    monkeypatch.chdir(garden)
    config = load_config(None, overrides)
    assert check_data(config) == []
    kept = set((garden / "outputs/data").glob("counts-*.npy"))
    assert len(kept) == 3
    from pipeline.datasets import pictures

    def refuse(*_):
        raise AssertionError("a mask was read again")

    with monkeypatch.context() as patch:
        patch.setattr(pictures.FilePictures, "labels", refuse)
        assert check_data(config) == []
    mask("base/masks/03.png", 77)(garden)
    assert len(check_data(config)) == 1


def test_without_validation_pictures_nothing_is_scored(garden, overrides, monkeypatch):
    """A data set that names no validation pictures is complete; only the scores are left out."""
    monkeypatch.chdir(garden)
    edit(lambda raw: raw.pop("validation"))(garden)
    config = load_config(None, overrides)
    assert check_data(config) == []
    plan = make_plan(config)
    assert (plan.stages["train"].total, plan.stages["scores"].total) == (2, 0)
    with pytest.raises(InputError, match="names no validation pictures: add validation"):
        choose_items(config, 10)


@pytest.mark.parametrize("command", [
    ["ablate", "--rungs", "none"],
    ["compare", "--protocol", "gfss-diam", "--vary", "iir", "--folds", "0", "--seeds", "0", "--shots", "2"],
    ["compare", "--vary", "matching", "--folds", "0", "--seeds", "0", "--shots", "1"],
])  # fmt: skip
def test_what_only_scores_needs_validation_pictures(garden, overrides, monkeypatch, call, command):
    """Commands whose outcome is scores alone say so before they train."""
    monkeypatch.chdir(garden)
    edit(lambda raw: raw.pop("validation"))(garden)
    sets = [part for o in overrides if "shots" not in o for part in ("--set", o)]
    code, _, complaint = call(*command, *sets)
    assert code == 2
    assert complaint.splitlines()[-1].startswith("syn4seg: the data set names no validation pictures: add validation:")
    assert not list((garden / "outputs").glob("store/*/*/record.json"))


def test_a_comparison_writes_beside_its_scores(garden, overrides, monkeypatch, call):
    """Charts and scores of own classes go to the folder that was named, and JSON tells of the scores."""
    monkeypatch.chdir(garden)
    own = sorted(path for path in (garden / "garden").rglob("*"))
    few = ["experiment.fss.episodes=2", "experiment.fss.seeds=1", "experiment.fss.min_pixels=1"]
    code, told, complaint = call(
        "compare", "--vary", "matching", "--folds", 0, "--seeds", 0, "--shots", 1, "--to", "found", "--json",
        *(part for o in (*overrides, *few) for part in ("--set", o)),
    )  # fmt: skip
    assert code == 0, complaint
    (scores,) = json.loads(told)
    assert scores["file"] == "found/garden-fss-matching-fold0-1shot-seed0.json"
    assert scores["dataset"] == split_of(load_config(None, overrides)).dataset
    (chart,) = (garden / "found").glob("*.svg")
    assert chart.name == f"{scores['dataset']}-fss-1shot.svg"
    assert sorted(path for path in (garden / "garden").rglob("*")) == own


def test_pictures_are_seen_at_their_own_size(garden, overrides, monkeypatch):
    """Squares are as large as the longest base picture, in cells of 8, at most 640, or as set; shards know it."""
    monkeypatch.chdir(garden)
    assert side_of(load_config(None, overrides)) == 64
    recipes = {64: recipe_of(overrides)}
    for longest, side in ((500, 504), (4000, 640)):
        write_picture(garden / "garden/base/pictures/03.jpg", np.zeros((longest, 30, 3), np.uint8))
        write_labels(garden / "garden/base/masks/03.png", np.zeros((longest, 30), np.uint8))
        assert side_of(load_config(None, overrides)) == side
        assert recipe_of(overrides)["inputs"]["side"] == side
    large = [*overrides, "experiment.train.side=900"]
    assert side_of(load_config(None, large)) == 900
    recipes |= {640: recipe_of(overrides), 900: recipe_of(large)}
    assert len({json.dumps(recipe) for recipe in recipes.values()}) == 3


def recipe_of(overrides):
    config = load_config(None, overrides)
    return teacher_step(config, prepare_data(config)).recipe


@pytest.mark.slow
def test_the_commands_of_the_page(prefect, garden, root, monkeypatch, call, tiny):
    """Every command of the page runs, on drawn pictures, with picto's models and few steps."""
    monkeypatch.chdir(garden)
    files, commands = page(root)
    raw = yaml.safe_load(files["garden.run.yaml"])
    kept = {key: raw["experiment"][key] for key in ("dataset", "shots")}
    (garden / "garden.run.yaml").write_text(yaml.safe_dump({"experiment": kept}))
    few = [*tiny, "experiment.prompts.max_similarity=1", "experiment.fss.steps=2", "experiment.fss.choose=none"]
    few += ["experiment.fss.episodes=2", "experiment.fss.options.dim=8", "experiment.fss.options.blocks=2"]
    few += ["experiment.fss.batch=1", "experiment.fss.seeds=1"]
    config = load_config("garden.run.yaml", few)
    small = config.model_dump(mode="json", exclude_defaults=True)
    small["experiment"] |= kept
    (garden / "garden.run.yaml").write_text(yaml.safe_dump(small))
    for command in commands:
        code, _, complaint = call(*shlex.split(command)[1:])
        assert code == 0, f"{command}: {complaint}"
    run, again, episodes = (find_run(garden / "outputs", name) for name in ("first", "again", "episodes"))
    scores = json.loads((run / "scores.json").read_text())
    assert scores["dataset"].startswith("garden-")
    assert json.loads((again / "scores.json").read_text())["after"] == scores["after"]
    assert "fss" not in json.loads((episodes / "scores.json").read_text())  # too few validation pictures for episodes
    for i in range(6):
        labels = read_labels(garden / f"predictions/labels/v{i}.png")
        assert labels.shape == (64, 64)
        assert labels.max() <= 5
        assert (garden / f"predictions/overlays/v{i}.png").exists()
    assert set(np.unique(read_labels(garden / "snails/labels/v0.png"))) <= {0, 1}
    assert set(scores["after"]["per_class"]) == {"background", *BASE, *NOVEL}
    assert set(find_data(load_config("garden.run.yaml"))) == {"base", "support", "validation"}
    assert (run / "dataset/ImageSets/Segmentation/train.txt").exists()
