"""Run benchmarks by name, or all of them: each in a process of its own, going on where one fails.

    python -m benchmarks --list
    python -m benchmarks bank plan

Options of a single one: ``python -m benchmarks.bank --help``. All take about half an hour on two quiet cores.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import OUTPUT, table

NAMES = ("plan", "bank", "synthesis", "workers", "runners", "repair", "fss", "report", "gpu")
FOLDER = Path(__file__).parent


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is named; gives 0, 1 where one failed to run, 2 for an unknown name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="; ".join(NAMES))
    parser.add_argument("--list", action="store_true", help="say what each measures, and stop")
    parser.add_argument("--to", type=Path, default=OUTPUT, help="JSON file that the figures are added to")
    options = parser.parse_args(argv)
    if options.list:
        for name in NAMES:
            doc = ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text()))
            print(f"{name:10} {(doc or '').splitlines()[0]}")
        return 0
    for name in options.names:
        if name not in NAMES:
            near = difflib.get_close_matches(name, NAMES, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            print(f"unknown benchmark {name!r}: expected one of {', '.join(NAMES)}{hint}", file=sys.stderr)
            return 2
    begun, failed = int(time.time()), []
    for name in options.names or NAMES:
        print(f"\n== {name}", flush=True)
        start = time.monotonic()
        alone = [sys.executable, "-m", f"benchmarks.{name}", "--to", str(options.to)]
        if subprocess.run(alone, check=False).returncode:
            failed.append(name)
        print(f"{time.monotonic() - start:.0f} s", flush=True)
    rows = json.loads(options.to.read_text()) if options.to.exists() else []
    new = [row for row in rows if row["time"] >= begun]
    print(f"\n{table(new)}\nwritten to {options.to}" if new else "\nno figures")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
