"""Bad input ends every command with one sentence on stderr and exit code 2, and nothing is written."""

import json
import shutil
import time

import numpy as np
import pytest

from flows import data as data_module
from flows import run as run_module
from flows import wiring
from flows.data import choose_supports, prepare_data, read_supports, split_of
from flows.settings import dump_config, load_config
from flows.weights import resolve
from pipeline.images import read_labels, write_labels

SETTINGS = [
    ("experiment.fitler.min_similarity=1", "unknown key 'experiment.fitler': did you mean 'experiment.filter'?"),
    ("experiment.filter.min_similarty=1", "did you mean 'experiment.filter.min_similarity'?"),
    ("fold=1", "unknown key 'fold': did you mean 'experiment.fold'?"),
    ("experiment.fold=7", "fold 7 of picto does not exist: choose 0, 1, 2 or 3"),
    ("experiment.filter.min_similarity=2.0", "got 2.0, expected a number from -1 to 1"),
    ("experiment.prompts.max_similarity=2.0", "got 2.0, expected a number above 0 to 1"),
    ("experiment.train.synthetic_weight=.inf", "experiment.train.synthetic_weight: got inf"),
    ("experiment.fold=two", "experiment.fold: got 'two', expected type integer"),
    ("experiment.fold.x=1", "experiment.fold"),
    ("experiment.filter=3", "got 3, expected keys such as experiment.filter.min_similarity"),
    ("experiment.dataset=pikto", "unknown dataset 'pikto': expected one of picto, pascal, coco"),
    ("experiment.dataset=pascal", "no PASCAL VOC 2012"),
    ("experiment.prompts.classes=[baot]", "did you mean 'boat'?"),
    ("experiment.prompts.classes=[tree]", "'tree' is no novel class of fold 0"),
    ("experiment.prompts.classes=[boat, boat]", "name each class once"),
    ("experiment.prompts.classes=[1]", "experiment.prompts.classes.0: got 1, expected type string"),
    ("experiment.prompts.classes=boat", "got 'boat', expected a list such as [boat]"),
    ("experiment.model.name=irr", "experiment.model.name: got 'irr', expected 'iir'"),
    ("experiment.generate.model=./nowhere", "no generator at './nowhere': give picto, a folder with model_index.json"),
    ("experiment.teacher.backbone=./nowhere", "no backbone at './nowhere'"),
    ("experiment.model.backbone=./nowhere", "no backbone at './nowhere'"),
    ("experiment.refine.model=./nowhere", "no sam at './nowhere'"),
    ("experiment.refine.model=owner/sam", "owner/sam is neither a folder nor could it be fetched from the hub"),
    ("experiment.refine.precision=fp16", "got 'fp16', expected 'auto', 'fp32' or 'bf16'"),
    ("experiment.refine.model=vit_h=./nowhere.pth", "no sam at 'vit_h=./nowhere.pth'"),
    ("experiment.refine.model=vit_x=./nowhere.pth", "vit_b=FILE, vit_l=FILE, vit_h=FILE, or a hub name"),
    ("experiment.fss.scale=[0, 1]", "experiment.fss.scale: got [0, 1], expected a least and a greatest number above 0"),
    ("experiment.fss.scale=[1.1, 0.9]", "got [1.1, 0.9], expected a least and a greatest"),
    ("experiment.fss.side=2", "experiment.fss.side: got 2, expected 0 or from 16 on"),
    ("experiment.train.side=15", "experiment.train.side: got 15, expected 0 or from 16 on"),
    ("experiment.prepare.side=1", "experiment.prepare.side: got 1, expected 0 or from 16 on"),
    ("execution.device=cdua", "got 'cdua', expected auto, cpu, cuda"),
    ("execution.device=cuda:99", "choose auto or cpu"),
    ("experiment", "expected key=value"),
    ("experiment.fold=[", "--set experiment.fold=[ is no YAML (line 1, column 2: expected the node content"),
]


