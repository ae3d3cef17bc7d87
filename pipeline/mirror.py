"""An output folder elsewhere: in a bucket, on a server, wherever fsspec reaches. A folder here stands for it.

The layout there is the layout here, so that what any other tool copies from there is an output folder.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from pipeline.errors import InputError, cause_of
from pipeline.hashing import list_files


def local_folder(output: str, cache: str = "") -> Path:
    """Give the folder of this machine that stands for an output: itself, or of a URL its cache.

    Args:
        output: a folder or a URL.
        cache: the cache's folder; empty: one of the URL's own in ``$XDG_CACHE_HOME/syn4seg``.
    """
    if "://" not in output:
        return Path(output)
    if cache:
        return Path(cache)
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "syn4seg" / hashlib.sha256(output.rstrip("/").encode()).hexdigest()[:16]


class Mirror:
    """The output folder at a URL; a folder in it is whole when the file that is written last is there.

    Only its use raises `InputError` where the URL is of no kind that is installed.

    Args:
        url: such as ``s3://bucket/folder``.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    @cached_property
    def _place(self) -> tuple[Any, str]:
        """The file system, and the folder in it."""
        import fsspec

        options = {"auto_mkdir": True} if self.url.startswith(("file://", "local://")) else {}
        try:
            files, base = fsspec.core.url_to_fs(self.url, **options)
        except (ImportError, ValueError) as error:
            raise InputError(
                f"execution.output: no files can be kept at {self.url!r} ({cause_of(error)}): install the package that "
                "it takes, such as s3fs or gcsfs, or name a folder"
            ) from error
        return files, str(base).rstrip("/")

    def check(self) -> None:
        """Write and delete a file.

        Raises:
            InputError: it cannot be written.
        """
        files, base = self._place
        probe = f"{base}/.writable-{uuid.uuid4().hex}"
        try:
            files.pipe_file(probe, b"")
        except Exception as error:  # every kind of store has its own errors
            raise InputError(
                f"execution.output: cannot write to {self.url} ({cause_of(error)}): look at its name and at your rights"
            ) from error
        with suppress(Exception):  # some may write and not delete
            files.rm_file(probe)

    def read(self, name: str) -> bytes | None:
        """Give a file's bytes, None where there is none; never out of a list that was read earlier."""
        files, base = self._place
        try:
            found: Any = files.cat_file(f"{base}/{name}")
        except (FileNotFoundError, IsADirectoryError):
            return None
        return bytes(found)

    def push(self, folder: Path, name: str, last: str) -> None:
        """Copy a folder there, the file ``last`` when all others are."""
        files, base = self._place
        names = [file for file in list_files(folder) if file != last]
        for some in filter(None, (names, [last])):
            files.put([str(folder / file) for file in some], [f"{base}/{name}/{file}" for file in some])

    def pull(self, name: str, files: Sequence[str], folder: Path) -> None:
        """Copy files of a folder from there.

        Raises:
            FileNotFoundError: one of them is not there.
        """
        there, base = self._place
        for file in files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
        there.get([f"{base}/{name}/{file}" for file in files], [str(folder / file) for file in files])


@lru_cache(maxsize=4)
def mirror_of(output: str) -> Mirror | None:
    """Give where an output is kept, None where that is a folder of this machine."""
    return Mirror(output) if "://" in output else None
