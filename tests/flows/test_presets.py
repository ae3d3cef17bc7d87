"""Presets, and configs that extend presets or each other."""

import pytest
import yaml

from flows.console import name_of
from flows.presets import PRESETS, presets
from flows.settings import dump_config, load_config
from pipeline.classes import ClassSplit
from pipeline.errors import InputError

FULL_SIZE = {f"{part}_fold{fold}{more}": (part, fold, 5 if more else 1)
             for part in ("pascal5i", "coco20i") for fold in range(4) for more in ("", "_5shot")}  # fmt: skip


def write(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)


def test_every_file_is_a_preset_of_its_own():
    """A name means one file; what lies deeper belongs to a preset."""
    found = [path for folder in ("", "parts", "episodes") for path in (PRESETS / folder).glob("*.yaml")]
    assert sorted(presets().values()) == sorted(found)
    rest = {str(path.relative_to(PRESETS)) for path in PRESETS.rglob("*.yaml")} - {
        str(path.relative_to(PRESETS)) for path in found
    }
    assert rest == {"garden/garden.yaml"}


@pytest.mark.parametrize("name", FULL_SIZE)
def test_folds_and_shots_of_full_size(name):
    """Each file is its fold with its shots, and says its classes; all else is the same within a data set."""
    part, fold, shots = FULL_SIZE[name]
    config = load_config(name)
    assert config == load_config(part, [f"experiment.fold={fold}", f"experiment.shots={shots}"])
    assert config.experiment.generate.model == "stabilityai/stable-diffusion-3.5-large"
    split = ClassSplit.of(config.experiment.dataset, fold)
    if shots == 1:
        assert ", ".join(split.novel[:3]) in presets()[name].read_text()


def test_generators_and_sams_are_stacked():
    """Names joined by + go over each other from left to right, and nothing else changes."""
    config, plain = load_config("pascal5i_fold1+sd15+sam2_large"), load_config("pascal5i_fold1")
    assert config.experiment.generate == load_config("sd15").experiment.generate
    assert config.experiment.refine.model == "facebook/sam2.1-hiera-large"
    changed = {"generate": plain.experiment.generate, "refine": plain.experiment.refine}
    assert config.experiment.model_copy(update=changed) == plain.experiment
    assert name_of("pascal5i_fold1+sd15") == "pascal5i_fold1+sd15"
    assert name_of("here/mine.yaml+sd15") == "mine+sd15"


@pytest.mark.parametrize("name", ["sd15", "lcm"])
def test_what_was_not_tried_is_said(name, root):
    """The limit of the bank is that of pooled vectors, which SD 1.x has none of; nobody tried it there."""
    limit = str(load_config(f"pascal5i+{name}").experiment.prompts.max_similarity)
    for text in (presets()[name].read_text(), (root / "docs" / "generators.md").read_text()):
        (said,) = [part for part in " ".join(text.replace("#", " ").split()).split(". ") if "not tried" in part]
        assert limit in said


def test_a_file_extends_presets_and_files_beside_it(tmp_path, monkeypatch):
    """Later ones go over earlier ones, the file over all, and what comes out stands alone."""
    (tmp_path / "sub").mkdir()
    write(tmp_path, base="experiment: {seed: 1, filter: {min_similarity: 0.1, min_area: 0.2}}\n")
    write(tmp_path / "sub", mine="extends: [pascal5i_fold2, ../base.yaml]\nexperiment: {filter: {min_area: 0.3}}\n")
    monkeypatch.chdir(tmp_path)
    config = load_config("sub/mine.yaml", ["experiment.shots=5"])
    experiment = config.experiment
    assert (experiment.fold, experiment.seed, experiment.shots, experiment.dataset) == (2, 1, 5, "pascal")
    assert (experiment.filter.min_similarity, experiment.filter.min_area, experiment.filter.part) == (0.1, 0.3, 1)
    assert "extends" not in dump_config(config)
    write(tmp_path, again=dump_config(config))
    assert load_config("again.yaml") == config
    assert load_config("sub/mine.yaml+sd15").experiment.generate.steps == 50


def test_own_classes_are_found_beside_the_file_that_names_them(tmp_path, monkeypatch, root):
    """The preset's data set is the one of its page; a file that extends it names another one beside itself."""
    assert load_config("own_classes").experiment.dataset == str(PRESETS / "garden" / "garden.yaml")
    page = (root / "docs" / "own_data.md").read_text()
    shown = page.split("# garden/garden.yaml\n")[1].split("```")[0]
    data = (PRESETS / "garden" / "garden.yaml").read_text()
    assert yaml.safe_load(data) == yaml.safe_load(shown)
    write(tmp_path, pets=data, mine="extends: own_classes\nexperiment: {dataset: pets.yaml}\n")
    monkeypatch.chdir("/")
    assert load_config(str(tmp_path / "mine.yaml")).experiment.dataset == str(tmp_path / "pets.yaml")


@pytest.mark.parametrize(
    ("mine", "words"),
    [
        ("extends: mine.yaml", r"mine\.yaml extends itself \(mine\.yaml > mine\.yaml\): take one of them out"),
        ("extends: other.yaml", r"extends itself \(mine\.yaml > other\.yaml > mine\.yaml\)"),
        ("extends: [pascal5i, sd51]", r"config 'sd51' that .*mine\.yaml extends: .* did you mean 'sd15'"),
        ("extends: nowhere.yaml", r"cannot read the config '.*nowhere\.yaml' that .*mine\.yaml extends"),
        ("extends: {sd15: 1}", r"extends: got {'sd15': 1}, expected a name or a list such as \[pascal5i, sd15\]"),
        ("extends: [1]", r"extends: got \[1\], expected a name or a list"),
        ("extends: picto\nexperiment:", "experiment: got None, expected keys such as"),
        ("extends: picto\nexperimint: {}", "unknown key 'experimint'"),
    ],
)
def test_what_cannot_be_extended_is_told(tmp_path, mine, words):
    """Cycles, missing files, wrong forms: one sentence with the file."""
    write(tmp_path, mine=f"{mine}\n", other="extends: mine.yaml\n")
    with pytest.raises(InputError, match=words) as error:
        load_config(str(tmp_path / "mine.yaml"))
    assert "\n" not in str(error.value)
