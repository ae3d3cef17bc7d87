import numpy as np
import torch

from fss_models.augment import fit, unfit
from fss_models.maps import query_maps, support_maps


def test_support_is_split_by_its_own_threshold(model, supports):
    """Core and local part do not overlap and together are the mask."""
    for place, support in enumerate(supports):
        maps = support_maps(model, place)
        assert (maps.picture == support.pictures[0]).all()
        assert not (maps.core & maps.local).any()
        assert ((maps.core | maps.local) == support.masks[0]).all()
        assert maps.cam.shape == support.masks[0].shape
        assert (maps.cam[maps.core] > maps.threshold).all()


def test_query_maps_are_those_of_the_decoder(model, novel_set):
    """Every map has the picture's size and lies in 0..1; the probability is what the network fuses."""
    picture = novel_set[0][0]
    maps = query_maps(model, picture, 1)
    for values in (maps.cam, maps.prior, maps.probability):
        assert values.shape == picture.shape[:2]
        assert values.min() >= 0
        assert values.max() <= 1
    assert maps.active.any()
    assert not maps.active.all()
    side = max(model.side, picture.shape[0])
    x, _ = fit(picture, np.zeros(picture.shape[:2], np.uint8), side)
    with torch.no_grad():
        fused = model.decode_all(model.few_shot.see(x[None]), (side, side))[0, 1:2].sigmoid()
    np.testing.assert_allclose(maps.probability, unfit(fused, picture.shape[:2])[0], atol=1e-5)
