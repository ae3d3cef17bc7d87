"""Recognises that a device has too little memory, of which torch tells by several errors, and says so in a sentence."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

from pipeline.errors import OutOfMemory

T = TypeVar("T")

_WORDS = ("can't allocate memory", "not enough memory", "out of memory")


def within_memory(compute: Callable[[], T], sentence: str) -> T:
    """Give ``compute()``.

    Args:
        compute: the work.
        sentence: what the user reads where there is too little memory for it.

    Raises:
        OutOfMemory: in place of torch's and NumPy's errors of which `is_short_of_memory` says that they mean it.
    """
    try:
        return compute()
    except (RuntimeError, MemoryError) as error:
        if not is_short_of_memory(error):
            raise
    free_memory()  # here the error no longer holds the tensors of its traceback
    raise OutOfMemory(sentence)


def is_short_of_memory(error: BaseException) -> bool:
    """Say whether an error means that a GPU or the CPU had too little memory."""
    short = isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _WORDS)
    return short or isinstance(error, MemoryError)


def free_memory() -> None:
    """Give back what is no longer used; to be called when the error and its traceback are gone."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
