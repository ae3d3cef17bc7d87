"""How many pictures every stage was given, kept and dropped, from the records of its shards alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from flows.report.found import LABELLING, Found
from flows.report.samples import group_of
from pipeline.classes import ClassSplit


@dataclass
class Count:
    """Pictures of one stage.

    Attributes:
        made: how many came into it.
        kept: how many of them it kept.
        dropped: why it dropped the others, the most frequent reason first.
    """

    made: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)


def count_pictures(found: Found, split: ClassSplit) -> dict[str, Count]:
    """Count through the chain; a record also counts what earlier stages dropped, which is taken off here."""
    counts: dict[str, Count] = {}
    for shard, images in found.records.get("images", {}).items():
        come, gone = images.counts["samples"], Counter[str]()
        for stage in ("images", *LABELLING):
            if shard not in found.records.get(stage, {}):
                continue
            record, count = found.records[stage][shard], counts.setdefault(stage, Count())
            count.made += come
            come = record.counts["kept"]
            count.kept += come
            for reason, number in (Counter(record.dropped) - gone).items():
                group = group_of(reason, *split.novel)
                count.dropped[group] = count.dropped.get(group, 0) + number
            gone = Counter(record.dropped)
    for record in found.of("dataset"):
        made = counts["refine"].kept if "refine" in counts else 0
        counts["dataset"] = Count(made, record.counts["pictures"])
    for count in counts.values():
        count.dropped = dict(Counter(count.dropped).most_common())
    return counts