@pytest.mark.parametrize(("override", "words"), SETTINGS)
def test_settings(refused, override, words):
    """A wrong value is told with what was expected before anything starts."""
    assert words in refused("run", "--set", override)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "pict"], "picto, picto_fss, picto_rifenet, picto_symnet, sam2_large, sam_huge"),
        (["run", "nowhere.yaml"], "cannot read the config 'nowhere.yaml'"),
        (["run", "--until", "refin"], "did you mean 'refine'?"),
        (["run", "--name", "a/b"], "'a/b' is no name of a folder"),
        (["run", "--clas", "boat"], "Unknown option: --clas"),
        (["audit", "--pictures", "0"], "Must be >= 1"),
        (["evaluate", "--model", "irr"], "did you mean 'iir'?"),
        (["evaluate", "--run", "nothing"], "no run 'nothing' in outputs/runs: syn4seg status lists the runs"),
        (["rn"], 'Did you mean "run"'),
    ],
)
def test_arguments(refused, arguments, words):
    """A misspelt command, option or name is told with what there is."""
    assert words in refused(*arguments)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"experiment: {fold: 1\n  x: [\n", "is no YAML (line 2, column 4: expected ',' or '}', but got ':'): mend it"),
        (b"experiment:\n\tfold: 1\n", "line 2, column 1: found character '\\t'"),
        (b"\xff\xfe\x00", "cannot read the config"),
        (b"- experiment\n", "expected the groups experiment: and execution:, got list"),
        (b"experiment:\n", "experiment: got None, expected keys such as experiment.dataset"),
        (b"experimint: {fold: 1}\n", "unknown key 'experimint': did you mean 'experiment'?"),
        (None, "cannot read the config"),
    ],
)
def test_config_file(refused, tmp_path, text, words):
    """A config file that is broken, no text, a folder or something else is told with the place."""
    path = tmp_path / "mine.yaml"
    path.mkdir() if text is None else path.write_bytes(text)
    assert words in refused("plan", path)


@pytest.mark.parametrize("place", ["file/out", "file"])
def test_unwritable_output(refused, tmp_path, place):
    """An output folder that cannot be made is told with the setting to change."""
    (tmp_path / "file").write_text("")
    words = refused("run", "--set", f"execution.output={tmp_path / place}")
    assert f"cannot write to the output folder {tmp_path / place}" in words
    assert "--set execution.output=FOLDER" in words


