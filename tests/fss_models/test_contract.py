"""What every model keeps, as a GFSS network and as a bare decoder on a backbone; the names come from the tables."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from fss_models.backbones import Backbone
from fss_models.fss import FSS_MODELS, SeenBatch
from fss_models.gfss import GfssModel
from fss_models.iir import IIR, PRESETS
from fss_models.iir_loss import iir_loss
from fss_models.randomness import seeded
from fss_models.seen import see_queries, see_supports
from pipeline.types import Support

FEW_SHOT = {
    "iir": {"dim": 8, "blocks": 2}, "i2r": {"dim": 8, "blocks": 2}, "symnet": {"dim": 8},
    "rifenet": {"dim": 16, "layers": 2, "heads": 2, "points": 2, "tokens": 9},
}  # fmt: skip
"""Small options of the few-shot part of a GFSS network; a model that is not named here is small by itself."""

LEARNING = [*(name for name in FSS_MODELS if name != "matching"), "plain"]


class Gfss:
    """A GFSS model with supports of its novel classes."""

    def __init__(self, name, shots, backbone, config, supports):
        own = {"name": name, "shots": shots, "few_shot": FEW_SHOT.get(name, {}), "dim": None, "blocks": None}
        self.model = GfssModel(config.model_copy(update=own), backbone)
        self.model.name_classes(("background", "a", "bb", "ccc", "dddd"))
        pool = [(p, m) for s in supports for p, m in zip(s.pictures, s.masks, strict=True)]
        chosen = [[pool[(i * s) % 2] for s in range(shots)] for i in range(2)]
        self.model.set_supports(
            [Support(f"n{i}", tuple(p for p, _ in c), tuple(m for _, m in c)) for i, c in enumerate(chosen)]
        )
        self.trained = self.model.few_shot

    def predict(self, pictures):
        """Give what the model says of pictures."""
        return self.model(pictures)

    def loss(self, pictures, **changes):
        """Give the loss of a training step on two pictures, each asked for both classes."""
        model = self.model
        shown, masks = model.support_tensors()
        own = torch.arange(2)
        query, of = torch.cat([own, own]), torch.cat([own, own.roll(1)])
        truth = (pictures[:, 0] > 0.5).to(torch.uint8)
        seen = {
            "query": model.few_shot.see(pictures).take(query), "truth": truth[query],
            "supports": model.few_shot.see(shown.flatten(0, 1)), "masks": masks, "classes": torch.tensor([5, 6]),
            "of": of,
        }  # fmt: skip
        return model.few_shot.seen_losses(SeenBatch(**{**seen, **changes}))["loss"]

    def reload(self, folder, backbone):
        """Save, and go on with what is loaded again."""
        self.model.save(folder)
        self.model = GfssModel.load(folder, backbone)


class Bare(nn.Module):
    """A preset at small width, with supports of the query's size that show a bright box."""

    def __init__(self, name, shots, backbone):
        super().__init__()
        self.name, self.shots, self.backbone = name, shots, backbone
        c = backbone.channels
        with seeded(0, "contract"):
            self.decoder = IIR(c[1] + c[2], c[3], PRESETS[name], shots=shots, dim=8, blocks=3, base=4, base_dim=8)

    model = property(lambda self: self)
    trained = property(lambda self: self.decoder)

    def predict(self, pictures):
        """Give what the model says of pictures."""
        query, support, masks = self._see(pictures)
        return self.decoder(query, support, masks)

    def loss(self, pictures):
        """Give the loss of a training step on pictures."""
        query, support, masks = self._see(pictures)
        code = self.decoder.encode_supports(support, masks)
        truth = (pictures[:, 0] > 0.5).to(torch.uint8)
        out = self.decoder.decode(query, code, truth, torch.ones(len(pictures), dtype=torch.long))
        return iir_loss(out, code, truth, masks.to(torch.uint8))["loss"]

    def _see(self, pictures):
        size = pictures.shape[-2:]
        shown = 0.4 * torch.rand(1, self.shots, 3, *size, generator=torch.Generator().manual_seed(5))
        shown[..., size[0] // 4 : -size[0] // 4, size[1] // 5 : -size[1] // 3] += 0.6
        shown = shown.expand(len(pictures), -1, -1, -1, -1)
        masks = shown[:, :, 0] > 0.5
        levels = self.backbone(shown.flatten(0, 1))
        support, classes = see_supports(self.backbone, levels, masks, size)
        return see_queries(self.backbone, self.backbone(pictures), classes, size), support, masks

    def reload(self, folder, backbone):
        """Save, and go on with what is loaded again."""
        save_file(self.decoder.state_dict(), folder / "decoder.safetensors")
        fresh = Bare(self.name, self.shots, backbone)
        for p in fresh.decoder.parameters():
            nn.init.zeros_(p)
        fresh.decoder.load_state_dict(load_file(folder / "decoder.safetensors"))
        self.decoder, self.backbone = fresh.decoder, backbone
        self.eval()


@pytest.fixture(params=[1, 5], ids=["1-shot", "5-shot"])
def shots(request):
    """Give both numbers of shots."""
    return request.param


@pytest.fixture(params=[("gfss", n) for n in LEARNING] + [("fss", n) for n in PRESETS], ids=lambda p: "-".join(p))
def network(request, shots, backbone, tiny_config, supports, plain):
    """Build every model in turn."""
    kind, name = request.param
    built = Gfss(name, shots, backbone, tiny_config, supports) if kind == "gfss" else Bare(name, shots, backbone)
    built.model.eval()
    return built


def test_forward_is_finite_and_deterministic(network, pictures):
    """In evaluation the same pictures give the same bits."""
    with torch.no_grad():
        first, second = network.predict(pictures), network.predict(pictures)
    assert torch.isfinite(first).all()
    assert torch.equal(first, second)
    assert len(first) == 2


def test_odd_and_unequal_sides(network):
    """Pictures of 37 x 51 pixels have an answer."""
    with torch.no_grad():
        assert torch.isfinite(network.predict(torch.rand(1, 3, 37, 51))).all()


def test_batch_of_two_is_two_of_one(network, pictures):
    """Pictures of a batch do not see each other."""
    with torch.no_grad():
        both = network.predict(pictures)
        alone = torch.cat([network.predict(pictures[:1]), network.predict(pictures[1:])])
    torch.testing.assert_close(both, alone, atol=1e-4, rtol=1e-3)


def test_a_step_trains_the_decoder_and_nothing_frozen(network, pictures):
    """Every weight of the decoder gets a finite gradient, no weight of backbone or base learner moves or gets one."""
    network.model.train()
    frozen = {n: p for n, p in network.model.named_parameters() if not p.requires_grad}
    before = {n: p.clone() for n, p in frozen.items()}
    weights_id = network.model.backbone.weights_id
    network.loss(pictures).backward()
    trained = {n: p for n, p in network.trained.named_parameters() if p.requires_grad}
    unused = {n for n, p in trained.items() if p.grad is None or not p.grad.any()}
    # one shot needs no weights; small ReLUs may all be off; a key's bias moves all logits of a softmax alike; as drawn,
    # the places that deformable attention looks at do not depend on what asks
    spared = ("mix_shots", "key.bias", "transformer.level")
    assert not {n for n in unused if not any(part in n for part in spared)}
    assert all(torch.isfinite(p.grad).all() for p in trained.values() if p.grad is not None)
    torch.optim.SGD(trained.values(), lr=0.1).step()
    assert any(n.startswith("backbone.") for n in frozen)
    assert all(p.grad is None and torch.equal(p, before[n]) for n, p in frozen.items())
    assert network.model.backbone.weights_id == weights_id
    assert not any(m.training for m in network.model.backbone.modules())


def test_loaded_model_predicts_the_same_bits(network, backbone_folder, pictures, tmp_path):
    """Saved, and loaded with a backbone that was read anew, it predicts what it predicted."""
    with torch.no_grad():
        expected = network.predict(pictures)
        network.reload(tmp_path, Backbone.from_pretrained(backbone_folder, precision="float32"))
        assert torch.equal(network.predict(pictures), expected)


@pytest.mark.parametrize("name", LEARNING)
def test_weights_of_pictures_reach_the_losses(name, plain, backbone, tiny_config, supports, pictures):
    """What a query shows does not matter where it weighs nothing; all unknown, or none of the class, is no trouble."""
    network = Gfss(name, 1, backbone, tiny_config, supports)
    network.model.eval()
    weight = torch.tensor([1.0, 0.0, 1.0, 0.0])
    truth = (pictures[:, 0] > 0.5).to(torch.uint8)[[0, 1, 0, 1]]
    other = torch.where(weight[:, None, None] == 0, 1 - truth, truth)
    with torch.no_grad():
        weights = {"query_weight": weight, "support_weight": torch.ones(2)}
        assert torch.equal(*(network.loss(pictures, truth=y, **weights) for y in (truth, other)))
        assert not torch.equal(*(network.loss(pictures, truth=y) for y in (truth, other)))
        assert torch.isfinite(network.loss(pictures, truth=torch.full_like(truth, 255)))
        assert torch.isfinite(network.loss(pictures, truth=torch.zeros_like(truth)))


@pytest.mark.parametrize("name", PRESETS)
def test_a_few_steps_lower_the_loss(name, backbone):
    """On two pictures of a box, twenty steps take a fifth of the loss away."""
    network = Bare(name, 1, backbone).train()
    pictures = torch.full((2, 3, 32, 32), 0.3)
    pictures[0, :, 4:16, 4:16], pictures[1, :, 12:30, 8:26] = 0.9, 0.9
    optimiser = torch.optim.AdamW(network.decoder.parameters(), lr=1e-2)
    losses = []
    for step in range(20):
        with seeded("few steps", step):
            loss = network.loss(pictures)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
