"""Time and peak memory of IIR at full size, by part, beside plain prototype matching on the same backbone.

    python -m benchmarks.fss --side 473 --batch 2 --shots 1 --repeat 3 --device cpu

ResNet-50 shape with random weights, squares of 473 pixels, width 256, 6 blocks. Each row runs in a process of its own,
so that its peak memory is its own.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import Figure, apart, command, peak_mib
from fss_models import seen
from fss_models.backbones import Backbone
from fss_models.fss import EpisodeBatch, FssConfig, build_fss_model
from fss_models.optimiser import Optimiser

PARTS = {
    "step": "training step, IIR", "episode": "evaluation episodes, IIR", "matching": "evaluation, prototype matching",
}  # fmt: skip


@dataclass(frozen=True)
class Size:
    """How large episodes are; ``device`` "" is a GPU where there is one, ``precision`` that of the backbone."""

    side: int = 473
    batch: int = 1
    shots: int = 1
    repeat: int = 3
    device: str = ""
    precision: str = "float32"


class Clock:
    """Adds up the time of each part; a part inside another one counts for itself only."""

    def __init__(self, device: str) -> None:
        self.seconds: dict[str, float] = {}
        self._device, self._stack = device, [("rest", 0.0)]

    def wrap(self, owner: Any, name: str, part: str) -> None:
        """Count the calls of an attribute for a part."""
        original = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            return self.run(part, lambda: original(*args, **kwargs))

        setattr(owner, name, timed)

    def run(self, part: str, work: Callable[[], Any]) -> Any:
        """Do some work that counts for a part."""
        self._stack.append((part, 0.0))
        start = self._now()
        try:
            return work()
        finally:
            spent = self._now() - start
            _, inner = self._stack.pop()
            self.seconds[part] = self.seconds.get(part, 0.0) + spent - inner
            outer, before = self._stack[-1]
            self._stack[-1] = (outer, before + spent)

    def _now(self) -> float:
        if self._device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter()


def measure_row(row: str, args: Size) -> dict[str, Any]:
    """Time one row: seconds in all and by part (means over the repetitions), and peak memory in MiB."""
    torch.manual_seed(0)
    model = build_fss_model(
        FssConfig(
            name="matching" if row == "matching" else "iir", backbone="", shots=args.shots,
            options={} if row == "matching" else {"dim": 256, "blocks": 6},
        ),
        resnet50(args.precision),
    ).to(args.device)  # fmt: skip
    clock = Clock(args.device)
    clock.wrap(model.backbone, "forward", "backbone")
    clock.wrap(model.backbone, "top", "masked top level")
    clock.wrap(seen, "own_class", "class of the supports")
    clock.wrap(seen, "xgrad_cam", "CAM")
    if row != "matching":
        clock.wrap(model.decoder, "encode_supports", "decoder, supports")
        clock.wrap(model.decoder, "decode", "decoder, query")
    batch = random_batch(args)
    optimiser = Optimiser(model.named_parameters(), 1e-2) if row == "step" else None
    model.train(row == "step")

    def work() -> None:
        if optimiser is None:
            with torch.no_grad():
                model(batch.query, batch.supports, batch.masks, batch.classes)
            return
        losses = model.losses(batch)
        clock.run("backward", losses["loss"].backward)
        clock.run("optimiser", lambda: optimiser.step(1.0))
        optimiser.clear()

    before = peak(args.device)
    clock.run("first", work)  # allocates, and chooses algorithms
    clock.seconds.clear()
    for _ in range(args.repeat):
        clock.run("rest", work)
    parts = {part: spent / args.repeat for part, spent in clock.seconds.items()}
    return {
        "row": row, "seconds": sum(parts.values()), "peak_mib": peak(args.device) - before, "parts": parts,
        "side": args.side, "batch": args.batch, "shots": args.shots, "device": args.device,
    }  # fmt: skip


def resnet50(precision: str) -> Backbone:
    """Give an undilated ResNet-50 of random weights."""
    from transformers import ResNetConfig, ResNetForImageClassification

    with tempfile.TemporaryDirectory() as folder:
        ResNetForImageClassification(ResNetConfig(num_labels=1000)).save_pretrained(folder)
        (Path(folder) / "preprocessor_config.json").write_text(json.dumps({"size": {"shortest_edge": 224}}))
        return Backbone.from_pretrained(folder, stride=32, precision=precision)


def random_batch(args: Size) -> EpisodeBatch:
    """Give episodes of noise with a square of the class in each picture."""
    size = (args.batch, args.shots, args.side, args.side)
    masks = torch.zeros(size, dtype=torch.uint8)
    masks[..., args.side // 4 : args.side // 2, args.side // 4 : args.side // 2] = 1
    return EpisodeBatch(
        torch.rand(args.batch, 3, args.side, args.side), masks[:, 0].clone(),
        torch.rand(args.batch, args.shots, 3, args.side, args.side), masks, torch.ones(args.batch, dtype=torch.long),
    ).to(args.device)  # fmt: skip


def peak(device: str) -> float:
    """Give the peak memory so far in MiB, of this process or of the GPU."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / 2**20
    return peak_mib()


def table(found: list[dict[str, Any]]) -> str:
    """Give the measurements as Markdown."""
    first = found[0]
    lines = [
        f"{first['batch']} episodes at {first['side']} px, {first['shots']}-shot, {first['device']}\n",
        "| what | part | seconds | share | peak MiB above the model |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for one in found:
        lines.append(f"| {PARTS[one['row']]} | all | {one['seconds']:.2f} | | {one['peak_mib']:.0f} |")
        for part, spent in sorted(one["parts"].items(), key=lambda p: -p[1]):
            lines.append(f"| | {part} | {spent:.2f} | {100 * spent / one['seconds']:.0f} % | |")
    return "\n".join(lines)


def measure(size: Size) -> list[Figure]:
    """Measure all rows and print them by part."""
    device = size.device or ("cuda" if torch.cuda.is_available() else "cpu")
    found = [apart(measure_row, row, replace(size, device=device)) for row in PARTS]
    print(table(found) + "\n")
    step, episode, matching = found
    more = {"training step s": step["seconds"], "peak MiB of a step": step["peak_mib"],
            "peak MiB of an episode": episode["peak_mib"]}  # fmt: skip
    what = f"IIR, episodes of {size.side} px, {size.shots}-shot"
    seconds = episode["seconds"], matching["seconds"]
    return [Figure("fss", what, "prototype matching", *seconds, "s a batch", None, more)]


if __name__ == "__main__":
    sys.exit(command(__doc__, Size, measure))
