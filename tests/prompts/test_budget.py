"""The adaptive budget: how prompts are shared out among classes, and which sentences are taken."""

import pytest

from prompts.bank import Prompt
from prompts.budget import MOST, choose_prompts, share_prompts


def prompt(**attributes):
    """A sentence of these attributes."""
    return Prompt(f"a cup, {attributes}", "cup", attributes)


def test_weak_classes_get_more():
    """In proportion to 1 - agreement, all prompts shared out."""
    shares = share_prompts({"cup": [0.9, 0.9], "car": [0.6, 0.8], "boat": [0.4]}, 100)
    assert shares == {"cup": 10, "car": 30, "boat": 60}


def test_no_class_gets_more_than_its_most():
    """What one may not have goes to the others; dropped pictures count as full disagreement."""
    shares = share_prompts({"cup": [0.0], "car": [1.0], "boat": [1.0], "fish": [1.0]}, 40)
    assert shares["cup"] == MOST * 10
    assert sum(shares.values()) == 40
    assert min(shares.values()) >= 6


@pytest.mark.parametrize("total", [0, 1, 7, 23])
def test_shares_sum_up(total):
    """Nothing is lost by rounding, and a class without any picture is as weak as can be."""
    shares = share_prompts({"cup": [0.5], "car": [0.52], "boat": []}, total)
    assert sum(shares.values()) == total
    assert shares["boat"] == max(shares.values())


def test_weak_attributes_are_chosen():
    """Sentences that say what the model disagreed about come first, and the order of the offers stays."""
    kept = [prompt(light="night"), prompt(light="night"), prompt(light="day"), prompt(light="day")]
    further = [prompt(light=light, n=str(n)) for n, light in enumerate(["day", "night", "day", "night"])]
    chosen = choose_prompts(kept, [0.1, 0.2, 0.9, 0.9], further, 2)
    assert chosen == [further[1], further[3]]


def test_thin_coverage_is_filled():
    """Among equally weak values the rarely said one comes first, and one that was taken counts as said."""
    kept = [prompt(light="day")] * 4 + [prompt(light="dusk")]
    further = [prompt(light="day"), prompt(light="dusk"), prompt(light="night"), prompt(light="night")]
    chosen = choose_prompts(kept, [0.5] * 5, further, 2)
    assert [one.attributes["light"] for one in chosen] == ["dusk", "night"]


def test_fewer_offers_than_wanted():
    """All are taken; sentences without attributes are no worse than the class."""
    assert choose_prompts([], [], [Prompt("a cup", "cup")], 3) == [Prompt("a cup", "cup")]
