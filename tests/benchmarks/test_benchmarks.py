"""The harness, and every benchmark at a tiny size, so that none of them rots."""

import json
import math
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
from diffusers import SD3Transformer2DModel

from benchmarks import __main__ as all_of_them
from benchmarks import bank, fss, gpu, plan, repair, report, runners, synthesis, workers
from benchmarks.chromium import find_chromium
from benchmarks.gpu_shapes import FAMILIES, network_of
from benchmarks.harness import Figure, Goal, Skipped, alternate, command, spent_apart
from flows.settings import load_config
from pipeline.backends.precision import autocast_of
from pipeline.backends.sam import OriginalSam, SamRefiner
from pipeline.backends.small_sam import build_sam

SMALL_SAM = {
    "img_size": 64, "patch_size": 16, "embed_dim": 16, "depth": 1, "num_heads": 2, "use_rel_pos": True,
    "window_size": 0, "prompt_dim": 16, "decoder_depth": 1, "decoder_heads": 2, "decoder_mlp_dim": 16,
    "iou_head_dim": 16, "mask_in_chans": 4,
}  # fmt: skip


@dataclass(frozen=True)
class Size:
    """Of the benchmark below."""

    count: int = 3


def measure(size):
    """Say what was asked for; with 0 something is missing."""
    if not size.count:
        raise Skipped("there is nothing to count")
    more = {"twice": 2 * size.count}
    return [Figure("counted", "counting", "four", size.count, 4, "things", Goal("most", 0.8), more)]


def test_a_goal_is_on_the_ratio_or_on_ours():
    """At most or at least, of the ratio unless it says otherwise."""
    figure = Figure("a", "", "", 6, 3, "s")
    met = {str(goal): replace(figure, goal=goal).met for goal in (
        Goal("most", 2), Goal("most", 1.9), Goal("least", 2), Goal("least", 2.1), Goal("most", 6, "ours"),
    )}  # fmt: skip
    assert met == {"<= 2": True, "<= 1.9": False, ">= 2": True, ">= 2.1": False, "ours <= 6": True}
    assert figure.met is None
    assert figure.ratio == 2


def test_works_are_timed_in_turn():
    """Each round runs every work once; rounds before the timed ones do not count."""
    seen = []
    clocks = alternate(lambda: seen.append("a"), lambda: sum(range(300_000)), repeats=3, warm=2)
    assert len(seen) == 5
    assert 0 <= clocks[0].wall < clocks[1].wall
    assert clocks[1].cpu > 0


def test_peak_memory_is_that_of_the_work_alone():
    """A process of its own takes more memory for more work, whatever this one has taken."""
    small, large = (spent_apart(bank.multiplied, bank.Size(1000, channels, 100)) for channels in (64, 8192))
    assert small.wall > 0
    assert small.peak_mib + 30 < large.peak_mib < small.peak_mib + 500


def test_figures_are_written_by_name(tmp_path, capsys):
    """The JSON is a list with the promised keys; a figure that is measured again takes the place of the old one."""
    file = tmp_path / "folder" / "benchmarks.json"
    for count in (5, 3):
        assert command("", Size, measure, ["--count", str(count), "--to", str(file)]) == 0
    (row,) = json.loads(file.read_text())
    assert {"name", "ours", "reference", "ratio", "unit", "machine"} <= set(row)
    assert (row["name"], row["ours"], row["ratio"], row["met"], row["size"]) == ("counted", 3, 0.75, True, {"count": 3})
    assert "cores" in row["machine"]
    told = capsys.readouterr().out
    assert "| counted | counting | 5 | 4 (four) | things | 1.25 | <= 0.8 | no |" in told
    assert "counted: twice 6" in told


def test_what_cannot_run_here_is_skipped(tmp_path, capsys):
    """A sentence, no error, and no figure."""
    assert command("", Size, measure, ["--count", "0", "--to", str(tmp_path / "a.json")]) == 0
    assert "skipped: there is nothing to count" in capsys.readouterr().out
    assert not (tmp_path / "a.json").exists()


def test_all_are_listed_and_unknown_ones_refused(capsys):
    """Every benchmark says in a line what it measures; a wrong name gets the nearest one."""
    assert all_of_them.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(all_of_them.NAMES)
    assert all(len(line.split()) > 4 for line in lines)
    assert all_of_them.main(["bnak"]) == 2
    assert "did you mean 'bank'?" in capsys.readouterr().err


