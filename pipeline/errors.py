"""The errors that are the user's to mend, under the names that the stages use, and how they tell of others."""

from collections.abc import Sequence

from prompts.errors import InputError

__all__ = ["NEXT", "InputError", "OutOfMemory", "cause_of", "listed", "not_fetched"]

_LONGEST, _MOST = 240, 20
NEXT = "\n- "
"""Begins each line of a list of mistakes."""


class OutOfMemory(InputError):
    """A model and its batch do not fit into memory; the sentence names the setting to lower.

    It concerns one shard: others, and the same one with the setting lowered, can go on.
    """


def cause_of(error: Exception) -> str:
    """Give what a library says as one short line, or the name of the error where it says nothing."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def not_fetched(name: str, revision: str | None, error: Exception) -> InputError:
    """Give the error of a hub name that could not be downloaded at a revision (None: the newest)."""
    at = f" at revision {revision}" if revision else ""
    return InputError(
        f"{name} is neither a folder nor could it be fetched from the hub{at} ({type(error).__name__}): "
        "download it and give its folder"
    )


def listed(wrong: Sequence[str]) -> str:
    """Give one sentence as it is, several as a list of lines, of which the first twenty are shown."""
    if len(wrong) == 1:
        return wrong[0]
    more = [f"... and {len(wrong) - _MOST} more"] if len(wrong) > _MOST else []
    return NEXT.join([f"{len(wrong)} things are wrong:", *wrong[:_MOST], *more])
