"""Text vectors of CLIP's text encoders, alone or as parts of a diffusers pipeline."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.errors import InputError, cause_of
from pipeline.types import Floats


class ClipText:
    """A CLIP text encoder with its tokenizer; a `TextEncoder`.

    Args:
        tokenizer: of transformers.
        encoder: of transformers, with or without projection.
        place: where they came from.
    """

    def __init__(self, tokenizer: Any, encoder: Any, place: str) -> None:
        self._tokenizer, self._encoder, self._place = tokenizer, encoder, place

    @classmethod
    def from_folder(cls, folder: Path) -> ClipText:
        """Load the text encoder of a folder, in float32; nothing is downloaded.

        Args:
            folder: a diffusers pipeline (``tokenizer/`` and ``text_encoder/``), a CLIP model or its text part alone.

        Raises:
            InputError: there is none, or it is not whole.
        """
        import transformers

        hush("transformers")
        inside = (folder / "text_encoder").is_dir()
        words, network = (folder / "tokenizer", folder / "text_encoder") if inside else (folder, folder)
        try:
            config = json.loads((network / "config.json").read_text())
            plain = config.get("architectures") == ["CLIPTextModel"]
            kind: Any = transformers.CLIPTextModel if plain else transformers.CLIPTextModelWithProjection
            if not str(config.get("model_type")).startswith("clip"):
                raise ValueError(f"it is of type {config.get('model_type')}")
            encoder, found = kind.from_pretrained(
                network, dtype=torch.float32, local_files_only=True, output_loading_info=True
            )
            tokenizer = transformers.AutoTokenizer.from_pretrained(words, local_files_only=True)
        except Exception as error:  # each part has its own class of errors
            raise InputError(
                f"no text encoder in {folder} ({cause_of(error)}): expected a CLIP text model with its tokenizer, or a "
                "diffusers pipeline with one"
            ) from error
        if missing := found["missing_keys"]:
            raise InputError(f"the text encoder in {folder} lacks weights such as {min(missing)}: get it anew")
        return cls(tokenizer, encoder.eval(), str(folder))

    @property
    def dim(self) -> int:
        """Length of a vector."""
        projected = hasattr(self._encoder, "text_projection")
        return int(self._encoder.config.projection_dim if projected else self._encoder.config.hidden_size)

    def encode(self, sentences: Sequence[str]) -> Floats:
        """Give one unit vector a sentence, float32 (N, C); see `pooled`.

        Raises:
            InputError: a sentence has a word that the tokenizer does not know.
        """
        for sentence in sentences:
            ids = self._tokenizer(sentence, add_special_tokens=False).input_ids
            if not ids or self._tokenizer.unk_token_id in ids:
                raise InputError(f"the text encoder in {self._place} has no word for {sentence!r}: name it otherwise")
        vectors = pooled(self._tokenizer, self._encoder, list(sentences))
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def hush(library: str) -> None:
    """Silence the loading bars and advice of transformers or diffusers; what is wrong with weights is checked here."""
    logging: Any = importlib.import_module(f"{library}.utils.logging")
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()


@torch.inference_mode()
def pooled(tokenizer: Any, encoder: Any, sentences: list[str], device: torch.device | None = None) -> Floats:
    """Give one vector a sentence, float32 (N, C), computed on the encoder's device or the one given.

    An encoder with a projection gives its pooled vector. One without (SD 1.x, picto) was trained for its token states,
    so their mean over the words is taken: its pooled vector was never trained to say anything (decisions.md, the bank's
    text space).
    """
    tokens = tokenizer(
        sentences, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt",
    )
    ids = tokens.input_ids.to(device or encoder.device)
    output = encoder(ids)
    found = getattr(output, "text_embeds", None)
    if found is None:
        special = torch.tensor(tokenizer.all_special_ids, device=ids.device)
        words = (~torch.isin(ids, special))[..., None].to(output.last_hidden_state.dtype)
        found = (output.last_hidden_state * words).sum(1) / words.sum(1).clamp(min=1)
    return np.asarray(found.float().cpu().numpy(), dtype=np.float32)
