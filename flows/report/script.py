"""Data as scripts: a page that is opened from disk may load scripts, but may not fetch files."""

from __future__ import annotations

import json
from pathlib import Path


def write_script(path: Path, key: str, value: object) -> None:
    """Write ``REPORT[key] = value`` as a script; the text holds ASCII only and nothing that ends a script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    path.write_text(f"REPORT[{json.dumps(key)}]={text};\n")
