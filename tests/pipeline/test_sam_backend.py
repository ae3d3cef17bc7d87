"""The SAM backends with real, tiny, untrained models: `Sam`, `SamModel`, `Sam2Model`."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.backends.sam import SamRefiner
from pipeline.backends.segment_anything_import import load_segment_anything
from pipeline.backends.small_sam import build_sam
from pipeline.errors import InputError, OutOfMemory

CONFIG = {
    "img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2, "use_rel_pos": True,
    "window_size": 3, "global_attn_indexes": [1], "prompt_dim": 16, "decoder_depth": 1, "decoder_heads": 2,
    "decoder_mlp_dim": 16, "iou_head_dim": 16, "mask_in_chans": 4,
}  # fmt: skip
RENAMED = (
    (r"^image_encoder\.", "vision_encoder."), (r"patch_embed\.proj\.", "patch_embed.projection."),
    (r"\.blocks\.", ".layers."), (r"neck\.0\.", "neck.conv1."), (r"neck\.1\.", "neck.layer_norm1."),
    (r"neck\.2\.", "neck.conv2."), (r"neck\.3\.", "neck.layer_norm2."), (r"\.norm", ".layer_norm"),
    (r"point_embeddings\.", "point_embed."), (r"mask_downscaling\.0\.", "mask_embed.conv1."),
    (r"mask_downscaling\.1\.", "mask_embed.layer_norm1."), (r"mask_downscaling\.3\.", "mask_embed.conv2."),
    (r"mask_downscaling\.4\.", "mask_embed.layer_norm2."), (r"mask_downscaling\.6\.", "mask_embed.conv3."),
    (r"(head|mlps\.\d)\.layers\.0\.", r"\1.proj_in."), (r"(head|mlps\.\d)\.layers\.1\.", r"\1.layers.0."),
    (r"(head|mlps\.\d)\.layers\.2\.", r"\1.proj_out."), (r"output_upscaling\.0\.", "upscale_conv1."),
    (r"output_upscaling\.1\.", "upscale_layer_norm."), (r"output_upscaling\.3\.", "upscale_conv2."),
    (r"^prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix", "shared_image_embedding.positional_embedding"),
)  # fmt: skip
"""Names of `segment_anything` -> names of transformers."""

PICTURE = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
PICTURE.flags.writeable = False
BOXES = np.array([[2, 3, 12, 15], [10, 0, 30, 20], [0, 0, 5, 5]], np.float32)


def save_small(folder: Path) -> None:
    """Save a small `Sam`."""
    torch.manual_seed(0)
    save_file(build_sam(CONFIG).state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))


def save_sam(folder: Path) -> None:
    """Save a `SamModel` of the same shape."""
    from transformers import SamConfig, SamModel

    vision = {
        "hidden_size": 16, "output_channels": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32,
        "patch_size": 8, "window_size": 3, "global_attn_indexes": [1], "num_pos_feats": 8,
    }  # fmt: skip
    decoder = {"hidden_size": 16, "mlp_dim": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
               "iou_head_hidden_dim": 16}  # fmt: skip
    prompts = {"hidden_size": 16, "image_size": 32, "patch_size": 8, "mask_input_channels": 4}
    torch.manual_seed(0)
    SamModel(
        SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)
    ).save_pretrained(folder)


def parts_of_sam2() -> dict[str, Any]:
    """Give the parts of a tiny configuration of SAM 2."""
    backbone = {
        "model_type": "sam2_hiera_det_model", "hidden_size": 8, "image_size": [64, 64],
        "blocks_per_stage": [1, 2, 2, 1], "global_attention_blocks": [4], "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 2, 2], "window_size_per_stage": [4, 2, 4, 2],
    }  # fmt: skip
    vision = {
        "model_type": "sam2_vision_model", "backbone_config": backbone, "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]], "fpn_hidden_size": 32,
    }  # fmt: skip
    return {
        "vision_config": vision,
        "prompt_encoder_config": {"hidden_size": 32, "image_size": 64, "patch_size": 16, "mask_input_channels": 4},
        "mask_decoder_config": {"hidden_size": 32, "mlp_dim": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
                                "iou_head_hidden_dim": 16},
    }  # fmt: skip


def save_sam2(folder: Path) -> None:
    """Save a `Sam2Model`."""
    from transformers import Sam2Config, Sam2Model

    torch.manual_seed(0)
    Sam2Model(Sam2Config(**parts_of_sam2())).save_pretrained(folder)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of every kind."""
    found = {}
    for name, save in {"small": save_small, "sam": save_sam, "sam2": save_sam2}.items():
        found[name] = tmp_path_factory.mktemp(name)
        save(found[name])
    return found


