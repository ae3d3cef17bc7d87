"""A final learner that is another model than the teacher: what it starts from, and what its shards are named by."""

import pytest

from flows.settings import load_config
from flows.steps import _network, start_of
from flows.weights import gfss_text_of
from flows.wiring import teacher_options
from pipeline.errors import InputError


def start(*overrides, preset=None):
    config = load_config(preset, [f"experiment.{o}" for o in overrides])
    found = start_of(config)
    return None if found is config else found.experiment.teacher


def test_the_teachers_own_kind_starts_from_it():
    """The same network takes over the teacher's weights, whatever else the final training sets."""
    assert start() is None
    assert start(preset="pascal5i_fold0") is None
    assert start("model.options.feature_dropout=0.3", "teacher.options.dim=16") is None
    same = "options.few_shot={directional_dropout: false}"
    assert start(f"teacher.{same}", f"model.{same}") is None
    assert start(f"teacher.{same}") is None
    assert start("teacher.name=i2r", "model.name=i2r") is None


def test_another_network_starts_from_one_of_its_own_kind():
    """It has its own name, backbone and options, and the teacher's widths where both know them."""
    found = start("model.name=i2r", preset="pascal5i_fold0")
    assert (found.name, found.backbone, found.options.dim, found.options.base_dim) == (
        "i2r", "microsoft/resnet-50", 256, 512,
    )  # fmt: skip
    found = start("model.backbone=elsewhere", "teacher.options.blocks=2")
    assert (found.name, found.backbone, found.options.blocks) == ("iir", "elsewhere", 2)
    found = start("teacher.options.few_shot={dropout: 0.2}", "model.options.few_shot={directional_dropout: false}")
    assert found.options.few_shot.model_dump() == {"dropout": 0.2, "directional_dropout": False}
    found = start("teacher.options.few_shot={dropout: 0.2}", "model.name=i2r")
    assert found.options.few_shot.model_dump() == {}


def test_only_options_that_are_set_name_a_shard():
    """Without options of the few-shot part a shard is named as it was before there were any."""
    assert _network(load_config().experiment.model) == {"name": "iir", "backbone": "picto"}
    few_shot = {"few_shot": {"dropout": 0.2}}
    config = load_config(None, ["experiment.model.options.few_shot.dropout=0.2"])
    assert _network(config.experiment.model) == {"name": "iir", "backbone": "picto", **few_shot}


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("experiment.model.options.few_shot=3", "expected keys such as experiment.model.options.few_shot.NAME"),
        ("experiment.model.options.dim=8", "did you mean 'experiment.teacher.options.dim'?"),
    ],
)
def test_bad_options_are_told(override, sentence):
    """An option in the wrong place is told in a sentence."""
    with pytest.raises(InputError) as told:
        load_config(None, [override])
    assert sentence in str(told.value)


def test_names_are_read_by_what_the_few_shot_part_names():
    """On picto by its own encoder; elsewhere it must be named; models that read no names have none."""
    config = start_of(load_config(None, ["experiment.model.name=symnet"]))
    assert teacher_options(config)["few_shot"]["text"].endswith("generator")
    other = "experiment.model.options.few_shot.text=none"
    assert gfss_text_of(start_of(load_config(None, ["experiment.model.name=symnet", other]))) == "none"
    assert gfss_text_of(load_config()) is None
    with pytest.raises(InputError, match=r"set experiment\.\{teacher,model\}\.options\.few_shot\.text"):
        teacher_options(start_of(load_config("pascal5i_fold0", ["experiment.model.name=symnet"])))


def test_another_family_takes_the_base_learners_width_alone():
    """IIR's widths are no options of other models; theirs are in few_shot."""
    found = start("model.name=rifenet", "model.options.few_shot.dim=32", preset="pascal5i_fold0")
    assert found.options.model_dump(exclude_none=True) == {"base_dim": 512, "few_shot": {"dim": 32}}
