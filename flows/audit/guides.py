"""What a class's first labels come from: the GFSS teacher, or an FSS model where masks are of one class each."""

from __future__ import annotations

from dataclasses import dataclass, replace

from flows import wiring
from flows.data import check_base, dataset_of, prepare_data, read_supports, split_of, store_of
from flows.fss import train_fss_stage
from flows.learning import train_teacher_stage
from pipeline.classes import DATASETS as LABEL_MAPS
from pipeline.classes import ClassSplit
from pipeline.config import Config
from pipeline.store import StageRecord
from pipeline.types import Floats, Support, Teacher


@dataclass(frozen=True, eq=False)
class Guide:
    """What the stages need to know of a class.

    Attributes:
        teacher: makes first labels and features.
        prototype: of the class, unit vector (C,).
        split: the classes that the teacher tells apart.
    """

    teacher: Teacher
    prototype: Floats
    split: ClassSplit


def has_maps(config: Config) -> bool:
    """Say whether masks are label maps, of which a GFSS teacher can be trained."""
    return config.experiment.dataset in LABEL_MAPS or dataset_of(config).maps


def train_guide(config: Config) -> StageRecord:
    """Train what makes the first labels, where it is not there yet.

    Raises:
        InputError: the data set has no base classes to train on.
    """
    check_base(config)
    data = prepare_data(config)
    return train_teacher_stage(config, data) if has_maps(config) else train_fss_stage(config, data)


def guide_of(config: Config, record: StageRecord, name: str) -> Guide:
    """Give what guides the stages for a class.

    Raises:
        InputError: the masks of its supports are empty.
    """
    split, folder = split_of(config), store_of(config).folder(record)
    if has_maps(config):
        return Guide(wiring.teacher_of(config, record), wiring.prototypes_of(config, record)[name], split)
    from fss_models.fss import FssNetwork
    from fss_models.fss_teacher import FssTeacher

    support, experiment = support_of(config, name), config.experiment
    backbone = wiring.load_backbone(wiring.backbone_path(experiment.model.backbone), experiment.fss.stride)
    model = FssNetwork.load(folder, backbone).to(wiring.device_of(config))
    teacher = FssTeacher(model, support, record.content)
    return Guide(teacher, wiring.prototype_of(config, teacher, support), replace(split, base=(), novel=(name,)))


def support_of(config: Config, name: str) -> Support:
    """Give the supports of a class."""
    return next(support for support in read_supports(config) if support.name == name)
