import pytest

from flows.presets import presets
from flows.settings import dump_config, load_config, valid_keys
from fss_models.iir import IIRConfig
from pipeline.config import Config
from pipeline.errors import InputError


def test_defaults_are_those_of_python():
    """No config means picto with the defaults of the settings' classes, and a second round on base pictures."""
    assert load_config(None, ["experiment.second_round.base=false"]) == Config()
    assert load_config().experiment.second_round.base


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


@pytest.mark.parametrize("name", presets())
def test_presets_are_valid_and_short(name):
    """Every preset loads and lists only what differs from the defaults."""
    load_config(name)
    assert len(presets()[name].read_text().splitlines()) < 50


def test_full_size_has_the_published_values():
    """pascal5i trains BAM's base model for its 100 epochs with IIR's decoder, none of it at picto's size."""
    experiment = load_config("pascal5i_fold0").experiment
    train, options = experiment.train, experiment.teacher.options
    assert train.base_steps == pytest.approx(100 * 5953 / train.batch, rel=1e-3)
    assert (train.optimiser, train.schedule, train.lr, train.min_pixels) == ("sgd", "poly", 2.5e-3, 2048)
    assert (train.augment, train.scale) == ("recipe", (0.5, 2.0))
    assert (options.base_dim, options.dim, options.blocks) == (512, 256, 6)


@pytest.mark.parametrize(
    ("name", "side", "scale", "batch", "episodes", "options"),
    [("pascal_iir", 473, (0.9, 1.1), 8, 1000, {"base": 15}), ("coco_iir", 641, (0.8, 1.25), 24, 4000, {})],
)
def test_presets_of_published_fss(name, side, scale, batch, episodes, options):
    """IIR's settings stand in the presets, and its decoder takes the options."""
    fss = load_config(name).experiment.fss
    assert (fss.side, fss.stride, fss.min_pixels, fss.first) == (side, 32, 2048, "picture")
    assert (fss.augment, fss.scale, fss.batch * fss.accumulate) == ("recipe", scale, batch)
    assert (fss.optimiser, fss.schedule, fss.lr, fss.clip, fss.precision) == ("sgd", "poly", 0.05, 0, "bf16")
    assert (fss.episodes, fss.seeds, fss.multiscale) == (episodes, 5, True)
    assert fss.options.model_dump() == options
    assert IIRConfig(**options).blocks == 6


def test_epochs_of_pascal_are_steps():
    """300 epochs of the 4,208 pictures without a class of fold 0."""
    experiment = load_config("pascal_iir").experiment
    assert experiment.fss.steps == 300 * 4208 // experiment.fss.batch
    assert experiment.prepare.steps == 200 * 4208 // experiment.prepare.batch


@pytest.mark.parametrize("group", ["train", "fss"])
@pytest.mark.parametrize("scale", ["[0, 1]", "[2, 0.5]"])
def test_scales_are_checked(group, scale):
    """An enlargement from nothing, or from more to less, is refused in every training before it starts."""
    with pytest.raises(InputError, match=rf"experiment\.{group}\.scale: got .*, expected a least and a greatest"):
        load_config(None, [f"experiment.{group}.scale={scale}"])


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("experiment.teacher.options.widht=3", "unknown key 'experiment.teacher.options.widht'"),
        ("experiment.teacher.options.dim=9", "multiple of 8"),
        ("experiment.model.options.dim=64", "did you mean 'experiment.teacher.options.dim'"),
    ],
)
def test_options_of_the_network_are_checked(key, told):
    """What the network does not know, or what a final model takes from its teacher, is refused in one sentence."""
    with pytest.raises(InputError, match=told) as error:
        load_config(None, [key])
    assert "\n" not in str(error.value)


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