@pytest.fixture(params=["small", "sam", "sam2"])
def folder(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Path:
    """Every kind in turn."""
    return folders[request.param]


def parts_of(refiner: SamRefiner) -> tuple[Any, Any]:
    """Give the image encoder and the mask decoder of a refiner, whose passes are to be counted."""
    network: Any = refiner.network
    model = network.model if hasattr(network, "model") else network._predictor.model
    return model.image_encoder if hasattr(model, "image_encoder") else model.vision_encoder, model.mask_decoder


def test_boxes_in_one_batch_equal_boxes_one_by_one(folders: dict[str, Path]) -> None:
    """A batch of boxes gives what the package's own predictor gives box by box, whatever the picture's size."""
    masks, scores = SamRefiner.from_checkpoint(folders["small"]).segment(PICTURE, BOXES)
    assert masks.shape == (3, 20, 30)
    sam = build_sam(CONFIG)
    sam.load_state_dict(load_file(folders["small"] / "model.safetensors"))
    predictor = load_segment_anything().SamPredictor(sam)
    predictor.set_image(PICTURE)
    for box, mask, score in zip(BOXES, masks, scores, strict=True):
        theirs, their_score, _ = predictor.predict(box=box - [0, 0, 1, 1], multimask_output=False)
        assert np.array_equal(theirs[0], mask)
        assert their_score[0] == pytest.approx(score, abs=1e-5)


def test_same_weights_give_the_same_masks_through_both_libraries(folders: dict[str, Path], tmp_path: Path) -> None:
    """A `Sam` and a `SamModel` with its weights under their other names agree to float error, tall or wide."""
    state = load_file(folders["small"] / "model.safetensors")
    for pattern, name in RENAMED:
        state = {re.sub(pattern, name, key): value for key, value in state.items()}
    expected = set(load_file(folders["sam"] / "model.safetensors"))
    state = {key: value for key, value in state.items() if not key.startswith("pixel_")}
    assert set(state) == expected
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((folders["sam"] / "config.json").read_bytes())
    original, renamed = (SamRefiner.from_checkpoint(place) for place in (folders["small"], tmp_path))
    for picture in (PICTURE, np.ascontiguousarray(PICTURE.transpose(1, 0, 2)), np.tile(PICTURE, (3, 2, 1))):
        boxes = np.concatenate([BOXES.clip(max=20), BOXES.clip(max=17)])
        boxes[4] = [0, 1, 17, 19]
        (masks, scores), (theirs, their_scores) = (one.segment(picture, boxes) for one in (original, renamed))
        assert 0 < masks.mean() < 1
        assert np.array_equal(masks, theirs)
        np.testing.assert_allclose(scores, their_scores, atol=1e-5)


def test_sam2_in_two_steps_is_its_own_forward_pass(folders: dict[str, Path]) -> None:
    """Embedding kept, then decoder: as the model's own call on the stretched, normalised picture and scaled boxes."""
    refiner = SamRefiner.from_checkpoint(folders["sam2"])
    masks, scores = refiner.segment(PICTURE, BOXES)
    square = torch.nn.functional.interpolate(
        torch.tensor(PICTURE).permute(2, 0, 1)[None].float(), (64, 64), mode="bilinear", antialias=True
    ).round()
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    boxes = (torch.tensor(BOXES) - torch.tensor([0, 0, 1, 1])) * torch.tensor([64 / 30, 64 / 20] * 2)
    with torch.inference_mode():
        found = refiner.network.model(
            pixel_values=(square / 255 - mean) / std, input_boxes=boxes[None], multimask_output=False
        )
    expected = torch.nn.functional.interpolate(found.pred_masks[0], (20, 30), mode="bilinear")[:, 0] > 0
    assert 0 < masks.mean() < 1
    assert (masks != expected.numpy()).mean() < 0.01  # Pillow rounds to bytes by another rule
    np.testing.assert_allclose(scores, found.iou_scores[0, :, 0], atol=1e-4)


def test_a_folder_of_the_video_model_is_its_picture_model(folders: dict[str, Path], tmp_path: Path) -> None:
    """Checkpoints of SAM 2 name their video model; what they hold beside the picture model is passed over."""
    from transformers import Sam2Model, Sam2VideoConfig, Sam2VideoModel

    video = Sam2VideoModel(Sam2VideoConfig(
        **parts_of_sam2(), image_size=64, memory_attention_hidden_size=32, memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=32, memory_encoder_hidden_size=32, memory_encoder_output_channels=16,
        mask_downsampler_embed_dim=32, memory_fuser_embed_dim=32,
    ))  # fmt: skip
    video.load_state_dict(Sam2Model.from_pretrained(folders["sam2"]).state_dict(), strict=False)
    video.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "sam2_video"
    found = SamRefiner.from_checkpoint(tmp_path).segment(PICTURE, BOXES)
    expected = SamRefiner.from_checkpoint(folders["sam2"]).segment(PICTURE, BOXES)
    assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))


