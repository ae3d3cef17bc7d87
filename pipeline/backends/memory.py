"""Recognises that a device has too little memory; torch tells of it by several errors."""

from __future__ import annotations

import gc

import torch

_WORDS = ("can't allocate memory", "not enough memory", "out of memory")


def is_short_of_memory(error: BaseException) -> bool:
    """Say whether an error means that a GPU or the CPU had too little memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _WORDS)


def free_memory() -> None:
    """Give back what is no longer used; to be called when the error and its traceback are gone."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
