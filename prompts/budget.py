"""Adaptive budget: where the prompts of a second round go.

Source: ours (decisions.md, second round). A class is weak as far as the model that was trained on its pictures
disagrees with their labels (`pipeline.agreement`), dropped pictures counting as full disagreement. It gets prompts in
proportion. Among the further sentences of its grammar or language model those are taken whose attributes are weak, or
said by few sentences of the bank so far.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from prompts.bank import Prompt

VERSION = 1

OFFERED = 3
"""Further sentences that are looked at for each that is taken."""

MOST = 2.0
"""Most that a class gets, against an equal share."""

TRUST = 2
"""So many pictures of its class count as one more of every attribute, or a single bad picture would say all."""

_LEAST = 0.01


def share_prompts(agreement: Mapping[str, Sequence[float]], total: int) -> dict[str, int]:
    """Share prompts out among classes, in proportion to 1 - their mean agreement.

    Args:
        agreement: class -> that of each picture, 0..1.
        total: how many prompts.

    Returns:
        Class -> prompts; they sum up to ``total``, and none has more than `MOST` times an equal share, rounded up.
    """
    most = int(np.ceil(MOST * total / max(len(agreement), 1)))
    weak = {name: max(1 - float(np.mean(values)) if len(values) else 1.0, _LEAST) for name, values in agreement.items()}
    exact = {name: min(total * value / sum(weak.values()), most) for name, value in weak.items()}
    shares = {name: int(value) for name, value in exact.items()}
    while (left := total - sum(shares.values())) > 0 and any(n < most for n in shares.values()):
        open_ = sorted((name for name in shares if shares[name] < most), key=lambda n: shares[n] - exact[n])
        for name in open_[:left]:
            shares[name] += 1
    return shares


def choose_prompts(
    kept: Sequence[Prompt], agreement: Sequence[float], further: Sequence[Prompt], count: int
) -> list[Prompt]:
    """Choose the sentences of a second round.

    Each next one has the highest mean need of its attributes' values. With w the class's weakness, n sentences so far
    that say a value, and w_i that of their pictures, the need of the value is
    (sum of w_i + TRUST w) / (n + TRUST) + w / (1 + n): its weakness, and its thin coverage.

    Args:
        kept: the bank of the first round.
        agreement: of each of its sentences, the mean over its pictures, 0..1.
        further: sentences to choose from.
        count: how many to choose; all where there are fewer.

    Returns:
        Chosen sentences in their order in ``further``.
    """
    weak = 1 - np.asarray(agreement, np.float64)
    whole = float(weak.mean()) if len(weak) else 1.0
    said: Counter[tuple[str, str]] = Counter()
    sums: Counter[tuple[str, str]] = Counter()
    for prompt, value in zip(kept, weak, strict=True):
        for item in prompt.attributes.items():
            said[item] += 1
            sums[item] += value
    known = Counter(said)

    def need(item: tuple[str, str]) -> float:
        return (sums[item] + TRUST * whole) / (known[item] + TRUST) + whole / (1 + said[item])

    left = dict(enumerate(further))
    chosen: list[int] = []
    while left and len(chosen) < count:
        needs = {
            place: float(np.mean([need(item) for item in prompt.attributes.items()])) if prompt.attributes else whole
            for place, prompt in left.items()
        }
        best = max(needs, key=lambda place: (needs[place], -place))
        said.update(left.pop(best).attributes.items())
        chosen.append(best)
    return [further[place] for place in sorted(chosen)]
