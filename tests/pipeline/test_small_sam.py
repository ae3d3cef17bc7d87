"""segment_anything without torchvision and with it, and the `Sam` built from numbers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pipeline.backends.sam import SamRefiner
from pipeline.backends.segment_anything_import import ResizeLongestSide, load_segment_anything
from pipeline.backends.small_sam import build_sam, load_small_sam
from pipeline.errors import InputError

TINY = {
    "img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2, "use_rel_pos": True,
    "window_size": 0, "prompt_dim": 16, "decoder_depth": 1, "decoder_heads": 2, "decoder_mlp_dim": 16,
    "iou_head_dim": 8, "mask_in_chans": 4,
}
PICTURE = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
BOXES = np.array([[4, 4, 20, 18], [0, 0, 32, 24]], np.float32)
TORCHVISION = {
    "__init__": "", "transforms/__init__": "", "ops/__init__": "",
    "ops/boxes": "batched_nms = box_area = None",
    "transforms/functional": """
from PIL import Image

to_pil_image = Image.fromarray

def resize(image, size):
    return image.resize(size[::-1], Image.Resampling.BILINEAR)
""",
}
"""What segment_anything imports of torchvision: module -> its text."""

WITH_TORCHVISION = """
import sys

import numpy as np

from pipeline.backends.sam import SamRefiner
from tests.pipeline.test_small_sam import BOXES, PICTURE

refiner = SamRefiner.from_checkpoint(sys.argv[1])
import segment_anything

print(type(refiner.network._predictor.transform).__module__, sys.modules["segment_anything.utils.transforms"].__file__)
print(segment_anything.SamAutomaticMaskGenerator.__module__, sys.modules["torchvision"].__file__)
np.savez(sys.argv[2], *refiner.segment(PICTURE, BOXES))
"""


def write(folder, config, state):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file({k: v.half().contiguous() for k, v in state.items()}, folder / "model.safetensors")


def test_real_package_is_loaded():
    """The predictor and the model registry are segment_anything's own, and a second call gives the same module."""
    module = load_segment_anything()
    assert module.SamPredictor.__module__ == "segment_anything.predictor"
    assert {"vit_b", "vit_l", "vit_h"} <= set(module.sam_model_registry)
    assert load_segment_anything() is module


def test_resize_keeps_aspect_and_coordinates():
    """By hand: a 20 x 10 picture to 40, its points and boxes doubled, its input unchanged."""
    resize = ResizeLongestSide(40)
    picture = np.full((20, 10, 3), 7, np.uint8)
    picture.setflags(write=False)
    assert resize.apply_image(picture).shape == (40, 20, 3)
    assert (resize.apply_image(picture) == 7).all()
    points = np.array([[3.0, 5.0]])
    np.testing.assert_allclose(resize.apply_coords(points, (20, 10)), [[6, 10]])
    np.testing.assert_allclose(resize.apply_boxes(np.array([[1, 2, 3, 4]]), (20, 10)), [[2, 4, 6, 8]])
    np.testing.assert_array_equal(points, [[3, 5]])


def test_saved_model_predicts_the_same(tmp_path):
    """A model that went through the folder gives the masks and scores of the one that was saved."""
    torch.manual_seed(0)
    sam = build_sam(TINY)
    state = {k: v.half().float() for k, v in sam.state_dict().items()}
    sam.load_state_dict(state)
    write(tmp_path / "sam", TINY, state)
    results = []
    for model in (sam, load_small_sam(tmp_path / "sam")):
        predictor = load_segment_anything().SamPredictor(model)
        predictor.set_image(PICTURE)
        results.append(predictor.predict(box=np.array([4, 4, 20, 18]), return_logits=True))
    assert results[0][0].shape == (3, 24, 32)
    for mine, theirs in zip(*results, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_beside_torchvision_the_package_is_whole(tmp_path):
    """Where torchvision imports, nothing of the package is replaced, and SAM gives the same masks."""
    for name, text in TORCHVISION.items():
        file = tmp_path / "torchvision" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    write(tmp_path / "sam", TINY, build_sam(TINY).state_dict())
    places = os.pathsep.join(map(str, (tmp_path, Path(__file__).parents[2])))
    told = subprocess.run(
        [sys.executable, "-c", WITH_TORCHVISION, tmp_path / "sam", tmp_path / "found.npz"],
        env={**os.environ, "PYTHONPATH": places}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    transform, its_file, generator, torchvision = told.stdout.split()
    assert transform == "segment_anything.utils.transforms"
    assert Path(its_file).parts[-3:] == ("segment_anything", "utils", "transforms.py")
    assert generator == "segment_anything.automatic_mask_generator"
    assert Path(torchvision) == tmp_path / "torchvision" / "__init__.py"
    mine, theirs = SamRefiner.from_checkpoint(tmp_path / "sam").segment(PICTURE, BOXES), np.load(tmp_path / "found.npz")
    for one, other in zip(mine, theirs.values(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_missing_number_is_named():
    """A config without a number is refused by that number's name."""
    with pytest.raises(InputError, match="decoder_depth"):
        build_sam({key: value for key, value in TINY.items() if key != "decoder_depth"})


def test_missing_and_foreign_weights_are_refused(tmp_path):
    """A folder without weights, and weights of another shape, give one clear sentence each."""
    with pytest.raises(InputError, match=r"config\.json"):
        load_small_sam(tmp_path)
    write(tmp_path / "sam", TINY, build_sam({**TINY, "embed_dim": 32}).state_dict())
    with pytest.raises(InputError, match="do not fit"):
        load_small_sam(tmp_path / "sam")
