import json

import numpy as np
import pytest
import torch

from fss_models.backbones import Backbone
from fss_models.data import Arrays
from fss_models.gfss import GfssConfig, GfssModel
from pipeline.types import Support

COLOURS = ((200, 40, 40), (40, 200, 40), (40, 40, 200), (200, 200, 40), (200, 40, 200), (40, 200, 200))
"""Of the labels 1.. of the tiny world: 4 base and 2 novel classes of one-coloured boxes."""

BASE, NOVEL = 4, 2


@pytest.fixture(scope="session")
def backbone_folder(tmp_path_factory):
    """Save a tiny random transformers ResNet classifier with its preprocessing."""
    from transformers import ResNetConfig, ResNetForImageClassification

    folder = tmp_path_factory.mktemp("backbone")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = ResNetForImageClassification(
            ResNetConfig(
                embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], layer_type="basic",
                num_labels=7, downsample_in_first_stage=False,
            )
        )
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    network.save_pretrained(folder)
    settings = {"size": {"height": 64, "width": 64}, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="session")
def backbone(backbone_folder):
    """Load the tiny backbone in single precision."""
    return Backbone.from_pretrained(backbone_folder, precision="float32")


@pytest.fixture(scope="session")
def tiny_config(backbone_folder):
    """Give the smallest network."""
    return GfssConfig(backbone=str(backbone_folder), base=BASE, base_dim=16, dim=8, blocks=2, precision="float32")


@pytest.fixture
def model(tiny_config, backbone, supports):
    """Build an untrained tiny model with supports."""
    model = GfssModel(tiny_config, backbone)
    model.set_supports(supports)
    return model.eval()


def draw(label, rng, size=32):
    """Draw a box of the label's colour on grey: picture and labels."""
    picture = rng.integers(100, 140, (size, size, 3)).astype(np.uint8)
    labels = np.zeros((size, size), np.uint8)
    side = int(rng.integers(size // 3, size // 2))
    top, left = rng.integers(0, size - side, 2)
    picture[top : top + side, left : left + side] = COLOURS[label - 1]
    labels[top : top + side, left : left + side] = label
    for array in (picture, labels):
        array.flags.writeable = False
    return picture, labels


@pytest.fixture(scope="session")
def base_set():
    """Draw 24 base pictures, six of each class."""
    rng = np.random.default_rng(1)
    items = [draw(1 + i % BASE, rng) for i in range(24)]
    return Arrays([p for p, _ in items], [y for _, y in items], 1 + BASE + NOVEL)


@pytest.fixture(scope="session")
def supports():
    """Draw one support of each novel class."""
    rng = np.random.default_rng(2)
    items = [draw(1 + BASE + k, rng) for k in range(NOVEL)]
    return [Support(f"novel {k}", (p,), (y > 0,)) for k, (p, y) in enumerate(items)]


@pytest.fixture(scope="session")
def synthetic_set():
    """Draw six pictures of novel classes with an ignored corner."""
    rng = np.random.default_rng(3)
    items = [draw(1 + BASE + i % NOVEL, rng) for i in range(6)]
    labels = [y.copy() for _, y in items]
    for y in labels:
        y[:4, :4] = 255
    return Arrays([p for p, _ in items], labels, 1 + BASE + NOVEL)


@pytest.fixture(scope="session")
def novel_set():
    """Draw twelve pictures of the novel classes, higher than wide."""
    rng = np.random.default_rng(8)
    items = [draw(1 + BASE + i % NOVEL, rng) for i in range(12)]
    return Arrays([p[:, :27] for p, _ in items], [y[:, :27] for _, y in items], 1 + BASE + NOVEL)


@pytest.fixture
def pictures():
    """Give two random pictures, float (2, 3, 32, 32)."""
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(4))
