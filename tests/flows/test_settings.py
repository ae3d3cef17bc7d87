import pytest
import yaml

from flows.settings import PRESETS, dump_config, load_config, valid_keys
from pipeline.config import Config
from pipeline.errors import InputError


def test_defaults_are_those_of_python():
    """No config means picto with the defaults of the settings' classes."""
    assert load_config() == Config()


def test_overrides_beat_the_file(tmp_path):
    """--set wins over YAML, YAML over the defaults."""
    path = tmp_path / "mine.yaml"
    path.write_text("experiment: {fold: 2, filter: {min_similarity: 0.7}}\n")
    config = load_config(str(path), ["experiment.fold=3", "execution.workers=2"])
    assert (config.experiment.fold, config.experiment.filter.min_similarity, config.execution.workers) == (3, 0.7, 2)


def test_resolved_config_reads_back(tmp_path):
    """What a run writes as experiment.yaml is the same config again."""
    config = load_config(None, ["experiment.prompts.classes=[boat, car]", "experiment.refine.band=0.02"])
    (tmp_path / "experiment.yaml").write_text(dump_config(config))
    assert load_config(str(tmp_path / "experiment.yaml")) == config


@pytest.mark.parametrize("path", sorted(PRESETS.glob("*.yaml")), ids=lambda p: p.stem)
def test_presets_are_valid_and_short(path):
    """Every preset loads and lists only what differs from the defaults."""
    load_config(path.stem)
    assert len(path.read_text().splitlines()) < 40


def test_every_leaf_is_described():
    """Each number or name in a config says what it is, or its name and range say it all."""
    assert "experiment.filter.min_similarity" in valid_keys()
    undescribed = []
    for key in valid_keys():
        model = Config
        *groups, last = key.split(".")
        for group in groups:
            model = model.model_fields[group].annotation
        field = model.model_fields[last]
        if not hasattr(field.annotation, "model_fields") and not field.description:
            undescribed.append(last)
    assert set(undescribed) <= {"fold", "seed", "enabled", "name"}


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("experiment.fitler.min_similarity=1", "unknown key 'experiment.fitler': did you mean 'experiment.filter'?"),
        ("experiment.filter.min_similarty=1", "did you mean 'experiment.filter.min_similarity'?"),
        ("fold=1", "unknown key 'fold': did you mean 'experiment.fold'?"),
        ("experiment.fold=7", "fold 7 of picto does not exist: choose 0, 1, 2 or 3"),
        ("experiment.filter.min_similarity=2.0", "got 2.0, expected a number from -1 to 1"),
        ("experiment.fold=two", "experiment.fold: got 'two', expected type integer"),
        ("experiment.dataset=pikto", "unknown dataset 'pikto': expected one of picto, pascal, coco"),
        ("experiment.prompts.classes=[baot]", "did you mean 'boat'?"),
        ("experiment.prompts.classes=[tree]", "'tree' is no novel class of fold 0"),
        ("experiment.model.name=irr", "experiment.model.name: got 'irr', expected 'iir'"),
        ("experiment", "expected key=value"),
        ("experiment.fold.x=1", "experiment.fold"),
        ("experiment.fold=[", "is no YAML"),
    ],
)
def test_wrong_values_are_one_sentence(override, sentence):
    """What came, what was expected and the nearest valid name."""
    with pytest.raises(InputError) as error:
        load_config(None, [override])
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_file_names_the_presets(tmp_path):
    """A config that cannot be read is answered with what could be."""
    with pytest.raises(InputError, match=r"pascal_sd35.*did you mean 'picto'"):
        load_config("pict")
    (tmp_path / "list.yaml").write_text(yaml.safe_dump([1, 2]))
    with pytest.raises(InputError, match="expected the groups"):
        load_config(str(tmp_path / "list.yaml"))
