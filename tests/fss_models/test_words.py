"""Vectors of class names from every kind of source."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from fss_models.words import Words, vectors_of
from pipeline.backends.text import ClipText
from pipeline.errors import InputError

WORDS = ("a", "cup", "red", "table")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Save tiny text encoders: a whole CLIP model, and the text part alone inside a pipeline's folder."""
    root = tmp_path_factory.mktemp("clip")
    letters = [c for word in WORDS for c in word]
    tokens = list(dict.fromkeys([*letters, *(c + "</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]))
    tokenizer = CLIPTokenizer({token: i for i, token in enumerate(tokens)}, [], model_max_length=12)
    sizes = {
        "vocab_size": len(tokens), "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "max_position_embeddings": 12, "bos_token_id": len(tokens) - 2,
        "eos_token_id": len(tokens) - 1, "pad_token_id": len(tokens) - 1,
    }  # fmt: skip
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
              "image_size": 32, "patch_size": 16}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        CLIPModel(CLIPConfig(text_config={**sizes, "projection_dim": 6}, vision_config=vision, projection_dim=6)
                  ).save_pretrained(root / "whole")
        CLIPTextModel(CLIPTextConfig(**sizes)).save_pretrained(root / "pipe" / "text_encoder")
    tokenizer.save_pretrained(root / "whole")
    tokenizer.save_pretrained(root / "pipe" / "tokenizer")
    return root


@pytest.mark.parametrize(("place", "dim"), [("whole", 6), ("pipe", 16)])
def test_clip_text_encoders(clip, place, dim):
    """A projection gives its vector, an encoder without one the mean of its words; both of unit length."""
    encoder = ClipText.from_folder(clip / place)
    assert encoder.dim == dim
    vectors = vectors_of(str(clip / place), ["red cup", "table"])
    assert vectors.shape == (2, dim)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))
    alone = vectors_of(str(clip / place), ["table"])
    torch.testing.assert_close(vectors[1:], alone)
    torch.testing.assert_close(vectors_of(str(clip / place), ["red_cup"]), vectors[:1])
    assert Words(str(clip / place)).dim == dim


def test_a_word_that_no_tokenizer_knows(clip):
    """Letters outside the vocabulary are told, as are folders without an encoder or with a part of one."""
    with pytest.raises(InputError, match=r"has no word for 'zzz'"):
        vectors_of(str(clip / "whole"), ["cup", "zzz"])
    with pytest.raises(InputError, match="no text encoder in"):
        vectors_of(str(clip), ["cup"])


@pytest.mark.parametrize("kind", ["glove", "word2vec", "safetensors"])
def test_files_of_word_vectors(tmp_path, kind):
    """A name is looked up as a whole, then word by word, in small letters at last; vectors are as in the file."""
    rows = {
        "cup": [1.0, 2.0, 3.0], "dining_table": [0.0, 1.0, 0.0], "potted": [2.0, 0.0, 0.0], "plant": [0.0, 4.0, 0.0],
        "tvmonitor": [5.0, 5.0, 5.0],
    }  # fmt: skip
    path = tmp_path / ("v.safetensors" if kind == "safetensors" else "v.txt")
    if kind == "safetensors":
        save_file({word: torch.tensor(row) for word, row in rows.items()}, path)
    else:
        head = ["5 3"] if kind == "word2vec" else []
        path.write_text("\n".join([*head, *(f"{w} {' '.join(map(str, r))}" for w, r in rows.items())]) + "\n")
    found = vectors_of(str(path), ["cup", "dining table", "potted_plant", "TV monitor", "cup"])
    assert found.tolist() == [rows["cup"], rows["dining_table"], [1, 2, 0], rows["tvmonitor"], rows["cup"]]
    assert found.dtype == torch.float32
    assert Words(str(path)).dim == 3
    with pytest.raises(InputError, match=r"has no vector of the word 'monkey' \(class 'cup monkey'\): add it"):
        vectors_of(str(path), ["cup monkey"])


def test_what_is_no_file_of_vectors(tmp_path):
    """Pictures, arrays, ragged rows, missing files and empty ones end in one sentence."""
    np.save(tmp_path / "v.npy", np.ones((3, 2)))
    (tmp_path / "ragged.txt").write_text("cup 1 2\ntable 1 2 3\n")
    (tmp_path / "words.txt").write_text("cup is red\n")
    (tmp_path / "empty.txt").write_text("")
    nothing = "holds no word vectors"
    for name, words in (("ragged.txt", "several lengths"), ("words.txt", nothing), ("none.txt", nothing)):
        with pytest.raises(InputError, match=words):
            vectors_of(str(tmp_path / name), ["cup", "table"])
    for name in ("empty.txt", "v.npy"):
        with pytest.raises(InputError, match="holds no word vectors"):
            Words(str(tmp_path / name))


def test_a_source_of_another_length(tmp_path):
    """Vectors of another length than the model was built for are refused before they are used."""
    (tmp_path / "v.txt").write_text("cup 1 2\n")
    with pytest.raises(InputError, match="vectors of 2 numbers, the model was built for 3"):
        Words(str(tmp_path / "v.txt"), 3).name(("background", "cup"))
