"""The one error that is the user's to mend, under the name that the stages use."""

from prompts.errors import InputError

__all__ = ["InputError"]
