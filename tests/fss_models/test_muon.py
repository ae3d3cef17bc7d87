import copy

import pytest
import torch
from torch import nn

from fss_models.muon import Muon, orthogonal


@pytest.mark.parametrize(("dtype", "atol"), [(torch.bfloat16, 0), (torch.float32, 2e-3)])
def test_steps_are_those_of_torch(dtype, atol):
    """In bfloat16 bit for bit, in float32 but for the rounding of the other."""
    generator = torch.Generator().manual_seed(0)
    ours = [nn.Parameter(torch.randn(*shape, generator=generator)) for shape in ((8, 24), (24, 8), (16, 16))]
    theirs = copy.deepcopy(ours)
    one = Muon(ours, lr=0.02)
    one.dtype = dtype
    other = torch.optim.Muon(theirs, lr=0.02, weight_decay=0.01, ns_steps=4, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        for p, q in zip(ours, theirs, strict=True):
            p.grad = torch.randn(*p.shape, generator=generator)
            q.grad = p.grad.clone()
        one.step()
        other.step()
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, atol=atol, rtol=0)
        assert (p - q).abs().max() < 2e-3


def test_orthogonal():
    """All singular values come near 1, whatever they were."""
    matrix = torch.randn(12, 40, generator=torch.Generator().manual_seed(1)) * torch.logspace(-1, 1, 12)[:, None]
    values = torch.linalg.svdvals(orthogonal(matrix, 8, torch.float32))
    assert values.min() > 0.6
    assert values.max() < 1.3
