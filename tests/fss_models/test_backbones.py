import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from fss_models.backbones import Backbone
from fss_models.cam import own_class, xgrad_cam
from pipeline.errors import InputError


def test_levels_are_the_networks_own(backbone_folder, pictures):
    """With stride 32 levels and scores equal those of the transformers model, with folding done by hand nowhere."""
    from transformers import ResNetForImageClassification

    network = ResNetForImageClassification.from_pretrained(backbone_folder).eval()
    backbone = Backbone.from_pretrained(backbone_folder, stride=32, precision="float32")
    enlarged = torch.nn.functional.interpolate(pictures, size=(64, 64), mode="bilinear")
    expected = network((enlarged - 0.5) / 0.25, output_hidden_states=True)
    levels = backbone(pictures)
    for level, hidden in zip(levels.maps, expected.hidden_states[1:], strict=True):
        torch.testing.assert_close(level, hidden, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(backbone.classify(levels.f4), expected.logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("side", [32, 33])
def test_dilation_keeps_the_trained_network(backbone_folder, backbone, side):
    """Every second cell of a dilated f3 is the undilated f3, also on odd sizes, and scores are the trained ones."""
    pictures = torch.rand(2, 3, side, side + 6, generator=torch.Generator().manual_seed(0))
    trained = Backbone.from_pretrained(backbone_folder, stride=32, precision="float32")(pictures)
    fine = backbone(pictures)
    assert fine.f2.shape[-2:] == fine.f3.shape[-2:] == fine.f4.shape[-2:]
    cells, score = backbone.as_trained(fine.f3)
    torch.testing.assert_close(cells, trained.f3, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(score(cells), backbone.classify(trained.f4), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(backbone.undilated(fine.f4), trained.f4, atol=1e-4, rtol=1e-4)


def test_stays_frozen(backbone):
    """No weight takes a gradient and training mode does not reach it."""
    assert not any(p.requires_grad for p in backbone.parameters())
    assert not any(m.training for m in backbone.train().modules())
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in backbone.modules())


def test_cam_is_stretched_and_of_its_class(backbone, pictures):
    """Maps reach from 0 to 1, equal those of a picture alone, and differ between classes."""
    f3 = backbone(pictures).f3
    classes = own_class(backbone, f3, torch.ones(2, 32, 32))
    cam = xgrad_cam(backbone, f3, classes)
    assert cam.shape == (2, *f3.shape[-2:])
    assert cam.min() >= 0
    assert cam.max() <= 1
    torch.testing.assert_close(cam[1:], xgrad_cam(backbone, f3[1:], classes[1:]), atol=1e-4, rtol=1e-3)
    others = [xgrad_cam(backbone, f3, torch.full((2,), c)) for c in range(backbone.classes)]
    assert any(not torch.allclose(cam, other) for other in others)


@pytest.mark.parametrize("damage", ["missing", "shape", "half"])
def test_damaged_weights_are_refused(backbone_folder, tmp_path, damage):
    """A tensor that is missing or of another shape is never replaced by a random one; half a file is told."""
    folder = shutil.copytree(backbone_folder, tmp_path / "backbone")
    file = folder / "model.safetensors"
    tensors = load_file(file)
    name = "classifier.1.weight"
    kept = {k: v for k, v in tensors.items() if k != name} | ({name: torch.zeros(3)} if damage == "shape" else {})
    save_file(kept, file, metadata={"format": "pt"})
    if damage == "half":
        file.write_bytes(file.read_bytes()[:1000])
    words = "cannot be loaded" if damage == "half" else rf"has 1 weights missing or of another shape, such as {name}"
    with pytest.raises(InputError, match=words):
        Backbone.from_pretrained(folder)


def test_missing_folder_is_one_clear_sentence(tmp_path):
    """A folder without a network is the user's error."""
    with pytest.raises(InputError, match=r"no backbone in .* expected the folder of a transformers ResNet"):
        Backbone.from_pretrained(tmp_path)
