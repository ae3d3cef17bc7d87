import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fss_models.backbones import Backbone
from fss_models.data import Arrays
from fss_models.fss import FSS_MODELS, FssNetwork
from fss_models.gfss import GfssConfig, GfssModel
from fss_models.layers import masked_average, resize
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


class Plain(FssNetwork):
    """The smallest model that learns and reads names: likeness to a prototype, and the length of the name."""

    def __init__(self, config, backbone):
        super().__init__(config, backbone)
        if odd := set(config.options) - {"width"}:
            raise TypeError(f"it knows width alone, not {odd}")
        self.project = nn.Conv2d(backbone.channels[2], config.options.get("width", 8), 1)
        self.word, self.odds = nn.Parameter(torch.tensor(0.1)), nn.Parameter(torch.tensor(0.0))
        self.names = ()

    def name_classes(self, names):
        """Remember the names."""
        self.names = tuple(names)

    def encode(self, levels, masks, classes):
        """Give the prototype of each support and the length of its class's name."""
        f = F.normalize(self.project(levels.f3), dim=1)
        long = torch.tensor([len(self.names[k]) if self.names else 0 for k in classes.tolist()], dtype=f.dtype)
        return {"prototype": masked_average(f, resize((masks == 1)[:, None].float(), f.shape[-2:])[:, 0]), "long": long}

    def decode(self, query, code, size):
        """Give the logits."""
        f = F.normalize(self.project(query.f3), dim=1)
        alike = torch.einsum("bdhw,bd->bhw", f, code["prototype"].mean(1))
        return 5 * alike + self.odds + self.word * code["long"][:, :1, None]

    def seen_losses(self, seen):
        """Give the cross-entropy of known pixels, pictures weighed."""
        shots = seen.masks.shape[1]
        code = self.encode(seen.supports, seen.masks.flatten(0, 1), seen.classes.repeat_interleave(shots))
        code = {name: seen.asked(x.unflatten(0, (-1, shots))) for name, x in code.items()}
        size = seen.truth.shape[-2:]
        logits = resize(self.decode(seen.query, code, size)[:, None], size)[:, 0]
        known = (seen.truth != 255).float()
        if seen.query_weight is not None:
            known = known * seen.query_weight[:, None, None]
        loss = F.binary_cross_entropy_with_logits(logits, (seen.truth == 1).float(), reduction="none")
        return {"loss": (loss * known).sum() / known.sum().clamp(min=1)}


@pytest.fixture
def plain(monkeypatch):
    """Register `Plain` for a test; gives its name."""
    monkeypatch.setitem(FSS_MODELS, "plain", Plain)
    return "plain"
