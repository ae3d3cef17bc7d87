"""The settings of a sweep: values of lambda of APF, lambda of APR and beta, around the current ones."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flows.console import one_of
from pipeline.config import Config
from pipeline.errors import InputError

KEYS = ("filter.min_similarity", "relabel.blend", "relabel.min_similarity")
"""What is swept, below ``experiment``: lambda of APF, beta and lambda of APR."""

Setting = tuple[float, ...]
"""Values in the order of `KEYS`."""

_STEPS = {
    "filter.min_similarity": (-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3),
    "relabel.min_similarity": (-0.2, -0.1, 0.0, 0.1, 0.2),
}
_LOWEST = {"filter.min_similarity": -1.0, "relabel.blend": 0.0, "relabel.min_similarity": -1.0}
_BLENDS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Grid:
    """All combinations of some values.

    Attributes:
        axes: values of each of `KEYS`, rising; the current value is always one of them.
        current: the setting of the config.
    """

    axes: tuple[tuple[float, ...], ...]
    current: Setting

    @classmethod
    def around(cls, config: Config, given: Sequence[str] = ()) -> Grid:
        """Give the grid around the config's setting.

        Args:
            config: has the current setting; an axis of a stage that is off has this value alone.
            given: axes that are wanted otherwise, ``key=value,value,...`` with a key of `KEYS`.

        Raises:
            InputError: an unknown key, no number, one out of range, or both stages are off.
        """
        experiment = config.experiment
        on = {"filter": experiment.filter.enabled, "relabel": experiment.relabel.enabled}
        if not any(on.values()):
            raise InputError("nothing to sweep: experiment.filter.enabled and experiment.relabel.enabled are false")
        current = tuple(_value(config, key) for key in KEYS)
        wanted = _parse(given)
        axes = []
        for key, now in zip(KEYS, current, strict=True):
            usual = _BLENDS if key == "relabel.blend" else tuple(now + step for step in _STEPS[key])
            values = wanted.get(key, usual)
            inside = [round(v, 6) for v in values if key in wanted or -1 <= v <= 1]
            axes.append(tuple(sorted({*inside, now})) if on[key.split(".")[0]] else (now,))
        grid = cls(tuple(axes), current)
        for key, axis in zip(KEYS, axes, strict=True):
            for value in axis:
                _checked(config, key, value)
        return grid

    @property
    def settings(self) -> list[Setting]:
        """All settings; the last axis changes fastest."""
        return list(itertools.product(*self.axes))

    def apply(self, config: Config, setting: Setting) -> Config:
        """Give the config with a setting."""
        experiment = config.experiment
        strict, blend, claim = setting
        changes = {
            "filter": experiment.filter.model_copy(update={"min_similarity": strict}),
            "relabel": experiment.relabel.model_copy(update={"blend": blend, "min_similarity": claim}),
        }
        return config.with_experiment(**changes)

    def overrides(self, setting: Setting) -> list[str]:
        """Give what ``--set`` takes to use a setting: only what differs from the current one."""
        triples = zip(KEYS, setting, self.current, strict=True)
        return [f"experiment.{key}={value:g}" for key, value, now in triples if value != now]

    def edges(self, setting: Setting) -> list[str]:
        """Give the keys whose value in a setting ends an axis of the grid, though values beyond it are allowed."""
        found = []
        for key, axis, value in zip(KEYS, self.axes, setting, strict=True):
            if len(axis) > 1 and ((value == axis[0] and value > _LOWEST[key]) or (value == axis[-1] and value < 1)):
                found.append(key)
        return found

    def distance(self, setting: Setting) -> int:
        """Give how many steps of the grid a setting is away from the current one."""
        pairs = zip(self.axes, setting, self.current, strict=True)
        return sum(abs(axis.index(value) - axis.index(now)) for axis, value, now in pairs)


def _value(config: Config, key: str) -> float:
    stage, name = key.split(".")
    return float(getattr(getattr(config.experiment, stage), name))


def _checked(config: Config, key: str, value: float) -> None:
    stage, name = key.split(".")
    settings = getattr(config.experiment, stage)
    try:
        type(settings).model_validate({**settings.model_dump(), name: value})
    except ValueError as error:
        raise InputError(f"--grid {key}: got {value:g}, expected numbers from {_LOWEST[key]:g} to 1") from error


def _parse(given: Sequence[str]) -> Mapping[str, tuple[float, ...]]:
    wanted: dict[str, tuple[float, ...]] = {}
    for text in given:
        key, equals, values = text.partition("=")
        key = one_of(key.strip().removeprefix("experiment."), KEYS, "axis of a sweep")
        try:
            wanted[key] = tuple(float(value) for value in values.split(","))
        except ValueError as error:
            raise InputError(f"--grid {text}: expected key=number,number,... such as {KEYS[0]}=0.2,0.3,0.4") from error
        if not equals:
            raise InputError(f"--grid {text}: expected key=number,number,... such as {KEYS[0]}=0.2,0.3,0.4")
    return wanted
