"""The one error that is the user's to mend."""


class InputError(Exception):
    """Bad input: the message says what came, what was expected and what to do. The command line exits with 2."""
