"""The training loop that all models share: accelerate, schedule, accumulation, average weights, resume at any step.

Every draw belongs to (seed, number of the micro-batch), so that a training that was killed and resumed gives the same
weights, wherever it was killed.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from multiprocessing.util import Finalize
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from fss_models.fss import trainable_state
from fss_models.layers import poly_factor, rate_factor
from fss_models.optimiser import Optimiser
from fss_models.randomness import seeded
from pipeline.config import LoopSettings
from pipeline.errors import InputError

if TYPE_CHECKING:
    from accelerate import Accelerator

Progress = Callable[[int, int, dict[str, float]], None]

SAVE_EVERY = 50


@dataclass(frozen=True)
class Place:
    """Where and how a training runs: nothing here changes its result on equal hardware.

    Attributes:
        folder: for checkpoints and ``<name>.jsonl``; None keeps nothing.
        progress: told (step, total, losses and scores) after every step.
        device: of the model.
        readers: processes that prepare batches ahead; 0 prepares them in this one.
        tensorboard: folder of TensorBoard's event files; None writes none.
    """

    folder: Path | None = None
    progress: Progress | None = None
    device: str = "cpu"
    readers: int = 0
    tensorboard: Path | None = None

    def part(self, done: int, total: int) -> Place:
        """Give the place of a part of a training: progress counts from ``done`` of ``total``."""
        if self.progress is None:
            return self
        whole = self.progress
        return replace(self, progress=lambda step, _, losses: whole(done + step, total, losses))


@dataclass(frozen=True)
class Choice:
    """Which of the weights on the way are kept: those with the highest score.

    Attributes:
        every: steps from one look to the next; the last step has one too.
        score: mIoU of the model as it is, in 0..1; must not depend on anything but its weights.
    """

    every: int
    score: Callable[[], float]


@dataclass
class _State:
    """What a checkpoint holds beside the weights."""

    step: int = 0
    average: dict[str, Tensor] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_score: float = -1.0


def train_steps(
    module: nn.Module, model: nn.Module, batches: Callable[[int], Any], steps: int, lr: float,
    settings: LoopSettings, *, seed: int, place: Place, name: str, choice: Choice | None = None,
    apart: tuple[str, float] | None = None,
) -> None:
    """Train for some steps, from the last checkpoint where there is one.

    With W processes (``accelerate launch``) and A batches a step, a step sees the micro-batches
    ``step * A * W + 0 .. A * W - 1``: process r takes those with remainder r.

    Args:
        module: called as ``module(batch, step)``, gives the losses; "loss" is what to minimise.
        model: whose weights are trained, and kept but for those of its frozen backbone; a part of ``module``.
        batches: gives the micro-batch of a number; must not depend on anything else.
        steps: how many.
        lr: peak rate.
        settings: optimiser, schedule, precision, accumulation, clipping, average.
        seed: of the dropout.
        place: see `Place`.
        name: of the checkpoint and the log.
        choice: which weights to keep; None keeps the last ones.
        apart: which weights have a rate of their own, see `Optimiser`.

    Raises:
        InputError: the precision or the log that was asked for is not to be had here.
    """
    accelerator = _accelerator(settings.precision, place)
    module.to(accelerator.device)  # before the optimiser takes views of the weights
    optimiser = Optimiser(model.named_parameters(), lr, plain=("classifier",), kind=settings.optimiser, apart=apart)
    scaler = accelerator.scaler
    wrapped = accelerator.prepare(module)
    checkpoint = place.folder / f"{name}.ckpt" if place.folder else None
    state = _resumed(checkpoint, model, optimiser, scaler, accelerator.device) if checkpoint else _State()
    log = _Log(place, name, state.step, main=accelerator.is_main_process)
    each, rank = settings.accumulate * accelerator.num_processes, accelerator.process_index
    own = [s * each + i for s in range(state.step, steps) for i in range(rank, each, accelerator.num_processes)]
    stream = iter(_Stream(batches, own, place.readers))
    wrapped.train()
    for step in range(state.step, steps):
        told: dict[str, float] = {}
        for part in range(settings.accumulate):
            index, batch = next(stream)
            last = part + 1 == settings.accumulate
            with _sync(accelerator, wrapped, last), seeded(seed, name, "dropout", index):
                losses = wrapped(batch.to(accelerator.device), step)
                accelerator.backward(losses["loss"] / settings.accumulate)
            for key, value in losses.items():
                told[key] = told.get(key, 0.0) + value.item() / settings.accumulate
        factor = poly_factor if settings.schedule == "poly" else rate_factor
        _update(optimiser, scaler, factor(step, steps), settings.clip)
        state.step = step + 1
        if settings.ema:
            _average(state.average, trainable_state(model), settings.ema)
        if choice and (state.step % choice.every == 0 or state.step == steps):
            told["miou"] = _look(model, state, choice)
            wrapped.train()
        log.write(state.step, steps, {key: round(value, 5) for key, value in told.items()})
        if checkpoint and accelerator.is_main_process and (state.step % SAVE_EVERY == 0 or state.step == steps):
            _save(checkpoint, model, optimiser, scaler, state)
    log.close()
    if kept := state.best or state.average:
        model.load_state_dict(kept, strict=False)
    module.eval()


class _Stream:
    """The batches of some numbers in order, with their numbers, prepared ahead by other processes if wished."""

    def __init__(self, batches: Callable[[int], Any], numbers: list[int], readers: int) -> None:
        self._batches, self._numbers, self._readers = batches, numbers, readers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, place: int) -> tuple[int, Any]:
        return self._numbers[place], self._batches(self._numbers[place])

    def __iter__(self) -> Any:
        # a generator of its own, since the loader draws from the global one else
        own = torch.Generator()
        return iter(
            DataLoader(
                self, None, num_workers=self._readers, generator=own, collate_fn=_as_it_is,
                worker_init_fn=_leave_quietly if self._readers else None,
            )
        )


def _as_it_is(item: Any) -> Any:
    return item


def _leave_quietly(_: int) -> None:
    """Let a reader end without the exit calls that it inherited by the fork.

    Those of a process that ran a Prefect flow fail in a child, whose exit code 1 then looks like a lost worker. What
    goes wrong while batches are prepared comes through the queue all the same.
    """
    Finalize(None, os._exit, args=(0,), exitpriority=-1000)  # after the queues, before the threads' exit calls


class _Log:
    """Tells losses and scores: a line of JSON a step, TensorBoard, and who watches."""

    def __init__(self, place: Place, name: str, start: int, *, main: bool) -> None:
        self._progress = place.progress if main else None
        self._path = place.folder / f"{name}.jsonl" if place.folder and main else None
        if self._path:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lines = self._path.read_text().splitlines(keepends=True)[:start] if self._path.exists() else []
            self._path.write_text("".join(lines))
        self._board = _board(place.tensorboard / name, start) if place.tensorboard and main else None

    def write(self, step: int, total: int, told: dict[str, float]) -> None:
        """Tell what a step gave."""
        if self._path:
            with self._path.open("a") as file:
                file.write(json.dumps({"step": step, **told}) + "\n")
        for key, value in told.items() if self._board else ():
            self._board.add_scalar(key, value, step)
        if self._progress:
            self._progress(step, total, told)

    def close(self) -> None:
        """Finish the event file."""
        if self._board:
            self._board.close()


def _board(folder: Path, start: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError("TensorBoard is not installed: pip install tensorboard, or leave its log out") from error
    return SummaryWriter(str(folder), purge_step=start)


def _accelerator(precision: str, place: Place) -> Accelerator:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedDataParallelKwargs

    if precision == "fp16" and place.device == "cpu":
        raise InputError("precision fp16 is not to be had on a CPU: choose no, or bf16 on a processor that knows it")
    if torch.device(place.device).index is not None:
        torch.cuda.set_device(place.device)  # the device that accelerate takes
    # a process may train several models, each with its own precision and device
    AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    # some losses leave parts of a network out, such as the decoder in most steps of a GFSS model
    parallel = DistributedDataParallelKwargs(find_unused_parameters=True)
    accelerator = Accelerator(cpu=place.device == "cpu", mixed_precision=precision, kwargs_handlers=[parallel])
    if accelerator.num_processes > 1:
        atexit.register(_leave_group)
    return accelerator


def _leave_group() -> None:
    """Leave the process group while Python is whole: threads of gloo that outlive it abort the process now and then."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _sync(accelerator: Accelerator, wrapped: nn.Module, last: bool) -> Any:
    """Exchange gradients between processes with the last part of a step only."""
    return contextlib.nullcontext() if last else accelerator.no_sync(wrapped)