def test_normalisation_is_that_of_the_folder(folders: dict[str, Path], tmp_path: Path) -> None:
    """What a folder's image processor says about mean and deviation counts, whichever file says it."""
    scores = {}
    said = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.5, 0.5], "rescale_factor": 1 / 255}
    texts = {"none": None, "preprocessor_config": said, "processor_config": {"image_processor": said}}
    for name, text in texts.items():
        place = tmp_path / name
        place.mkdir()
        for file in ("config.json", "model.safetensors"):
            (place / file).write_bytes((folders["sam2"] / file).read_bytes())
        if text:
            (place / f"{name}.json").write_text(json.dumps(text))
        scores[name] = SamRefiner.from_checkpoint(place).segment(PICTURE, BOXES)[1].tolist()
    assert scores["preprocessor_config"] == scores["processor_config"] != scores["none"]


def test_checkpoint_of_the_original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """vit_b=PATH goes through the package's registry and builder: here 1,024 pixels, its decoder, a narrow encoder."""
    package = load_segment_anything()
    builders = sys.modules["segment_anything.build_sam"]  # the package's attribute of this name is a function

    def narrow(checkpoint: str | None = None) -> Any:
        return builders._build_sam(16, 1, 2, [], checkpoint)

    monkeypatch.setitem(package.sam_model_registry, "vit_b", narrow)
    torch.manual_seed(0)
    torch.save(narrow().state_dict(), tmp_path / "sam.pth")
    refiner = SamRefiner.from_checkpoint(f"vit_b={tmp_path / 'sam.pth'}")
    masks, scores = refiner.segment(PICTURE, BOXES)
    assert (masks.shape, masks.dtype, scores.shape, scores.dtype) == ((3, 20, 30), bool, (3,), np.float32)
    (tmp_path / "sam.pth").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"sam\.pth cannot be loaded"):
        SamRefiner.from_checkpoint(f"vit_b={tmp_path / 'sam.pth'}")
    torch.save(build_sam(CONFIG).state_dict(), tmp_path / "sam.pth")
    with pytest.raises(InputError, match=r"cannot be loaded \(Error\(s\) in loading state_dict for Sam"):
        SamRefiner.from_checkpoint(f"vit_b={tmp_path / 'sam.pth'}")


def test_a_picture_is_embedded_once_and_its_boxes_are_one_batch(folder: Path) -> None:
    """Many boxes are one pass of each part; asked again, only the decoder works; another picture is not confused."""
    refiner = SamRefiner.from_checkpoint(folder)
    passes = {"encoder": 0, "decoder": 0}
    for name, part in zip(passes, parts_of(refiner), strict=True):
        part.register_forward_hook(lambda *_, name=name: passes.update({name: passes[name] + 1}))
    one, other = np.random.default_rng(1).integers(0, 255, (2, 20, 30, 3), dtype=np.uint8)
    many = np.tile(BOXES, (30, 1))
    first = refiner.segment(one, many)
    assert passes == {"encoder": 1, "decoder": 1}
    assert (first[0].shape, first[0].dtype, first[1].shape, first[1].dtype) == ((90, 20, 30), bool, (90,), np.float32)
    again = [refiner.segment(one.copy(), BOXES[[i]]) for i in range(2)]
    assert passes == {"encoder": 1, "decoder": 3}
    assert np.array_equal(first[0][:2], np.concatenate([masks for masks, _ in again]))
    expected = SamRefiner.from_checkpoint(folder).segment(other, BOXES)[1]
    assert np.array_equal(refiner.segment(other, BOXES)[1], expected)
    changed = one.copy()
    refiner.segment(changed, BOXES)
    changed[:] = other
    assert np.array_equal(refiner.segment(changed, BOXES)[1], expected)
    assert passes["encoder"] == 4


