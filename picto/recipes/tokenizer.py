"""The generator's own `CLIPTokenizer`: byte-level BPE in which every word of the world is one token."""

from __future__ import annotations

import json
from itertools import product

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from picto.pen import COLOURS
from picto.scenes import BACKGROUNDS, SIZES, caption
from picto.things import FOLD_CLASSES

MAX_TOKENS = 16


def all_captions() -> dict[tuple[str, str | None, str | None, str | None, str | None], str]:
    """Give (class, kind, colour, background, size) -> sentence for every caption of the world, None = not said."""
    table = {}
    for name, kinds in FOLD_CLASSES.items():
        for kind, colour, background, size in product(
            (None, *kinds), (None, *COLOURS), (None, *BACKGROUNDS), (None, *SIZES)
        ):
            key = (name, kind, colour, background, size)
            table[key] = caption(name, kind=kind, colour=colour, background=background, size=size)
    return table


def build_tokenizer() -> CLIPTokenizer:
    """Train the vocabulary on all captions; deterministic."""
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    trainer = trainers.BpeTrainer(vocab_size=2000, end_of_word_suffix="</w>", show_progress=False)
    bpe.train_from_iterator(sorted(set(all_captions().values())), trainer)
    merges = [tuple(m) for m in _merges(bpe)]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary: dict[str, int] = {}
    for token in [*alphabet, *(a + "</w>" for a in alphabet), *("".join(m) for m in merges)]:
        vocabulary.setdefault(token, len(vocabulary))
    for token in ("<|startoftext|>", "<|endoftext|>"):
        vocabulary[token] = len(vocabulary)
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=MAX_TOKENS)


def _merges(bpe: Tokenizer) -> list[list[str]]:
    merges = json.loads(bpe.to_str())["model"]["merges"]
    return [m.split(" ") if isinstance(m, str) else m for m in merges]
