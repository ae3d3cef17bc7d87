"""Muon for matrices and convolutions, AdamW for the rest: heads that start from nothing learn far faster so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn


class Optimiser:
    """Both optimisers behind one.

    ``torch.optim.Muon`` takes matrices only, so a convolution is handed over as the view (out, in * kh * kw).

    Args:
        named: parameters with their names; frozen ones are left out.
        lr: peak rate of both; Muon's steps are scaled to the size of AdamW's.
        plain: parts of names that AdamW takes although they are matrices, such as classifiers.
    """

    def __init__(self, named: Iterable[tuple[str, nn.Parameter]], lr: float, plain: tuple[str, ...] = ()) -> None:
        self.lr = lr
        trained = [(name, p) for name, p in named if p.requires_grad]
        self.parameters = [p for _, p in trained]
        self._matrices, rest = [], []
        for name, p in trained:
            matrix = p.ndim >= 2 and min(p.shape[:2]) > 1 and not any(part in name for part in plain)
            (self._matrices if matrix else rest).append(p)
        self._views = [nn.Parameter(p.data.view(len(p), -1)) for p in self._matrices]
        self._muon = torch.optim.Muon(
            self._views, lr=lr, momentum=0.95, weight_decay=0.01, ns_steps=4, adjust_lr_fn="match_rms_adamw"
        )
        self._adamw = torch.optim.AdamW(rest, lr=lr, weight_decay=0.01)

    def step(self, factor: float) -> None:
        """Take one step at ``factor`` of the peak rate and clear the gradients."""
        for view, p in zip(self._views, self._matrices, strict=True):
            view.grad = None if p.grad is None else p.grad.reshape(view.shape)
        for optimiser in (self._muon, self._adamw):
            for group in optimiser.param_groups:
                group["lr"] = self.lr * factor
            optimiser.step()
        for p in (*self.parameters, *self._views):
            p.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Give the state of both."""
        return {"muon": self._muon.state_dict(), "adamw": self._adamw.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore both."""
        self._muon.load_state_dict(state["muon"])
        self._adamw.load_state_dict(state["adamw"])
