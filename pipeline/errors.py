"""The one error that is the user's to mend, under the name that the stages use, and how it tells of others."""

from collections.abc import Sequence

from prompts.errors import InputError

__all__ = ["NEXT", "InputError", "OutOfMemory", "cause_of", "listed"]

_LONGEST, _MOST = 240, 20
NEXT = "\n- "
"""Begins each line of a list of mistakes."""


class OutOfMemory(InputError):
    """A shard does not fit into the memory with these settings; the sentence says which to take instead."""


def cause_of(error: Exception) -> str:
    """Give what a library says as one short line, or the name of the error where it says nothing."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def listed(wrong: Sequence[str]) -> str:
    """Give one sentence as it is, several as a list of lines, of which the first twenty are shown."""
    if len(wrong) == 1:
        return wrong[0]
    more = [f"... and {len(wrong) - _MOST} more"] if len(wrong) > _MOST else []
    return NEXT.join([f"{len(wrong)} things are wrong:", *wrong[:_MOST], *more])
