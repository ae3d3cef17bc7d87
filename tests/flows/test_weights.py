from flows.weights import resolve, weights_id


def test_a_backbone_may_be_one_file(tmp_path):
    """A .safetensors file stands for itself, and its content is its identity."""
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    first.write_bytes(b"one")
    second.write_bytes(b"two")
    assert resolve(str(first), "backbone") == str(first)
    assert weights_id(str(first), "backbone") != weights_id(str(second), "backbone")
