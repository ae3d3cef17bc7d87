"""The address of a chat endpoint and its key, which stands in the environment alone."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from pipeline.config import EndpointSettings
from pipeline.errors import InputError


def check_address(settings: EndpointSettings) -> None:
    """Look at an endpoint's address and the name of its key; what may be a key or a password is not repeated.

    Raises:
        InputError: one of them is not as it should be.
    """
    try:
        address = urlsplit(settings.url)
        known = address.scheme in ("http", "https") and bool(address.hostname)
        secret = address.username or address.password or address.query
    except ValueError:
        known = False
    if not known:
        raise InputError("execution.endpoint.url: expected an address such as http://localhost:8000/v1")
    if secret:
        raise InputError(
            "execution.endpoint.url holds a user name, a password or a query, and would be written into every run: "
            "put the key into an environment variable and name that in execution.endpoint.key_variable"
        )
    if not re.fullmatch(r"([A-Za-z_][A-Za-z0-9_]*)?", settings.key_variable):
        raise InputError(
            "execution.endpoint.key_variable: expected the name of an environment variable, such as OPENAI_API_KEY, "
            "and not the key itself"
        )


def key_of(settings: EndpointSettings) -> str | None:
    """Give an endpoint's key out of the environment; None where it wants none.

    Raises:
        InputError: it is not there.
    """
    if not settings.key_variable:
        return None
    if not (key := os.environ.get(settings.key_variable, "").strip()):
        raise InputError(
            f"the environment variable {settings.key_variable} is not set: it should hold the key of "
            f"{settings.url} (execution.endpoint.key_variable)"
        )
    if not key.isascii() or not key.isprintable():
        raise InputError(f"the environment variable {settings.key_variable} holds no key: it has other characters")
    return key
