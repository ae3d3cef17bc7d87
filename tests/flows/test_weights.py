from types import SimpleNamespace

from flows.settings import load_config
from flows.steps import fss_scores_step
from flows.weights import resolve, weights_id


def test_a_backbone_may_be_one_file(tmp_path):
    """A .safetensors file stands for itself, and its content is its identity."""
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    first.write_bytes(b"one")
    second.write_bytes(b"two")
    assert resolve(str(first), "backbone") == str(first)
    assert weights_id(str(first), "backbone") != weights_id(str(second), "backbone")


def test_matching_on_another_backbone_is_scored_anew():
    """Matching has no weights of its own, so its scores are known by the backbone's, and by the stride."""

    def recipe(weights, *overrides):
        model = SimpleNamespace(content="nothing", recipe={"weights": weights})
        data = {"validation": SimpleNamespace(content=lambda: "pictures")}
        return fss_scores_step(load_config(None, overrides), data, model).recipe

    assert recipe("a") == recipe("a")
    assert recipe("a") != recipe("b")
    assert recipe("a") != recipe("a", "experiment.fss.stride=32")
