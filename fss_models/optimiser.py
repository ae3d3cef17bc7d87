"""The optimisers behind one interface: Muon with AdamW, for heads that start from nothing, or the published SGD."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import nn

from fss_models.muon import Muon

Kind = Literal["muon", "sgd", "adamw"]


class Optimiser:
    """One or two torch optimisers behind one; with ``torch.amp.GradScaler`` it looks like a single one.

    Muon takes matrices only, so a convolution is handed over as the view (out, in * kh * kw).

    Args:
        named: parameters with their names; frozen ones are left out.
        lr: peak rate; Muon's steps are scaled to the size of AdamW's.
        plain: parts of names that AdamW takes although they are matrices, such as classifiers.
        kind: "muon" (Muon for matrices and convolutions, AdamW for the rest; ours), "sgd" (momentum 0.9, decay 1e-4;
            the published recipes), "adamw".
        apart: beginning of the names of parameters that have an AdamW of their own, without decay of biases, and its
            rate, which no schedule changes; none unless given.
    """

    def __init__(
        self, named: Iterable[tuple[str, nn.Parameter]], lr: float, plain: tuple[str, ...] = (), kind: Kind = "muon",
        apart: tuple[str, float] | None = None,
    ) -> None:
        self.lr = lr
        trained = [(name, p) for name, p in named if p.requires_grad]
        self.parameters = [p for _, p in trained]
        own = {name: p for name, p in trained if apart and name.startswith(apart[0])}
        self._matrices, rest = [], []
        for name, p in trained:
            if name in own:
                continue
            matrix = kind == "muon" and p.ndim >= 2 and min(p.shape[:2]) > 1 and not any(part in name for part in plain)
            (self._matrices if matrix else rest).append(p)
        self._views = [nn.Parameter(p.data.view(len(p), -1)) for p in self._matrices]
        self._parts: dict[str, torch.optim.Optimizer] = {}
        if self._views:
            self._parts["muon"] = Muon(self._views, lr)
        if rest and kind == "sgd":
            self._parts["sgd"] = torch.optim.SGD(rest, lr=lr, momentum=0.9, weight_decay=1e-4)
        elif rest:
            self._parts["adamw"] = torch.optim.AdamW(rest, lr=lr, weight_decay=0.01)
        if apart and own:
            kinds = ([p for name, p in own.items() if name.endswith("bias") == bias] for bias in (False, True))
            groups = [{"params": p, "weight_decay": decay} for p, decay in zip(kinds, (0.01, 0.0), strict=True)]
            self._parts["apart"] = torch.optim.AdamW(groups, lr=apart[1])

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Give all parameters as one group, which is what a gradient scaler looks at."""
        return [{"params": self.parameters}]

    def step(self, factor: float) -> None:
        """Take one step at ``factor`` of the peak rate; what is apart keeps its own."""
        for view, p in zip(self._views, self._matrices, strict=True):
            view.grad = None if p.grad is None else p.grad.reshape(view.shape)
        for name, optimiser in self._parts.items():
            for group in optimiser.param_groups if name != "apart" else ():
                group["lr"] = self.lr * factor
            optimiser.step()

    def clear(self) -> None:
        """Clear the gradients."""
        for p in (*self.parameters, *self._views):
            p.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Give the state of all parts."""
        return {name: optimiser.state_dict() for name, optimiser in self._parts.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore all parts."""
        for name, optimiser in self._parts.items():
            optimiser.load_state_dict(state[name])
