import numpy as np
import pytest

from flows.data import check_maps, choose_supports, find_data
from flows.settings import load_config
from pipeline.classes import ClassSplit
from pipeline.datasets import DATASETS, DataFolder
from pipeline.errors import InputError
from pipeline.images import write_labels, write_picture
from pipeline.protocols import MIN_SHARE

SPLIT = ClassSplit.of("picto", 0)
BOAT, BOTTLE, TREE = (SPLIT.all_names.index(name) + 1 for name in ("boat", "bottle", "tree"))


def write_folder(root, areas: list[dict[int, int]]) -> DataFolder:
    """Write pictures of 10x10 pixels: for each the rows of each dataset id."""
    names = []
    for number, rows in enumerate(areas):
        labels = np.zeros((10, 10), np.uint8)
        top = 0
        for label, count in rows.items():
            labels.ravel()[top : top + count] = label
            top += count
        names.append(f"p{number:02d}")
        write_picture(root / "JPEGImages" / f"{names[-1]}.jpg", np.zeros((10, 10, 3), np.uint8))
        write_labels(root / "SegmentationClassAug" / f"{names[-1]}.png", labels)
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    (root / "ImageSets" / "Segmentation" / "all.txt").write_text("\n".join(names))
    return DataFolder(root, "all")


def full_pool(root, **extra) -> DataFolder:
    novel = [SPLIT.all_names.index(name) + 1 for name in SPLIT.novel]
    return write_folder(root, [{label: 10, TREE: 20} for label in novel for _ in range(3)])


def test_supports_show_one_novel_class_large_enough(tmp_path):
    """Pictures with two novel classes, or with too little of one, are no supports."""
    novel = [SPLIT.all_names.index(name) + 1 for name in SPLIT.novel[1:]]
    little = int(100 * MIN_SHARE) - 1
    areas = [{BOAT: 20, BOTTLE: 20}, {BOAT: little}, {BOAT: 30, TREE: 10}, *({label: 10} for label in novel)]
    chosen = choose_supports(write_folder(tmp_path, areas).pictures, SPLIT, 1, seed=0)
    assert chosen["boat"] == (2,)
    assert set(chosen) == set(SPLIT.novel)


def test_supports_depend_on_the_seed_alone(tmp_path):
    """The same seed chooses the same pictures; some other seed chooses others."""
    pool = full_pool(tmp_path).pictures
    first = choose_supports(pool, SPLIT, 1, seed=0)
    assert choose_supports(pool, SPLIT, 1, seed=0) == first
    assert any(choose_supports(pool, SPLIT, 1, seed=seed) != first for seed in range(1, 6))
    assert all(len(ids) == len(set(ids)) == 2 for ids in choose_supports(pool, SPLIT, 2, seed=0).values())


def test_too_few_supports_say_what_to_lower(tmp_path):
    """A pool without enough pictures of a class is the user's to mend."""
    with pytest.raises(InputError, match=r"only 3 support pictures .* of 'boat'.*experiment\.shots \(now 4\)"):
        choose_supports(full_pool(tmp_path).pictures, SPLIT, 4, seed=0)


def test_content_follows_the_files(tmp_path):
    """Another pixel in a mask is another content; a missing mask is named."""
    folder = full_pool(tmp_path)
    before = folder.content()
    assert folder.content() == before
    mask = folder.pictures.pair("p03")[1]
    write_labels(mask, np.full((10, 10), BOAT, np.uint8))
    assert folder.content() != before
    mask.unlink()
    with pytest.raises(InputError, match=r"the mask .*p03\.png is missing"):
        folder.content()


@pytest.mark.parametrize("name", DATASETS)
def test_missing_data_say_where_to_get_them(tmp_path, name):
    """Each data set that is not there is answered with what it needs, from where, and how to name its folder."""
    places = [f"execution.data={tmp_path}/nowhere", f"execution.output={tmp_path}/out"]
    with pytest.raises(InputError, match=r"get .*(com|org|uk).*execution\.data") as error:
        find_data(load_config(None, [f"experiment.dataset={name}", *places]))
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_the_chain_needs_label_maps(tmp_path):
    """A data set of one-class masks is refused by the chain, and only there."""
    check_maps(load_config(None, ["experiment.dataset=pascal"]))
    with pytest.raises(InputError, match="fss1000 has masks of one class each, for few-shot episodes"):
        check_maps(load_config(None, ["experiment.dataset=fss1000"]))
