"""A backbone prepared for the base classes of a data set, as a stage of the store and as a folder to use."""

from __future__ import annotations

import shutil
from pathlib import Path

from rich.console import Console

from flows import steps, wiring
from flows.data import check_base, check_maps, labelled, prepare_data, split_of, store_of
from flows.devices import check_device
from flows.learning import computed
from flows.progress import Board, LossTable, set_reporter, tell, tell_losses
from flows.run import check_own, check_writable
from pipeline.config import Config
from pipeline.errors import InputError
from pipeline.hashing import hash_files, list_files
from pipeline.store import Draft


def prepare(config: Config, to: Path, console: Console) -> Path:
    """Prepare ``experiment.model.backbone`` on the base classes, and copy the outcome to a folder.

    It sees the base pictures that show not a pixel of a novel class. Killed and started again, it goes on from its
    last checkpoint.

    Args:
        config: of the data set, fold and backbone; ``experiment.prepare`` says how long and how.
        to: folder for the transformers classifier and the base learner beside it.
        console: shows the progress.

    Returns:
        The folder.

    Raises:
        InputError: something that the user can mend.
    """
    check_device(config.execution.device)
    check_base(config)
    check_maps(config)
    check_own(config)
    check_writable(config)
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise InputError(f"{to} is there already: name a folder that is not, or delete it")
    experiment, settings = config.experiment, config.experiment.prepare
    source = wiring.backbone_path(experiment.model.backbone)
    with Board({"data": 3, "prepare": 1}, console) as board, LossTable(console):
        set_reporter(board.show)
        data = prepare_data(config, ("base",))
        step = steps.prepare_step(config, data, source)

        def progress(done: int, total: int, loss: float) -> None:
            tell(step.stage, step.shard, 0.99 * done / total)
            tell_losses(step.stage, done, total, {"loss": loss})

        def work(draft: Draft) -> None:
            from fss_models.episodes import without_classes
            from fss_models.preparation import BaseBatches, prepare_backbone

            split = split_of(config)
            pictures = without_classes(labelled(config, data["base"]), split.novel_ids)
            if not len(pictures):
                raise InputError("every base picture shows a novel class: choose other pictures")
            side = settings.side or max(pictures[0][1].shape)
            prepare_backbone(
                source, BaseBatches(pictures, settings.batch, side, experiment.seed), len(split.base), draft.folder,
                settings, seed=experiment.seed, device=wiring.device_of(config), progress=progress,
                scratch=draft.scratch,
            )  # fmt: skip
            weights = sorted(path.name for path in draft.folder.glob("*.safetensors"))
            draft.content = hash_files(draft.folder, weights)

        record = computed(config, step, work, together=False)
        set_reporter(None)
    to.mkdir(parents=True, exist_ok=True)
    for name in list_files(store_of(config).folder(record)):
        if name != "record.json":
            shutil.copyfile(store_of(config).folder(record) / name, to / name)
    return to
