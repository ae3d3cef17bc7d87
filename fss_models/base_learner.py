"""Base learners: PSPNet heads on the frozen backbone, for background and base classes, in GFSS later novel ones too."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fss_models.backbones import Levels
from fss_models.layers import resize


class PspHead(nn.Module):
    """PSPNet head on the fourth level alone, as in IIR's ensemble and in the preparation of its backbone.

    Source: PSPNet; the base learner of BAM.

    Args:
        high: channels of f4.
        labels: outputs, 1 + B.
        dim: channels of the penultimate features.
        dropout: rate of whole channels before the classifier.
    """

    def __init__(self, high: int, labels: int, *, dim: int = 512, dropout: float = 0.1) -> None:
        super().__init__()
        part = max(high // 4, 8)
        self.pools = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(n), *_convolution(high, part, 1)) for n in BaseLearner.BINS
        )
        self.mix = nn.Sequential(*_convolution(high + 4 * part, dim, 3))
        self.classifier = nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(dim, labels, 1))

    def forward(self, f4: Tensor) -> Tensor:
        """Give logits (B, labels, h, w) of fourth levels (B, C4, h, w)."""
        pooled = [resize(pool(f4), f4.shape[-2:]) for pool in self.pools]
        return self.classifier(self.mix(torch.cat([f4, *pooled], 1)))


def _convolution(channels: int, out: int, width: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, out, width, padding=width // 2, bias=False), nn.BatchNorm2d(out), nn.ReLU()


class BaseLearner(nn.Module):
    """PSPNet head with one skip connection to the finest level, without which thin parts are lost on small pictures.

    Source: PSPNet (pyramid pooling over 1, 2, 3, 6 cells), the base learner of BAM and of IIR's ensemble.

    Args:
        channels: channels of f1..f4.
        labels: outputs, 1 + B.
        dim: channels C of the penultimate features.
        dropout: rate of whole channels before the classifier.
    """

    BINS = (1, 2, 3, 6)

    def __init__(self, channels: tuple[int, ...], labels: int, *, dim: int = 96, dropout: float = 0.0) -> None:
        super().__init__()
        c1, c2, c3, c4 = channels
        part = max(dim // 4, 8)
        self.standardise = nn.ModuleList(nn.BatchNorm2d(c, affine=False) for c in channels)
        self.pools = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(n), nn.Conv2d(c4, part, 1), nn.ReLU()) for n in self.BINS
        )
        self.reduce = nn.Sequential(nn.Conv2d(c2 + c3 + c4, dim, 1, bias=False), nn.BatchNorm2d(dim), nn.ReLU())
        self.mix = nn.Sequential(
            nn.Conv2d(dim + 4 * part, dim, 3, padding=1, bias=False), nn.BatchNorm2d(dim), nn.ReLU()
        )
        self.fine = nn.Sequential(nn.Conv2d(c1, part, 1, bias=False), nn.BatchNorm2d(part), nn.ReLU())
        self.join = nn.Sequential(
            nn.Conv2d(dim + part, dim, 3, padding=1, bias=False), nn.BatchNorm2d(dim), nn.ReLU()
        )
        self.drop = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(dim, labels, 1)

    def forward(self, levels: Levels) -> tuple[Tensor, Tensor]:
        """Give features (B, C, h, w) and logits (B, labels, h, w), both at the size of f1."""
        levels = Levels(*(norm(level) for norm, level in zip(self.standardise, levels.maps, strict=True)))
        size = levels.f4.shape[-2:]
        pooled = [resize(pool(levels.f4), size) for pool in self.pools]
        x = torch.cat([resize(levels.f2, size), resize(levels.f3, size), levels.f4], 1)
        x = self.mix(torch.cat([self.reduce(x), *pooled], 1))
        features = self.join(torch.cat([resize(x, levels.f1.shape[-2:]), self.fine(levels.f1)], 1))
        return features, self.classifier(self.drop(features))

    @torch.no_grad()
    def grow(self, novel: int) -> None:
        """Add outputs for novel classes and keep the old ones.

        A novel class has been background so far: each new output starts as a copy of the background's, with a tenth
        of its probability shared among them, so that old predictions hardly change. Source: MiB, initialisation of
        new classes.
        """
        old = self.classifier
        new = nn.utils.skip_init(nn.Conv2d, old.in_channels, old.out_channels + novel, 1).to(old.weight)
        start = torch.log(torch.tensor(10.0 * novel))
        new.weight.copy_(torch.cat([old.weight, old.weight[:1].expand(novel, -1, -1, -1)]))
        new.bias.copy_(torch.cat([old.bias, (old.bias[:1] - start).expand(novel)]))
        self.classifier = new
