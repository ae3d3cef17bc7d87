"""Models as folders in the Hugging Face Hub's layout: config.json, model.safetensors, a model card, the backbone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fss_models.backbones import Backbone
from fss_models.networks import read_network
from pipeline.errors import InputError, cause_of, not_fetched

WEIGHTS, CONFIG, CARD, BACKBONE = "model.safetensors", "config.json", "README.md", "backbone"
C = TypeVar("C", bound=BaseModel)

LATER = {"few_shot", "names"}
"""Settings of a model that came later: where they are missing their defaults hold, so that older folders are read."""

LICENSE = "Apache-2.0"
"""Of the project, as in pyproject.toml."""

_CARD = """# {name} ({kind})

A few-shot segmentation model trained with Syn4Seg. The backbone is frozen and lies in `backbone/` where it could be
copied; all other weights are in `model.safetensors`.

```python
from fss_models.{module} import {cls}

model = {cls}.from_pretrained("this/folder or owner/name")
```

Inputs are RGB pictures, float in 0..1, (B, 3, H, W); normalisation is part of the model.

Licence: {license}, as Syn4Seg. The backbone comes with a licence of its own, which also holds for its copy in
`backbone/`.

| setting | value |
|---|---|
{rows}
"""


class Pretrained:
    """Gives a model ``save_pretrained`` and ``from_pretrained``; it must have save, load, config and backbone."""

    config: Any
    backbone: Backbone

    def save_pretrained(self, folder: str | Path, facts: Mapping[str, object] | None = None) -> None:
        """Write a folder that needs nothing else: weights, config, model card, and the frozen backbone beside them.

        Args:
            folder: made where it is missing.
            facts: further rows of the card's table, such as dataset, fold and scores.
        """
        folder = Path(folder)
        self.save(folder)  # type: ignore[attr-defined]
        source = Path(self.backbone.source)
        files = [f for f in source.glob("*") if f.suffix in (".json", ".safetensors")] if source.is_dir() else [source]
        if source.is_dir() and not any(f.suffix == ".safetensors" for f in files):
            read_network(source)[0].save_pretrained(folder / BACKBONE)  # its weights are a .bin, which is not copied
        for file in files:
            if file.is_file():
                (folder / BACKBONE).mkdir(exist_ok=True)
                with suppress(shutil.SameFileError):  # the model was read from this folder
                    shutil.copyfile(file, folder / BACKBONE / file.name)
        (folder / CARD).write_text(_card(self, facts or {}))

    @classmethod
    def from_pretrained(cls, name: str | Path, backbone: Backbone | None = None) -> Any:
        """Read a folder, or a repository of the hub; see ``load``.

        Raises:
            InputError: neither a folder nor to be had from the hub, or no model of this kind.
        """
        folder = fetch(str(name))
        place = folder / BACKBONE
        if backbone is None and place.is_dir():
            settings, single = _settings(folder / CONFIG), sorted(place.glob("*.safetensors"))
            backbone = Backbone.from_pretrained(
                place if (place / CONFIG).exists() else single[0], stride=settings.get("stride", 8),
                precision=settings.get("precision", "auto"),
            )  # fmt: skip
        return cls.load(folder, backbone)  # type: ignore[attr-defined]


def write_model(folder: str | Path, tensors: Mapping[str, Tensor], config: BaseModel, backbone: Backbone) -> None:
    """Write weights and config; the frozen backbone is named, not copied."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / WEIGHTS)
    settings = {**config.model_dump(mode="json"), "backbone_id": backbone.weights_id}
    (folder / CONFIG).write_text(json.dumps(settings, indent=2) + "\n")


def read_config(folder: Path, kind: type[C], backbone: Backbone | None = None) -> tuple[C, str]:
    """Read what `write_model` wrote: the config and the id of its backbone's weights.

    Args:
        folder: of the model.
        kind: of its config.
        backbone: that it is to stand on, if it is there already.

    Raises:
        InputError: the folder holds no model, that of another version, a damaged config, or a model that was trained
            at another stride.
    """
    path = folder / CONFIG
    if not path.exists() or not (folder / WEIGHTS).exists():
        raise InputError(f"no model in {folder}: expected {CONFIG} and {WEIGHTS}, written by training")
    settings = _settings(path)
    if odd := sorted(({*kind.model_fields, "backbone_id"} ^ set(settings)) - (LATER - set(settings))):
        raise InputError(
            f"{path} was written by another version (unknown or missing: {', '.join(odd)}): train the model again"
        )
    expected = settings.pop("backbone_id")
    if backbone and settings["stride"] != backbone.stride:
        raise InputError(
            f"the model in {folder} was trained at stride {settings['stride']} of its backbone, not {backbone.stride}: "
            "give it the stride of its training"
        )
    try:
        return kind(**settings), expected
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{path} holds {first['loc'][0]} = {first['input']!r}: train the model again") from error


def read_weights(folder: Path, model: nn.Module, expected: str) -> dict[str, Tensor]:
    """Load the weights of a folder into a model; give the tensors that stand beside them, named ``supports.*``.

    Args:
        folder: that `write_model` wrote.
        model: built from its config.
        expected: id of the backbone that it was trained with.

    Raises:
        InputError: weights that are damaged, of another shape or incomplete, or another backbone.
    """
    if model.backbone.weights_id != expected:
        raise InputError(
            f"the backbone in {model.config.backbone} is not the one that {folder} was trained with: train again"
        )
    try:
        tensors = load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise InputError(f"{folder / WEIGHTS} cannot be read ({cause_of(error)}): train again") from error
    beside = {k: tensors.pop(k) for k in list(tensors) if k.startswith("supports.")}
    try:
        missing = model.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise InputError(f"weights in {folder} do not fit its {CONFIG}: train again") from error
    if missing.unexpected_keys or any(not k.startswith("backbone.") for k in missing.missing_keys):
        raise InputError(f"weights in {folder} are not those of {model.config.name}: train again")
    return beside


def fetch(name: str, revision: str | None = None, files: Sequence[str] | None = None) -> Path:
    """Give a folder that may be on the hub; it is downloaded unless HF_HUB_OFFLINE is set.

    Args:
        name: a folder, or owner/name.
        revision: commit, tag or branch on the hub; None: the newest.
        files: patterns of the files to download; None: all.

    Raises:
        InputError: neither a folder nor to be had from the hub.
    """
    if Path(name).exists():
        return Path(name)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(files) if files else None))
    except Exception as error:  # the hub's client raises many classes
        raise not_fetched(name, revision, error) from error


def _settings(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no JSON ({cause_of(error)}): train the model again") from error


def _card(model: Any, facts: Mapping[str, object]) -> str:
    from huggingface_hub import ModelCardData

    settings = {k: v for k, v in model.config.model_dump(mode="json").items() if k != "backbone"}
    rows = "\n".join(f"| {key} | {value} |" for key, value in {**settings, **facts}.items())
    data = ModelCardData(
        library_name="syn4seg", pipeline_tag="image-segmentation", license=LICENSE.lower(),
        tags=["few-shot-segmentation", model.config.name],
    )
    cls = type(model)
    text = _CARD.format(
        name=model.config.name, kind=cls.__name__, module=cls.__module__.removeprefix("fss_models."), cls=cls.__name__,
        rows=rows, license=LICENSE,
    )
    return f"---\n{data.to_yaml()}\n---\n\n{text}"
