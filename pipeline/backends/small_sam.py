"""A `segment_anything` `Sam` of any size, built from a few numbers; picto's is a hundredth of ViT-B."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.backends.segment_anything_import import load_segment_anything
from pipeline.errors import InputError

ENCODER = ("img_size", "patch_size", "embed_dim", "depth", "num_heads", "use_rel_pos", "window_size")
DECODER = ("prompt_dim", "decoder_depth", "decoder_heads", "decoder_mlp_dim", "iou_head_dim", "mask_in_chans")


def build_sam(config: dict[str, Any]) -> Any:
    """Build an untrained `Sam` in evaluation mode.

    Args:
        config: the numbers named in ``ENCODER`` and ``DECODER``. Low-resolution masks have a side of
            ``4 * img_size / patch_size``; blocks whose number is in the optional ``global_attn_indexes`` look at the
            whole picture where ``window_size`` is not 0.

    Returns:
        The model, a `segment_anything.modeling.Sam` with three masks a prompt as in the original.

    Raises:
        InputError: a number is missing.

    Source: Segment Anything, appendix A.
    """
    if missing := [key for key in (*ENCODER, *DECODER) if key not in config]:
        raise InputError(f"The settings of a small SAM lack {', '.join(missing)}; restore its config.json.")
    from torch import nn

    modeling = load_segment_anything().modeling
    side, dim = config["img_size"], config["prompt_dim"]
    cells = side // config["patch_size"]
    sam = modeling.Sam(
        image_encoder=modeling.ImageEncoderViT(
            **{key: config[key] for key in ENCODER},
            global_attn_indexes=tuple(config.get("global_attn_indexes", ())),
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            out_chans=dim,
        ),
        prompt_encoder=modeling.PromptEncoder(
            embed_dim=dim,
            image_embedding_size=(cells, cells),
            input_image_size=(side, side),
            mask_in_chans=config["mask_in_chans"],
        ),
        mask_decoder=modeling.MaskDecoder(
            num_multimask_outputs=3,
            transformer=modeling.TwoWayTransformer(
                depth=config["decoder_depth"],
                embedding_dim=dim,
                mlp_dim=config["decoder_mlp_dim"],
                num_heads=config["decoder_heads"],
            ),
            transformer_dim=dim,
            iou_head_depth=3,
            iou_head_hidden_dim=config["iou_head_dim"],
        ),
    )
    return sam.eval()


def load_small_sam(folder: Path) -> Any:
    """Load ``config.json`` and ``model.safetensors`` of ``folder`` as a float32 `Sam` in evaluation mode.

    Raises:
        InputError: a file is missing or the weights do not fit the config.
    """
    from safetensors.torch import load_file

    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise InputError(f"SAM needs {name} in {folder}, which is not there; run make picto-weights or restore it.")
    sam = build_sam(json.loads((folder / "config.json").read_text()))
    try:
        sam.load_state_dict({key: value.float() for key, value in load_file(folder / "model.safetensors").items()})
    except RuntimeError as error:
        raise InputError(
            f"The weights in {folder / 'model.safetensors'} do not fit its config.json; restore both."
        ) from error
    return sam