def _update(optimiser: Optimiser, scaler: Any, factor: float, clip: float) -> None:
    """Take one step with clipped gradients; half-precision ones that overflowed are skipped."""
    if scaler:
        scaler.unscale_(optimiser)
    if clip:
        nn.utils.clip_grad_norm_(optimiser.parameters, clip)
    if scaler:
        scaler.step(optimiser, factor)
        scaler.update()
    else:
        optimiser.step(factor)
    optimiser.clear()


def _average(average: dict[str, Tensor], weights: dict[str, Tensor], decay: float) -> None:
    """Move the average towards the weights; counters are taken as they are."""
    for key, value in weights.items():
        if key in average and value.is_floating_point():
            average[key].lerp_(value, 1 - decay)
        else:
            average[key] = value.detach().clone()


def _look(model: nn.Module, state: _State, choice: Choice) -> float:
    """Score the weights, averaged ones where there are any, and keep them if they are the best so far."""
    own = {key: value.clone() for key, value in trainable_state(model).items()}
    if state.average:
        model.load_state_dict(state.average, strict=False)
    model.eval()
    score = choice.score()
    if score > state.best_score:
        state.best_score = score
        state.best = {key: value.clone() for key, value in trainable_state(model).items()}
    model.load_state_dict(own, strict=False)
    return score


def _save(path: Path, model: nn.Module, optimiser: Optimiser, scaler: Any, state: _State) -> None:
    partial = path.with_suffix(".partial")
    torch.save(
        {
            "model": trainable_state(model), "optimiser": optimiser.state_dict(), "step": state.step,
            "scaler": scaler.state_dict() if scaler else {}, "average": state.average, "best": state.best,
            "best_score": state.best_score,
        },
        partial,
    )
    partial.replace(path)


def _resumed(path: Path, model: nn.Module, optimiser: Optimiser, scaler: Any, device: torch.device) -> _State:
    """Restore a checkpoint where there is one, and say what it holds beside the weights."""
    if not path.exists():
        return _State()
    saved = torch.load(path, map_location=device, weights_only=True)
    model.load_state_dict(saved["model"], strict=False)
    optimiser.load_state_dict(saved["optimiser"])
    if scaler:
        scaler.load_state_dict(saved["scaler"])
    return _State(saved["step"], saved["average"], saved["best"], saved["best_score"])