def test_one_that_fails_stops_no_other(tmp_path, monkeypatch, capsys):
    """The rest still runs, and the exit code tells."""
    monkeypatch.setattr(all_of_them, "NAMES", ("nowhere", "neither"))
    assert all_of_them.main(["--to", str(tmp_path / "a.json")]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "failed: nowhere, neither"


def test_bank():
    """As many candidates as wanted are apart; the bank is checked by itself."""
    size = bank.Size(candidates=2000, channels=128, accepted=200)
    vectors = list(bank.blocks(size))
    assert [v.shape for v in vectors] == [(1000, 128)] * 2
    np.testing.assert_allclose(np.linalg.norm(vectors[0], axis=1), 1, atol=1e-5)
    assert bank.filtered(size).wall > 0
    assert bank.multiplied(size).wall > 0


def test_plan_knows_the_made_store(tmp_path):
    """The records written by the script are what a finished run would have: nothing is left to do."""
    options = plan.overrides(tmp_path, 200)
    assert plan.make_store(load_config(None, options)) == 5 * 10 + 5 + 7
    _, _, told = plan.look(options)
    assert told["complete"]
    assert {s["stage"]: s["reuse"] for s in told["stages"]}["refine"] == 10


def test_repair_equals_the_formulas_pixel_by_pixel():
    """Both give the same labels (the benchmark raises otherwise), and every stage has something to do in the scene."""
    settings = load_config("pascal5i_fold0").experiment
    size = repair.Size(side=64, cells=8, channels=32, small=64, repeats=1)
    assert repair.against_pixels(size, settings).ratio < 1
    refiner = SamRefiner(OriginalSam(build_sam(SMALL_SAM), autocast_of("cpu", "fp32")))
    assert math.isfinite(repair.against_encoder(size, settings, refiner).ratio)
    sample, features, prototype = repair.scene(128, 16, 32)
    done = repair.repair(sample, features, prototype, repair.Shrunk(), settings)
    assert done.scores["apf_kept"] == 2
    assert done.scores["apr_claimed"] > 0
    assert done.scores["sabr_regions"] == 3
    assert done.scores["sabr_skipped"] == 0


def test_synthesis():
    """The stage and the bare loops draw the same pictures (the benchmark raises otherwise)."""
    figures = synthesis.measure(synthesis.Size(pictures=2, steps=1, repeats=1))
    assert [figure.name for figure in figures] == ["synthesis", "synthesis_single"]
    assert all(figure.ratio > 0 for figure in figures)


def test_workers():
    """One worker draws all shards; more of them are tested where they are made."""
    assert workers.drawn(workers.Size(shards=1, steps=1), 1, 1).wall > 0


def test_runners():
    """Our processes outlive a flow, Prefect's do not."""
    (figure,) = runners.measure(runners.Size(shards=4, workers=1))
    assert figure.more == {"processes, ours": 1, "processes, Prefect's": runners.FLOWS}


def test_gpu_families_at_tiny_size():
    """Every family draws through its real pipeline without text encoders, and pictures do not depend on the batch."""
    vae = {"block_out_channels": (8, 8), "norm_num_groups": 4, "down_block_types": ("DownEncoderBlock2D",) * 2,
           "up_block_types": ("UpDecoderBlock2D",) * 2, "layers_per_block": 1}  # fmt: skip
    unet = {"sample_size": 8, "block_out_channels": (8, 8), "norm_num_groups": 4, "layers_per_block": 1,
            "cross_attention_dim": 16}  # fmt: skip
    tiny = {
        "sd15": unet | {"attention_head_dim": 2, "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
                        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D")},
        "sdxl": unet | {"attention_head_dim": (2, 4), "transformer_layers_per_block": (1, 1),
                        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
                        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"), "addition_time_embed_dim": 4,
                        "projection_class_embeddings_input_dim": 6 * 4 + 8},
        "sd35": {"sample_size": 8, "num_layers": 1, "attention_head_dim": 4, "num_attention_heads": 4,
                 "caption_projection_dim": 16, "joint_attention_dim": 16, "pooled_projection_dim": 8,
                 "pos_embed_max_size": 8},
    }  # fmt: skip
    size = gpu.Size(batches="1,2", steps=1, repeats=1, compiled=0, device="cpu")
    for name, network in tiny.items():
        family = FAMILIES[name]
        small = replace(
            family, network={**family.network, **network}, vae={**family.vae, **vae}, side=16, words=(5, 16),
            pooled=8 if family.pooled else 0,
        )  # fmt: skip
        one, two = gpu.family_figures(name, small, size)
        assert (one.name, two.name) == (f"gpu_{name}_batch1", f"gpu_{name}_batch2")
        assert one.more["greatest"] == 0
        assert two.more["greatest"] < 1
    found = gpu.sam_figure(build_sam(SMALL_SAM), size)
    assert found.ours > 0
    assert 0 <= found.more["IoU of their masks (random weights)"] <= 1


def test_blocks_are_compiled_as_the_generator_does(monkeypatch):
    """The benchmark hands the same blocks to the compiler, with the same settings."""
    import torch

    from pipeline.backends.diffusion_loading import compile_blocks

    asked = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda block, **more: asked.append((block, more)))
    monkeypatch.setattr(gpu, "draw", lambda *_: np.zeros((1, 1, 1, 3)))
    pipe = SimpleNamespace(transformer=SD3Transformer2DModel(
        sample_size=8, num_layers=2, attention_head_dim=4, num_attention_heads=4, caption_projection_dim=16,
        joint_attention_dim=16, pooled_projection_dim=8, pos_embed_max_size=8,
    ))  # fmt: skip
    monkeypatch.setattr(gpu, "build", lambda *_: pipe)
    gpu.family_figures("sd35", FAMILIES["sd35"], gpu.Size(batches="1", repeats=1, device="cpu"))
    benchmarked, asked[:] = list(asked), []
    compile_blocks(pipe)
    assert len(asked) == 2
    assert benchmarked == asked


@pytest.mark.parametrize(
    ("name", "millions"), [("sd15", 859.5), ("sdxl", 2567.5), ("sd35", 8056.6)],
)  # fmt: skip
def test_shapes_are_the_published_ones(name, millions):
    """The denoisers have as many parameters as the published ones."""
    import torch

    with torch.device("meta"):
        network = network_of(FAMILIES[name])
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.1)


def test_without_a_gpu_it_is_skipped(monkeypatch):
    """A sentence says so."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(Skipped, match="no GPU here"):
        gpu.measure(gpu.Size())


def test_fss():
    """Matching's row has its parts and their sum."""
    row = fss.measure_row("matching", fss.Size(side=64, repeat=1, device="cpu"))
    assert row["seconds"] == pytest.approx(sum(row["parts"].values()))
    assert {"backbone", "rest"} <= set(row["parts"])
    assert "prototype matching | all" in fss.table([row])


def test_report():
    """A report of a few discs opens."""
    if not find_chromium():
        pytest.skip("no Chromium")
    opening, memory = report.measure(report.Size(samples=10))
    assert opening.more["files"] > 1
    assert memory.ours > 1
