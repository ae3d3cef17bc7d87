"""The weights that ship with picto: small, whole, and as good as their logs say."""

import numpy as np
import pytest
import torch

from picto.other_things import PRETRAINING_CLASSES
from picto.recipes.sam import boxes_of
from picto.recipes.tokenizer import all_captions
from picto.recipes.training import WEIGHTS
from picto.scenes import caption, draw_scene
from picto.seeds import scene_rng
from picto.things import FOLD_CLASSES
from pipeline.backends.segment_anything_import import load_segment_anything
from pipeline.backends.small_sam import load_small_sam


@pytest.fixture(scope="module")
def generator():
    """The shipped text-to-image pipeline in single precision."""
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(WEIGHTS / "generator", dtype=torch.float32, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_weights_are_small():
    """All weights together stay within 40 MB."""
    assert sum(f.stat().st_size for f in WEIGHTS.rglob("*") if f.is_file()) <= 40e6


def test_weights_are_safetensors():
    """No weight is stored in a format that can run code."""
    assert not [f for f in WEIGHTS.rglob("*") if f.suffix in {".bin", ".pt", ".pth", ".ckpt", ".pkl"}]
    assert len(list(WEIGHTS.rglob("*.safetensors"))) == 5


def test_every_word_is_one_token(generator):
    """The tokenizer knows each word of every caption whole."""
    tokenizer = generator.tokenizer
    words = {word for sentence in all_captions().values() for word in sentence.split()}
    for word in words:
        assert len(tokenizer(word).input_ids) == 3, word
    longest = max(all_captions().values(), key=lambda s: len(s.split()))
    assert tokenizer.decode(tokenizer(longest).input_ids, skip_special_tokens=True).strip() == longest


def test_generator_draws_what_the_prompt_names(generator):
    """A red thing in the snow and a green one at night have the asked colours, and the seed decides the pixels."""
    prompts = [
        caption("boat", kind="sailing boat", colour="red", background="snow"),
        caption("car", kind="sports car", colour="green", background="night"),
    ]

    def draw(seed: int) -> np.ndarray:
        seeds = [torch.Generator().manual_seed(seed) for _ in prompts]
        return generator(prompts, num_inference_steps=8, guidance_scale=2.5, generator=seeds, output_type="np").images

    first = draw(1)
    assert first.shape == (2, 64, 64, 3)
    corners = first[:, [2, -3], 2].mean((1, 2))
    assert corners[0] > 0.6
    assert corners[1] < 0.4
    excess = first - first.mean(-1, keepdims=True)
    assert np.quantile(excess[0, ..., 0], 0.97) > 0.15
    assert np.quantile(excess[1, ..., 1], 0.97) > 0.1
    np.testing.assert_array_equal(first, draw(1))
    assert np.abs(first - draw(2)).mean() > 0.01


def test_backbone_knows_the_pretraining_kinds():
    """The ResNet names nine of ten held-out things and no class of a fold."""
    from transformers import ResNetForImageClassification

    from picto.recipes.backbone import draw_batch, preprocess

    model = ResNetForImageClassification.from_pretrained(WEIGHTS / "backbone", dtype=torch.float32).eval()
    names = set(model.config.id2label.values())
    assert names == {kind for kinds in PRETRAINING_CLASSES.values() for kind in kinds}
    assert not names & {kind for kinds in FOLD_CLASSES.values() for kind in kinds}
    x, kinds = draw_batch("pretraining-test", 0, 60)
    with torch.no_grad():
        assert (model(preprocess(x)).logits.argmax(1) == kinds).float().mean() > 0.9


@pytest.mark.parametrize("classes", [PRETRAINING_CLASSES, FOLD_CLASSES], ids=["pretraining", "folds"])
def test_sam_cuts_things_out_of_their_boxes(classes):
    """Box prompts find the visible mask, of classes never seen too, and the predicted IoU follows the true one.

    This catches broken weights; how good they are is measured by the recipe, on five times as many scenes.
    """
    predictor = load_segment_anything().SamPredictor(load_small_sam(WEIGHTS / "sam"))
    reached, believed = [], []
    for i in range(100):
        scene = draw_scene(scene_rng("tuning", i), classes)
        predictor.set_image(scene.picture)
        for thing in scene.things:
            box = boxes_of(torch.from_numpy(thing.mask)[None])[0].numpy()
            masks, scores, _ = predictor.predict(box=box, multimask_output=False)
            assert masks.shape == (1, 64, 64)
            reached.append((masks[0] & thing.mask).sum() / (masks[0] | thing.mask).sum())
            believed.append(scores[0])
    assert np.mean(reached) > 0.84
    assert np.corrcoef(reached, believed)[0, 1] > 0.5
