"""From a finished run to a folder that other tools read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from flows.data import prepare_data, split_of, store_of
from flows.progress import Board, set_reporter, tell
from flows.runs import config_of_run, read_lineage
from pipeline.config import Config
from pipeline.datasets.pictures import FilePictures
from pipeline.errors import InputError
from pipeline.export.card import Model, Origin, write_card, write_settings
from pipeline.export.coco import export_coco
from pipeline.export.imagefolder import export_imagefolder
from pipeline.export.items import Item, Tally, check_prefix, items_of, with_twins
from pipeline.export.place import NOTE, check_target, json_line, new_folder, write_lines
from pipeline.export.voc import base_lines, check_clash, export_merged, export_voc, open_base
from pipeline.export.webdataset import export_webdataset
from pipeline.hashing import hash_json
from pipeline.store import RunStore, StageRecord
from pipeline.types import bare_reason

VERSION = 1
"""Of the exported files; another one does not overwrite them."""
FORMATS = ("voc", "coco", "webdataset", "imagefolder")
OWN_BASE = "base"
_PER_TAR = 1000


@dataclass(frozen=True)
class Wanted:
    """What to export, and how.

    Attributes:
        format: one of `FORMATS`.
        to: the folder to write.
        merge_with: of voc: folder of a base data set in VOC layout, or "base" for the run's own; None for none.
        base_list: its list; None takes train_aug, train or all.
        prefix: begins every id.
        per_tar: of webdataset: pictures a tar; None is 1000.
    """

    format: str
    to: Path
    merge_with: str | None = None
    base_list: str | None = None
    prefix: str = "syn"
    per_tar: int | None = None

    def check(self) -> None:
        """Look that the options go together.

        Raises:
            InputError: they do not.
        """
        check_prefix(self.prefix)
        if self.format != "voc" and (self.merge_with or self.base_list):
            raise InputError(f"--merge-with and --base-list go with --format voc: {self.format} has no lists of files")
        if self.base_list and self.merge_with in (None, OWN_BASE):
            raise InputError("--base-list names a list of the folder given by --merge-with: give that folder too")
        if self.per_tar and self.format != "webdataset":
            raise InputError(f"--per-tar goes with --format webdataset: {self.format} writes no tars")


@dataclass(frozen=True)
class _Source:
    """A run's labelled pictures in the store."""

    config: Config
    store: RunStore
    dataset: StageRecord
    shards: Sequence[StageRecord]
    images: StageRecord
    teacher: StageRecord

    @property
    def folder(self) -> Path:
        return self.store.folder(self.dataset)

    def items(self, prefix: str) -> Iterator[Item]:
        """Read the items, a shard at a time."""
        return items_of(self._rows(), self.folder, split_of(self.config), prefix)

    def dropped(self) -> Iterator[dict[str, Any]]:
        """Read what was left out and why."""
        for row in with_twins(self._rows(), self.folder):
            if row["reason"] is not None:
                yield {k: row[k] for k in ("id", "name", "prompt", "seed", "scores", "reason")}

    def _rows(self) -> Iterator[dict[str, Any]]:
        for shard in self.shards:
            yield from self.store.rows(shard)
            tell("export", shard.shard, 1.0)


