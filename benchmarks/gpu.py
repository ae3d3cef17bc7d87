"""Full-size generators and SAM on a GPU, with random weights of the published shapes: nothing is downloaded.

    python -m benchmarks.gpu --families sd35 --batches 1,8 --steps 28

For each family and batch: pictures a second with compiled blocks against eager ones, the peak memory, and how far a
picture of the batch is from the same picture drawn alone. For SAM ViT-H: the encoder in bfloat16 against float32. Text
encoders are left out, since a shard encodes its sentences once.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.gpu_shapes import FAMILIES, Family, build, embeddings
from benchmarks.harness import Figure, Skipped, alternate, command


@dataclass(frozen=True)
class Size:
    """What is drawn, and how."""

    families: str = "sd15,sdxl,sd35"
    batches: str = "1,4,8"
    steps: int = 28
    repeats: int = 2
    compiled: int = 1
    sam: str = "vit_h"
    device: str = "cuda"


def measure(size: Size) -> list[Figure]:
    """Measure all families that are asked for, and SAM unless it is left out (``--sam ''``)."""
    import torch

    if size.device != "cpu" and not torch.cuda.is_available():
        raise Skipped("no GPU here: torch sees none")
    found = [one for name in size.families.split(",") for one in family_figures(name, FAMILIES[name], size)]
    if size.sam:
        from pipeline.backends.segment_anything_import import load_segment_anything

        found.append(sam_figure(load_segment_anything().sam_model_registry[size.sam](), size))
    return found


def family_figures(name: str, family: Family, size: Size) -> list[Figure]:
    """Measure one family: a figure a batch, compiled as the generator does against eager, or eager alone."""
    import torch

    from pipeline.backends.diffusion_loading import compile_blocks

    batches = [int(batch) for batch in size.batches.split(",")]
    pipe = build(family, size.device)
    eager, alone = {}, draw(pipe, family, 1, size)[0]
    for batch in batches:
        eager[batch] = _timed(pipe, family, batch, size)
    far = {batch: np.abs(draw(pipe, family, batch, size)[0] - alone) * 255 for batch in batches}
    compiled = eager
    if size.compiled:
        compile_blocks(pipe)
        compiled = {batch: _timed(pipe, family, batch, size) for batch in batches}
    del pipe
    if size.device != "cpu":
        torch.cuda.empty_cache()
    against = "eager" if size.compiled else "itself: nothing was compiled"
    what = f"{family.title}, {family.side} px, {size.steps} steps"
    return [
        Figure(f"gpu_{name}_batch{batch}", f"{what}, batch {batch}", against,
               batch / compiled[batch][0], batch / eager[batch][0], "pictures/s", None,
               {"peak GiB eager": eager[batch][1], "peak GiB compiled": compiled[batch][1],
                "mean levels from batch 1": float(far[batch].mean()), "greatest": float(far[batch].max()),
                "% of pixels more than one level from batch 1": 100 * float((far[batch].max(-1) > 1).mean())})
        for batch in batches
    ]  # fmt: skip


def draw(pipe: Any, family: Family, batch: int, size: Size) -> np.ndarray:
    """Draw the pictures 0 to ``batch`` - 1, float (B, H, W, 3) in 0..1; each has its own sentence and seed."""
    import torch

    text = embeddings(family, batch, pipe.dtype, size.device)
    generators = [torch.Generator("cpu").manual_seed(number) for number in range(batch)]
    drawn = pipe(
        **text, generator=generators, num_inference_steps=size.steps, guidance_scale=family.guidance,
        height=family.side, width=family.side, output_type="np",
    ).images  # fmt: skip
    return np.nan_to_num(np.asarray(drawn))


def sam_figure(sam: Any, size: Size) -> Figure:
    """Time a SAM with one box in bfloat16 against float32, and compare its masks."""
    import torch

    sam = sam.to(size.device).eval()
    side = sam.image_encoder.img_size
    picture = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)).to(size.device)
    box = torch.tensor([[0.2, 0.2, 0.7, 0.7]], device=size.device) * side
    masks: dict[torch.dtype, Any] = {}

    @torch.inference_mode()
    def look(dtype: torch.dtype) -> None:
        with torch.autocast(torch.device(size.device).type, dtype, enabled=dtype != torch.float32):
            seen = sam.image_encoder(picture)
            sparse, dense = sam.prompt_encoder(None, box, None)
            low, _ = sam.mask_decoder(seen, sam.prompt_encoder.get_dense_pe(), sparse, dense, False)
        masks[dtype] = low.float() > 0
        _wait(size.device)

    half, full = alternate(lambda: look(torch.bfloat16), lambda: look(torch.float32), repeats=size.repeats)
    one, other = masks[torch.bfloat16], masks[torch.float32]
    overlap = float((one & other).sum() / (one | other).sum().clamp(min=1))
    return Figure("gpu_sam", f"SAM {size.sam}, bfloat16", "float32", 1 / half.wall, 1 / full.wall, "pictures/s", None,
                  {"IoU of their masks (random weights)": overlap})  # fmt: skip


def _timed(pipe: Any, family: Family, batch: int, size: Size) -> tuple[float, float]:
    """Give seconds a batch, and the peak memory in GiB; on a CPU 0."""
    import torch

    gpu = size.device != "cpu"
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    (timing,) = alternate(lambda: draw(pipe, family, batch, size), repeats=size.repeats)
    return timing.wall, torch.cuda.max_memory_allocated() / 2**30 if gpu else 0.0


def _wait(device: str) -> None:
    import torch

    if device != "cpu":
        torch.cuda.synchronize()


if __name__ == "__main__":
    sys.exit(command(__doc__, Size, measure))