def test_more_boxes_than_fit_a_batch(folders: dict[str, Path]) -> None:
    """Beyond the limit that keeps memory in bounds the answers are joined in order."""
    refiner = SamRefiner.from_checkpoint(folders["small"])
    boxes = np.tile(BOXES, (90, 1))
    masks, scores = refiner.segment(PICTURE, boxes)
    assert masks.shape == (270, 20, 30)
    assert np.array_equal(masks[-3:], masks[:3])
    np.testing.assert_allclose(scores[-3:], scores[:3], atol=1e-6)


def test_precision_is_that_of_the_encoder(folder: Path) -> None:
    """On a CPU auto is float32; bf16 is the encoder's alone, and what it gives goes on in float32."""
    seen: dict[str, list[torch.dtype]] = {}
    scores = {}
    for precision in ("auto", "fp32", "bf16"):
        refiner = SamRefiner.from_checkpoint(folder, precision=precision)
        encoder, decoder = parts_of(refiner)
        linear = [part for part in encoder.modules() if isinstance(part, torch.nn.Linear)]
        types = seen.setdefault(precision, [])
        linear[0].register_forward_hook(lambda _, __, found, types=types: types.append(found.dtype))
        decoder.register_forward_hook(lambda _, __, found, types=types: types.append(found[0].dtype))
        scores[precision] = refiner.segment(PICTURE, BOXES)[1]
    assert {found[0] for found in (seen["auto"], seen["fp32"])} == {torch.float32}
    assert (seen["bf16"][0], seen["bf16"][-1]) == (torch.bfloat16, torch.float32)
    assert np.array_equal(scores["auto"], scores["fp32"])
    np.testing.assert_allclose(scores["bf16"], scores["fp32"], atol=0.02)


def test_no_box_gives_no_mask(folder: Path) -> None:
    """Nothing asked, nothing answered, in the right shape."""
    masks, scores = SamRefiner.from_checkpoint(folder).segment(np.zeros((8, 9, 3), np.uint8), np.zeros((0, 4)))
    assert masks.shape == (0, 8, 9)
    assert scores.shape == (0,)


def test_bad_weights_are_one_clear_sentence(folder: Path, tmp_path: Path) -> None:
    """Missing, damaged, incomplete weights and those of another shape name what came."""
    with pytest.raises(InputError, match="no SAM weights at"):
        SamRefiner.from_checkpoint(tmp_path)
    weights, config = load_file(folder / "model.safetensors"), (folder / "config.json").read_bytes()
    (tmp_path / "config.json").write_bytes(config)
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError, match="cannot be loaded"):
        SamRefiner.from_checkpoint(tmp_path)
    name = next(key for key in weights if "iou_prediction_head" in key)
    for odd in (
        {k: v for k, v in weights.items() if k != name}, {**weights, name: torch.zeros(weights[name].shape[0] + 1)}
    ):
        save_file(odd, tmp_path / "model.safetensors", {"format": "pt"})
        with pytest.raises(InputError, match=r"do not fit its config\.json"):
            SamRefiner.from_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json is no JSON"):
        SamRefiner.from_checkpoint(tmp_path)


def test_what_is_no_sam_is_told(tmp_path: Path) -> None:
    """A kind of checkpoint, a file and a model type that are not there or no SAM."""
    with pytest.raises(InputError, match="no SAM weights at"):
        SamRefiner.from_checkpoint(f"vit_h={tmp_path / 'sam.pth'}")
    with pytest.raises(InputError, match="unknown kind of SAM 'vit_x'"):
        SamRefiner.from_checkpoint("vit_x=sam.pth")
    (tmp_path / "config.json").write_text('{"model_type": "resnet"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match=r"type 'resnet', which is no SAM: expected sam, sam2, sam2_video"):
        SamRefiner.from_checkpoint(tmp_path)


def test_want_of_memory_is_told_and_the_next_picture_goes_on(folder: Path) -> None:
    """An encoder that finds no memory once gives one sentence; asked again, it answers as ever."""
    refiner = SamRefiner.from_checkpoint(folder)
    picture = np.random.default_rng(1).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    expected, _ = SamRefiner(refiner.network).segment(picture, BOXES)
    short = [True]

    def once(*_: object) -> None:
        if short:
            short.clear()
            raise torch.OutOfMemoryError("CUDA out of memory")

    encoder, _ = parts_of(refiner)
    encoder.register_forward_pre_hook(once)
    with pytest.raises(OutOfMemory, match=r"out of memory in SAM: set experiment\.refine\.precision=bf16"):
        refiner.segment(picture, BOXES)
    again, _ = refiner.segment(picture, BOXES)
    assert (again == expected).all()
