"""A chat model behind an OpenAI-compatible endpoint, such as those of vLLM, SGLang, llama.cpp and Ollama."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from pipeline.errors import InputError, cause_of

_AGAIN = {408, 409, 425, 429}
"""Answers below 500 after which it is worth trying again."""
_LONGEST_WAIT = 120.0
"""Seconds between two tries at most, whatever the server asks for."""
_SECRET = 8
"""Letters of the shortest key that is one; local servers are sent words such as "none", which answers may hold too."""


class ChatEndpoint:
    """Asks ``URL/chat/completions``; a `prompts.transcript.ChatModel`.

    The key is sent to the server and goes nowhere else: it is cut out of whatever the server says.

    Args:
        url: up to and without ``/chat/completions``.
        model: its name there.
        key: sent as a bearer token; None: none is.
        temperature: of sampling.
        max_tokens: most tokens of an answer.
        timeout: seconds to wait for an answer.
        retries: further tries after no answer, 429 or 5xx, each after twice the time or what ``Retry-After`` says.
        sleep: waits some seconds.
    """

    def __init__(
        self, url: str, model: str, *, key: str | None = None, temperature: float = 0.9, max_tokens: int = 2048,
        timeout: float = 120, retries: int = 5, sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self._url, self._model, self._key = f"{url.rstrip('/')}/chat/completions", model, key
        self._sampling = {"temperature": temperature, "max_tokens": max_tokens}
        self._retries, self._sleep = retries, sleep
        self._client = httpx.Client(timeout=timeout, headers={"Authorization": f"Bearer {key}"} if key else {})

    def __call__(self, messages: Sequence[Mapping[str, str]], seed: int) -> str:
        """Give the answer to some messages; ``seed`` is passed on, and kept to by servers that can.

        Raises:
            InputError: there is no answer, or one that is no chat completion.
        """
        question = {"model": self._model, "messages": list(messages), "seed": seed, **self._sampling}
        wait, found = 1.0, ""
        for left in range(self._retries, -1, -1):
            asked: float | None = None
            try:
                response = self._client.post(self._url, json=question)
            except httpx.InvalidURL as error:
                raise self._error(f"is no address ({error})", "mend execution.endpoint.url") from None
            except httpx.RequestError as error:
                found = f"no answer ({type(error).__name__}: {cause_of(error)})"
            else:
                if response.is_success:
                    return self._read(response)
                found = f"{response.status_code} ({self._cause(response)})"
                if response.status_code not in _AGAIN and response.status_code < 500:
                    raise self._refused(response.status_code, found)
                asked = _retry_after(response.headers.get("Retry-After", ""))
            if left:
                self._sleep(min(wait if asked is None else asked, _LONGEST_WAIT))
                wait *= 2
        tries = f"{self._retries + 1} times" if self._retries else "once"
        raise self._error(
            f"was asked {tries}, at last with {found}",
            "see whether the server is up, then run again: answers so far are kept",
        )

    def _read(self, response: httpx.Response) -> str:
        try:
            content = response.json()["choices"][0]["message"]["content"]
            if not isinstance(content, str | None):
                raise TypeError
        except (ValueError, KeyError, IndexError, TypeError):
            raise self._error(
                f"answered no chat completion ({self._cause(response)})",
                "is execution.endpoint.url that of an OpenAI-compatible server? It mostly ends in /v1",
            ) from None
        return self._without_key(content or "")

    def _refused(self, status: int, found: str) -> InputError:
        if status in (401, 403):
            return self._error(f"refused the key with {status}", "see execution.endpoint.key_variable")
        if status == 404:
            return self._error(
                f"answered {found}", "see execution.endpoint.url and experiment.prompts.language.model"
            )
        return self._error(f"refused the question with {found}", "see experiment.prompts.language")

    def _error(self, happened: str, advice: str) -> InputError:
        return InputError(self._without_key(f"the prompt endpoint {self._url} {happened}: {advice}"))

    def _cause(self, response: httpx.Response) -> str:
        """Give what a server says of an error as one short line."""
        try:
            said: Any = response.json()["error"]
            text = str(said["message"] if isinstance(said, dict) else said)
        except (ValueError, KeyError, TypeError):
            text = response.text
        return cause_of(Exception(self._without_key(text))) if text.strip() else response.reason_phrase

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "(key)") if self._key and len(self._key) >= _SECRET else text


def _retry_after(value: str) -> float | None:
    """Give the seconds that the header ``Retry-After`` asks for, as a number or a date; None where it says neither."""
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return None
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
