"""A local chat model through transformers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pipeline.backends.text import hush
from pipeline.errors import InputError, cause_of

_LEAST = 32
"""Tokens that an answer must have room for."""


class InstructModel:
    """Answers by the model's own chat template; a `prompts.transcript.ChatModel`.

    Args:
        model: a causal language model of transformers.
        tokenizer: its tokenizer, with a chat template.
        place: where they came from.
        temperature: of sampling; 0 takes the likeliest token.
        max_tokens: most tokens of an answer.
    """

    def __init__(
        self, model: Any, tokenizer: Any, place: str, *, temperature: float = 0.9, max_tokens: int = 2048
    ) -> None:
        self._model, self._tokenizer, self._place = model, tokenizer, place
        self._temperature, self._max_tokens = temperature, max_tokens

    @classmethod
    def from_folder(
        cls, folder: Path, *, temperature: float = 0.9, max_tokens: int = 2048, device: str = "cpu"
    ) -> InstructModel:
        """Load a model from a folder: float32 on a CPU, bfloat16 on a GPU; nothing is downloaded, no code is run.

        Raises:
            InputError: it is no chat model, or its weights are missing or damaged.
        """
        import transformers

        hush("transformers")
        dtype = torch.float32 if device == "cpu" else torch.bfloat16
        try:
            loader: Any = transformers.AutoModelForCausalLM
            model, found = loader.from_pretrained(folder, dtype=dtype, local_files_only=True, output_loading_info=True)
            tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # each part has its own class of errors
            raise InputError(f"the chat model in {folder} cannot be loaded ({cause_of(error)}): get it anew") from error
        if missing := found["missing_keys"]:
            raise InputError(f"the chat model in {folder} lacks weights such as {min(missing)}: get it anew")
        if not tokenizer.chat_template:
            raise InputError(f"the model in {folder} has no chat template: choose one that is tuned to instructions")
        return cls(model.eval().to(device), tokenizer, str(folder), temperature=temperature, max_tokens=max_tokens)

    @torch.inference_mode()
    def __call__(self, messages: Sequence[Mapping[str, str]], seed: int) -> str:
        """Give the answer to some messages, the same for the same seed on equal hardware.

        Raises:
            InputError: the model's context is too short for the question and an answer.
        """
        asked = self._tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, return_tensors="pt", return_dict=True
        ).to(self._model.device)
        length = asked["input_ids"].shape[1]
        context = int(getattr(self._model.config, "max_position_embeddings", 0) or 0)
        room = min(self._max_tokens, context - length) if context else self._max_tokens
        if room < _LEAST:
            raise InputError(
                f"the chat model in {self._place} reads {context} tokens, and the question has {length}: choose one "
                "with a longer context"
            )
        sampling = {"do_sample": True, "temperature": self._temperature} if self._temperature else {"do_sample": False}
        devices = [self._model.device] if self._model.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            padding = self._tokenizer.pad_token_id
            answer = self._model.generate(
                **asked, **sampling, max_new_tokens=room,
                pad_token_id=self._tokenizer.eos_token_id if padding is None else padding,
            )
        return str(self._tokenizer.decode(answer[0, length:], skip_special_tokens=True))
