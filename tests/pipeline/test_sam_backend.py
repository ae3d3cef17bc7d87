"""The SAM backend with a real, tiny, untrained `Sam`."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pipeline.backends.sam import SamRefiner
from pipeline.backends.segment_anything_import import load_segment_anything
from pipeline.backends.small_sam import build_sam
from pipeline.errors import InputError

CONFIG = {
    "img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2, "use_rel_pos": True,
    "window_size": 0, "prompt_dim": 16, "decoder_depth": 1, "decoder_heads": 2, "decoder_mlp_dim": 16,
    "iou_head_dim": 16, "mask_in_chans": 4,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved small SAM."""
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("sam")
    save_file(build_sam(CONFIG).state_dict(), place / "model.safetensors")
    (place / "config.json").write_text(json.dumps(CONFIG))
    return place


def test_boxes_in_one_batch_equal_boxes_one_by_one(folder: Path) -> None:
    """A batch of boxes gives what the package's own predictor gives box by box, whatever the picture's size."""
    refiner = SamRefiner.from_checkpoint(folder)
    picture = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    picture.flags.writeable = False
    boxes = np.array([[2, 3, 12, 15], [10, 0, 30, 20], [0, 0, 5, 5]], np.float32)
    masks, scores = refiner.segment(picture, boxes)
    assert masks.shape == (3, 20, 30)
    assert masks.dtype == bool
    assert scores.shape == (3,)
    sam = build_sam(CONFIG)
    from safetensors.torch import load_file

    sam.load_state_dict(load_file(folder / "model.safetensors"))
    predictor = load_segment_anything().SamPredictor(sam)
    predictor.set_image(picture)
    for box, mask, score in zip(boxes, masks, scores, strict=True):
        theirs, their_score, _ = predictor.predict(box=box - [0, 0, 1, 1], multimask_output=False)
        assert np.array_equal(theirs[0], mask)
        assert their_score[0] == pytest.approx(score, abs=1e-5)


def test_a_picture_is_embedded_once(folder: Path) -> None:
    """Asked again about a picture, only the decoder works; another picture of the same size is not confused with it."""
    refiner = SamRefiner.from_checkpoint(folder)
    passes: list[int] = []
    refiner._predictor.model.image_encoder.register_forward_hook(lambda *_: passes.append(1))
    one, other = np.random.default_rng(1).integers(0, 255, (2, 20, 30, 3), dtype=np.uint8)
    boxes = np.array([[2, 3, 12, 15], [10, 0, 30, 20]], np.float32)
    first = refiner.segment(one, boxes)
    again = [refiner.segment(one.copy(), boxes[[i]]) for i in range(2)]
    assert len(passes) == 1
    assert np.array_equal(first[0], np.concatenate([masks for masks, _ in again]))
    expected = SamRefiner.from_checkpoint(folder).segment(other, boxes)[1]
    assert np.array_equal(refiner.segment(other, boxes)[1], expected)
    changed = one.copy()
    refiner.segment(changed, boxes)
    changed[:] = other
    assert np.array_equal(refiner.segment(changed, boxes)[1], expected)
    assert len(passes) == 4


def test_no_box_gives_no_mask(folder: Path) -> None:
    """Nothing asked, nothing answered, in the right shape."""
    masks, scores = SamRefiner.from_checkpoint(folder).segment(np.zeros((8, 9, 3), np.uint8), np.zeros((0, 4)))
    assert masks.shape == (0, 8, 9)
    assert scores.shape == (0,)


def test_bad_weights_are_one_clear_sentence(folder: Path, tmp_path: Path) -> None:
    """A missing file, an unknown kind and weights of another shape name what came."""
    with pytest.raises(InputError, match="no SAM weights at"):
        SamRefiner.from_checkpoint(tmp_path)
    with pytest.raises(InputError, match="no SAM weights at"):
        SamRefiner.from_checkpoint(f"vit_h={tmp_path / 'sam.pth'}")
    with pytest.raises(InputError, match="unknown kind of SAM 'vit_x'"):
        SamRefiner.from_checkpoint("vit_x=sam.pth")
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "embed_dim": 32}))
    with pytest.raises(InputError, match="do not fit"):
        SamRefiner.from_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError, match="cannot be loaded"):
        SamRefiner.from_checkpoint(tmp_path)
