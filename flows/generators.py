"""The generator that a config names: where it is, whether its settings fit it, how many pictures it draws at once."""

from __future__ import annotations

import json
import multiprocessing
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path

from flows.data import store_of
from flows.known import known
from flows.steps import SHARD
from flows.weights import generator_id, pinned, resolve, snapshot_of
from flows.wiring import device_of, generator_of
from pipeline.config import AUTO, Config, GeneratorExecution
from pipeline.errors import InputError
from pipeline.hashing import hash_json

ON_CPU = 8
"""Pictures at once on a CPU, where more are not quicker."""

_LATER = "looked at once the model is downloaded"
_PLAIN = {"model", "steps", "guidance", "images_per_prompt", "enabled"}


def tell_generator(config: Config) -> str:
    """Say in one line what of the settings will be applied and what the pipeline lacks; loads no weights.

    Raises:
        InputError: a setting does not fit the pipeline, the device or what is installed.
    """
    settings = config.experiment.generate
    generator_id(settings)
    if settings.model == "picto" and _is_plain(config):
        return "picto's own, as it is"
    folder = _folder_here(config)
    if folder is None:
        return tell_options(config)
    from pipeline.backends.diffusion_family import Family

    told = Family.of(folder).tell(settings, config.execution.generator, device_of(config))
    batch = "a batch that the first run finds out" if settings.batch == AUTO else f"batches of {settings.batch}"
    return f"{told}; {batch}"


def tell_options(config: Config) -> str:
    """Say in one line whether the pipeline takes the settings, as far as its class tells; needs no weights.

    Raises:
        InputError: it does not take one of them.
    """
    settings, folder = config.experiment.generate, None
    with suppress(InputError):  # a name that stands for nothing is another row of check
        folder = _folder_here(config)
    model = known(settings.model, "generator")
    kind = model.pipeline if model else None
    if folder is None and kind is None:
        return _LATER
    told = "steps and guidance alone"
    if not _is_plain(config):
        from pipeline.backends.diffusion_family import Family

        family = Family.of(folder) if folder else Family.named(str(kind), Path(settings.model))
        family.check_names(settings)
        told = f"{family.kind.__name__} takes them"
    return told if folder else f"{told}; all else is {_LATER}"


def check_generator(config: Config) -> None:
    """Look that the settings fit the generator; those of a plain config do, and looking takes seconds.

    Raises:
        InputError: a setting does not fit the pipeline, the device or what is installed.
    """
    if not _is_plain(config):
        tell_generator(config)


def known_batch(config: Config) -> Config:
    """Give a config whose batch is a number: the one that an earlier run found out, or `ON_CPU` where none did."""
    if config.experiment.generate.batch != AUTO:
        return config
    device = device_of(config)
    found = None if device == "cpu" else _read_batches(config).get(_batch_key(config, _card(device)))
    return _with_batch(config, found or ON_CPU)


def settle_batch(config: Config) -> Config:
    """Give a config whose batch is a number, which is found out once for an output folder where it is auto.

    On a GPU, batches of 1, 2, 4, ... pictures are drawn for two steps in a process of its own until memory is short.
    The number goes into the run's ``experiment.yaml`` and into ``batches.json`` of the output folder, so that the same
    command goes on with the same shards.

    Raises:
        InputError: the generator cannot be loaded.
        OutOfMemory: not even one picture fits.
    """
    if config.experiment.generate.batch != AUTO:
        return config
    device = device_of(config)
    if device == "cpu" or not config.experiment.generate.enabled:
        return _with_batch(config, ON_CPU)
    return _with_batch(config, find_batch(config, _card(device)))


def find_batch(config: Config, card: str, pool: Executor | None = None) -> int:
    """Give the largest batch that fits on the device, a power of two no larger than a shard; found out once a card.

    Args:
        config: of the run.
        card: names the kind of device.
        pool: where it is tried; None: a process of its own, so that nothing of it stays in memory.
    """
    key, path = _batch_key(config, card), _batches_file(config)
    with store_of(config).lock("batches"):
        known = _read_batches(config)
        if key not in known:
            with pool or ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                known[key] = pool.submit(_try_batches, config).result()
            fresh = path.with_suffix(".new")
            fresh.write_text(json.dumps(known, indent=1))
            fresh.replace(path)
    return known[key]


def _try_batches(config: Config) -> int:
    return generator_of(config).largest_batch(SHARD)


def _is_plain(config: Config) -> bool:
    chosen = set(config.experiment.generate.recipe())
    return chosen == _PLAIN and config.execution.generator == GeneratorExecution()


def _folder_here(config: Config) -> Path | None:
    """Give the generator's folder where it is on this machine, the hub's cache included."""
    settings = pinned(config.experiment.generate)
    place = Path(resolve(settings.model, "generator"))
    return place if place.exists() else snapshot_of(settings.model, "generator", settings.revision)


def _with_batch(config: Config, batch: int) -> Config:
    generate = config.experiment.generate.model_copy(update={"batch": batch})
    return config.with_experiment(generate=generate)


def _batches_file(config: Config) -> Path:
    return config.execution.folder / "batches.json"


def _read_batches(config: Config) -> dict[str, int]:
    try:
        return dict(json.loads(_batches_file(config).read_text()))
    except (OSError, ValueError):
        return {}


def _batch_key(config: Config, card: str) -> str:
    settings = config.experiment.generate
    speed = config.execution.generator.model_dump(mode="json")
    return hash_json([generator_id(settings), settings.recipe("batch"), speed, card])


def _card(device: str) -> str:
    import torch

    return torch.cuda.get_device_name(device)
