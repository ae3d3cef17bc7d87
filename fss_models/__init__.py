"""Few-shot segmentation models, and how they are trained and scored."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pipeline.errors import InputError

if TYPE_CHECKING:
    from fss_models.backbones import Backbone
    from fss_models.gfss import GfssConfig, GfssModel


def _gfss(config: GfssConfig, backbone: Backbone | None) -> GfssModel:
    from fss_models.gfss import GfssModel

    return GfssModel(config, backbone)


MODELS: dict[str, Callable[[GfssConfig, Backbone | None], GfssModel]] = {"iir": _gfss, "i2r": _gfss}
"""Name in the config -> builder; the name is also that of the decoder's preset in `iir.PRESETS`."""


def build_model(config: GfssConfig, backbone: Backbone | None = None) -> GfssModel:
    """Build the model that ``config.name`` names.

    Raises:
        InputError: there is no model of that name.
    """
    if config.name not in MODELS:
        raise InputError(f"unknown model {config.name!r}: expected one of {', '.join(MODELS)}")
    return MODELS[config.name](config, backbone)