def export_run(run: Path, wanted: Wanted, console: Console) -> dict[str, Any]:
    """Export the synthetic pictures of a finished run.

    Args:
        run: its folder.
        wanted: what and how.
        console: shows the progress.

    Returns:
        What ``export.json`` says, with ``folder`` and ``use``, lines that read it and a sentence about them.

    Raises:
        InputError: something that the user can mend; nothing was half written.
    """
    wanted.check()
    source = _source(run)
    base = _base_of(source.config, wanted)
    merged = base_lines(base, wanted.to) if base else []
    if base:
        check_clash(base, [item.id for item in source.items(wanted.prefix)], wanted.prefix)
    origin = _origin(source)
    note: dict[str, Any] = {"format": wanted.format, **origin.facts(), "prefix": wanted.prefix}
    identity = hash_json({
        **note, "version": VERSION, "dataset_content": source.dataset.content, "merged": merged,
        "samples": [shard.content for shard in source.shards], "per_tar": wanted.per_tar or _PER_TAR,
    })  # fmt: skip
    check_target(wanted.to, identity)
    tally = Tally()
    with Board({"export": len(source.shards)}, console) as board, new_folder(wanted.to, identity) as folder:
        set_reporter(board.show)
        tars = _write(wanted, folder, tally.watch(source.items(wanted.prefix)), source)
        set_reporter(None)
        if base:
            export_merged(tally.ids, merged, folder)
        write_lines(folder / "dropped.jsonl", map(json_line, source.dropped()))
        note |= {"export": identity, "pictures": len(tally.ids), "per_class": tally.per_class}
        note |= {"base_pictures": len(merged)} if base else {}
        (folder / NOTE).write_text(json.dumps(note, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        write_settings(folder / "experiment.yaml", origin)
        use = use_of(wanted, Path("DIR"), tars)
        write_card(folder / "README.md", origin, tally, _examples(source), _command(wanted), use)
    return {"folder": str(wanted.to), "use": list(use_of(wanted, wanted.to, tars)), **note}


def use_of(wanted: Wanted, folder: Path, tars: int = 0) -> tuple[str, str]:
    """Give lines that read an export, a trainer's settings or Python, and a sentence about them."""
    if wanted.format == "voc":
        listed = f"{folder}/ImageSets/Segmentation/{'merged' if wanted.merge_with else 'gfss'}_train.txt"
        hint = "SegmentationClassAug is read as grey values, SegmentationClass has the VOC palette"
        return f"data_root: {folder}\ntrain_list: {listed}", f"{hint}; or syn4seg train --data {folder}"
    if wanted.format == "coco":
        hint = "annotations/stuff_train.json has every label of a picture; what it leaves out is to be ignored"
        return f'COCO("{folder}/annotations/instances_train.json")  # pycocotools; pictures in {folder}/images', hint
    if wanted.format == "webdataset":
        names = f"train-{{000000..{tars - 1:06d}}}.tar" if tars > 1 else "train-000000.tar"
        read = f'wds.WebDataset("{folder}/{names}", shardshuffle=False)\n'
        read += '    .decode(wds.imagehandler("l8", ["png"]), "rgb8").to_tuple("jpg", "mask.png", "json")'
        return read, "without the first decoder webdataset turns the masks of ids into RGB"
    hint = "columns: image, mask, class, prompt, seed, scores"
    return f'load_dataset("imagefolder", data_dir="{folder}")  # datasets', hint


def _write(wanted: Wanted, folder: Path, items: Iterator[Item], source: _Source) -> int:
    if wanted.format == "webdataset":
        return export_webdataset(items, folder, wanted.per_tar or _PER_TAR)
    if wanted.format == "coco":
        export_coco(items, folder, split_of(source.config))
    elif wanted.format == "imagefolder":
        export_imagefolder(items, folder)
    else:
        export_voc(items, folder)
    return 0


def _source(run: Path) -> _Source:
    """Open what a run's lineage names.

    Raises:
        InputError: the run made no pictures, or a shard is gone.
    """
    config = config_of_run(run)
    lineage = read_lineage(run)
    store = store_of(config)
    found: dict[str, list[StageRecord]] = {}
    for stage in ("refine", "dataset", "images", "teacher"):
        for shard, entry in sorted(lineage.get(stage, {}).items()):
            folder = store.root / stage / f"{shard}-{entry['fingerprint']}"
            record = store.read(folder)
            if record is None:
                raise InputError(f"{folder} is gone or damaged: syn4seg run {run / 'experiment.yaml'} makes it again")
            found.setdefault(stage, []).append(record)
    if len(found) < 4 or not found["dataset"][0].counts["pictures"]:
        raise InputError(f"{run.name} has no synthetic pictures: choose a run of the whole chain")
    return _Source(config, store, found["dataset"][0], found["refine"], found["images"][0], found["teacher"][0])


def _base_of(config: Config, wanted: Wanted) -> FilePictures | None:
    if wanted.merge_with is None:
        return None
    if wanted.merge_with != OWN_BASE:
        return open_base(Path(wanted.merge_with), wanted.base_list)
    pictures = prepare_data(config)["base"].pictures
    if not isinstance(pictures, FilePictures):
        raise InputError(
            f"the masks of {config.experiment.dataset} are no files but annotations: give a folder in VOC layout "
            "by --merge-with FOLDER"
        )
    return pictures


def _origin(source: _Source) -> Origin:
    experiment = source.config.experiment
    settings = _without_folders(experiment.model_dump(mode="json"))
    models = [
        Model("pictures", _bare(experiment.generate.model), _weights(source.images)),
        Model("first labels", _bare(experiment.teacher.backbone), _weights(source.teacher)),
    ]
    if experiment.refine.enabled:
        models.append(Model("boundaries", _bare(experiment.refine.model), _weights(source.shards[0])))
    dropped = Counter(bare_reason(row["reason"]) for row in source.dropped())
    return Origin(split_of(source.config), settings, models, dict(source.images.versions), dropped)


def _weights(record: StageRecord) -> str:
    return _bare(str(record.recipe.get("weights")))


def _without_folders(value: Any) -> Any:
    """Shorten absolute paths in settings to their last part: they say nothing elsewhere."""
    if isinstance(value, dict):
        return {key: _without_folders(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_without_folders(part) for part in value]
    return _bare(value) if isinstance(value, str) else value


def _bare(name: str) -> str:
    kind, equals, file = name.rpartition("=")
    return kind + equals + (Path(file).name if Path(file).is_absolute() else file)


def _examples(source: _Source) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for item in source.items("x"):
        prompts = found.setdefault(item.name, [])
        if len(prompts) < 3 and item.prompt not in prompts:
            prompts.append(item.prompt)
    return found


def _command(wanted: Wanted) -> str:
    more = f" --prefix {wanted.prefix}" if wanted.prefix != "syn" else ""
    more += f" --per-tar {wanted.per_tar}" if wanted.per_tar else ""
    more += f" --merge-with {OWN_BASE if wanted.merge_with == OWN_BASE else 'BASE'}" if wanted.merge_with else ""
    return f"syn4seg export latest --format {wanted.format} --to DIR{more}"
