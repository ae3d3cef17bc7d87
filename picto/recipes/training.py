"""What every recipe shares: optimiser, schedule, EMA, resumable checkpoints and a log."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import nn

WEIGHTS = Path(__file__).parents[1] / "weights"
LOGS = Path(__file__).parents[1] / "logs"
CHECKPOINTS = Path(__file__).parents[2] / "outputs" / "picto-weights"


class MuonAdamW:
    """Muon for hidden matrices and convolutions, AdamW for everything else.

    ``torch.optim.Muon`` takes matrices only; a convolution is handed to it as the view (out, in * kh * kw). The views
    share the parameters' storage, so a model must not be moved or cast once its optimiser stands.

    Args:
        named: parameters with their names.
        lr: peak rate of Muon.
        lr_rest: peak rate of AdamW.
        rest: parts of names that go to AdamW although they are matrices (embeddings, first and last layers).
    """

    def __init__(
        self, named: Iterable[tuple[str, nn.Parameter]], lr: float, lr_rest: float, rest: tuple[str, ...] = ()
    ) -> None:
        matrices, others = [], []
        for name, parameter in named:
            hidden = parameter.ndim >= 2 and min(parameter.shape[:2]) > 4 and not any(r in name for r in rest)
            (matrices if hidden else others).append(parameter)
        self._matrices = matrices
        self._views = [p.data.view(p.shape[0], -1) for p in matrices]
        self._muon = torch.optim.Muon(
            [nn.Parameter(v) for v in self._views], lr=lr, momentum=0.95, weight_decay=0.01, ns_steps=4,
            adjust_lr_fn="match_rms_adamw",
        )
        self._adamw = torch.optim.AdamW(others, lr=lr_rest, betas=(0.9, 0.98), weight_decay=0.01)
        self._peaks = (lr, lr_rest)

    def step(self, factor: float) -> None:
        """Take one step at ``factor`` of the peak rates and clear the gradients."""
        for optimiser, peak in zip((self._muon, self._adamw), self._peaks, strict=True):
            optimiser.param_groups[0]["lr"] = peak * factor
        for flat, parameter in zip(self._muon.param_groups[0]["params"], self._matrices, strict=True):
            flat.grad = None if parameter.grad is None else parameter.grad.reshape(flat.shape)
        self._muon.step()
        self._adamw.step()
        for parameter in (*self._matrices, *self._adamw.param_groups[0]["params"]):
            parameter.grad = None

    def state_dict(self) -> dict:
        """Give the state of both optimisers."""
        return {"muon": self._muon.state_dict(), "adamw": self._adamw.state_dict()}

    def load_state_dict(self, state: Mapping) -> None:
        """Restore both optimisers."""
        self._muon.load_state_dict(state["muon"])
        self._adamw.load_state_dict(state["adamw"])


class Ema:
    """Exponential moving average of a model's parameters (EMA)."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.shadow = {n: p.detach().clone() for n, p in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards the model; early steps weigh more."""
        decay = min(self.decay, (1 + step) / (10 + step))
        shadow = list(self.shadow.values())
        torch._foreach_lerp_(shadow, [p.detach() for p in model.parameters()], 1 - decay)

    @torch.no_grad()
    def swap(self, model: nn.Module) -> None:
        """Exchange the model's parameters with the average; call again to undo."""
        for name, parameter in model.named_parameters():
            kept = parameter.detach().clone()
            parameter.copy_(self.shadow[name])
            self.shadow[name].copy_(kept)


def trapezoid(step: int, steps: int, warm: int = 100, hold: float = 0.45) -> float:
    """Rate factor: linear warm-up, constant until ``hold`` of the way, then a half cosine to zero."""
    if step < warm:
        return (step + 1) / warm
    done = step / steps
    if done <= hold:
        return 1.0
    return 0.5 * (1 + float(torch.cos(torch.tensor((done - hold) / (1 - hold) * torch.pi))))


def save_checkpoint(name: str, state: dict) -> None:
    """Write a resumable state; the file is either whole or not there."""
    CHECKPOINTS.mkdir(parents=True, exist_ok=True)
    partial = CHECKPOINTS / f"{name}.pt.partial"
    torch.save(state, partial)
    partial.replace(CHECKPOINTS / f"{name}.pt")


def load_checkpoint(name: str) -> dict | None:
    """Read a resumable state, or None where there is none."""
    path = CHECKPOINTS / f"{name}.pt"
    return torch.load(path, weights_only=True) if path.exists() else None


class Log:
    """One JSON line an entry in ``picto/logs/<name>.jsonl``, also told on the console."""

    def __init__(self, name: str) -> None:
        LOGS.mkdir(exist_ok=True)
        self._path = LOGS / f"{name}.jsonl"
        self._name = name
        self._start = time.process_time()

    def write(self, **entry: float | int | str | list | dict) -> None:
        """Append an entry with the CPU seconds of this process."""
        line = {**entry, "cpu_s": round(time.process_time() - self._start, 1)}
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(self._name, json.dumps(line), flush=True)
