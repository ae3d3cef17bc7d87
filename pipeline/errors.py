"""The one error that is the user's to mend, under the name that the stages use, and how it tells of another's."""

from prompts.errors import InputError

__all__ = ["InputError", "cause_of"]

_LONGEST = 240


def cause_of(error: Exception) -> str:
    """Give what a library says as one short line, or the name of the error where it says nothing."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