@pytest.mark.parametrize("purpose", ["support", "base", "validation"])
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("no mask", "{mask} "), ("half a mask", "mask {mask} cannot be read (image file is truncated"),
        ("foreign id", "{mask}: a mask holds id 99 (1 pixels)"), ("no picture", "{picture} "),
        ("half a picture", "picture {picture} cannot be read (image file is truncated"),
    ],
)  # fmt: skip
def test_damaged_pictures(refused, drawn, purpose, damage, words):
    """A damaged picture or mask ends the run with the file's name before any work, whatever it is for."""
    output, overrides, pairs = drawn
    picture, mask = pairs[purpose]
    damaged = picture if "picture" in damage else mask
    whole = damaged.read_bytes()
    read_supports.cache_clear()
    try:
        if damage.startswith("half"):
            damaged.write_bytes(whole[: len(whole) // 2])
        elif damage == "foreign id":
            labels = read_labels(mask)
            labels = np.where(np.arange(labels.size).reshape(labels.shape) == 7, np.uint8(99), labels)
            write_labels(mask, labels)
        else:
            damaged.unlink()
        told = refused("run", *overrides, inside=output)
    finally:
        damaged.write_bytes(whole)
    assert words.format(mask=mask, picture=picture) in told


@pytest.mark.parametrize(
    ("key", "part", "gone"),
    [
        ("generate.model", "generator", "unet/diffusion_pytorch_model.safetensors"),
        ("generate.model", "generator", "model_index.json"),
        ("refine.model", "sam", "model.safetensors"),
        ("teacher.backbone", "backbone", "model.safetensors"),
    ],
)
def test_missing_weights(refused, tmp_path, key, part, gone):
    """A model's folder without one of its files is told before the run starts."""
    folder = tmp_path / part
    shutil.copytree(resolve("picto", part), folder, ignore=shutil.ignore_patterns("vae"))
    (folder / gone).unlink()
    assert f"no {part} at '{folder}'" in refused("run", "--set", f"experiment.{key}={folder}")


def test_error_in_a_worker(call, drawn, monkeypatch):
    """What only a worker's process notices ends the run as cleanly as what is noticed at once."""
    output, overrides, pairs = drawn
    mask = pairs["base"][1]
    whole = mask.read_bytes()
    monkeypatch.setattr(run_module, "Server", SlowServer)
    monkeypatch.setattr(run_module, "check_pictures", lambda *_: None)
    try:
        mask.write_bytes(whole[: len(whole) // 2])
        more = ["--set", "execution.workers=2", "--set", "experiment.prompts.enabled=false"]
        code, told, complaint = call("run", *overrides, *more)
    finally:
        mask.write_bytes(whole)
    assert (code, told) == (2, "")
    (sentence,) = [line for line in complaint.splitlines() if not line.endswith("%")]
    assert sentence.startswith(f"syn4seg: mask {mask} cannot be read")
    assert not list(output.glob("store/*/*.partial"))
    assert not list(output.glob("store/teacher/*"))


class SlowServer:
    """Stands for Prefect's server while that starts."""

    def __init__(self, *_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def start(self):
        """Start nothing."""

    def wait(self, check):
        """Wait until the check fails."""
        while True:
            check()
            time.sleep(0.05)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"heads": 8}, "was written by another version (unknown or missing: heads): train the model again"),
        ({"blocks": "gone"}, "was written by another version (unknown or missing: blocks)"),
        ({"blocks": -1}, "holds blocks = -1: train the model again"),
        ("half", "is no JSON"),
    ],
)
def test_model_of_another_version(refused, drawn, tmp_path, monkeypatch, change, words):
    """A checkpoint that this version did not write is told with what is odd about its config."""
    from fss_models.gfss import GfssConfig

    monkeypatch.setattr(wiring, "load_backbone", lambda _: None)
    output, overrides, _ = drawn
    run = tmp_path / "old"
    checkpoint = run / "checkpoints" / "teacher"
    checkpoint.mkdir(parents=True)
    (run / "lineage.json").write_text("{}")
    (run / "experiment.yaml").write_text(dump_config(load_config(None, overrides[1::2])))
    settings = {**GfssConfig(backbone="", base=15).model_dump(), "backbone_id": ""}
    if change != "half":
        settings = {k: v for k, v in {**settings, **change}.items() if v != "gone"}
    text = json.dumps(settings)
    (checkpoint / "config.json").write_text(text[: len(text) // 2] if change == "half" else text)
    (checkpoint / "model.safetensors").write_bytes(b"")
    told = refused("evaluate", "--run", run, "--output", output, inside=output)
    assert f"{checkpoint / 'config.json'} {words}" in told


@pytest.fixture
def refused(call, tmp_path, monkeypatch):
    """Run a command line that must be refused: gives its sentence, after a look that nothing was written."""

    def run(*arguments, inside=tmp_path):
        monkeypatch.chdir(tmp_path)
        before = _files(inside)
        code, told, complaint = call(*arguments)
        assert (code, told) == (2, "")
        assert complaint.startswith("syn4seg: ")
        assert complaint.count("\n") == 1
        assert _files(inside) == before
        return complaint

    return run


def _files(folder):
    """List what is below a folder, but for empty locks and pixels counted in pictures that are as they should be."""
    kept = (path for path in folder.rglob("*") if not path.name.startswith("counts-"))
    return sorted(path for path in kept if path.name != ".locks" and path.parent.name != ".locks")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, tiny):
    """An output folder with drawn data, its overrides, and for each purpose the paths of a picture that is read."""
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(data_module, "SUPPORT_POOL", 80)
    output = tmp_path_factory.mktemp("drawn")
    overrides = [*tiny, f"execution.output={output}"]
    config = load_config(None, overrides)
    data = {purpose: folder.pictures for purpose, folder in prepare_data(config).items()}
    support = data["support"].ids[choose_supports(data["support"], split_of(config), 1, 0)["boat"][0]]
    names = {"support": support, "base": "base_000003", "validation": "validation_000003"}
    yield output, [p for o in overrides for p in ("--set", o)], {k: data[k].pair(v) for k, v in names.items()}
    monkeypatch.undo()
