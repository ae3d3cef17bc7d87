from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fss_models.batches import Draws, FinalBatches, TeacherBatches
from fss_models.data import MILD, STRONG, Arrays, Columns, Relabelled, SplitPictures, lay_over, vary
from fss_models.episodes import EpisodeSampler, Subset
from fss_models.randomness import numpy_rng
from pipeline.classes import ClassSplit
from pipeline.datasets.pascal import voc_folder
from pipeline.datasets.pictures import FilePictures, Row
from pipeline.errors import InputError
from pipeline.images import write_labels


@pytest.fixture
def voc(tmp_path):
    """Write three pictures in VOC layout: a boat (novel in fold 0), a clock (base), both and an ignored corner."""
    for part in ("JPEGImages", "SegmentationClassAug", "ImageSets/Segmentation"):
        (tmp_path / part).mkdir(parents=True)
    boat, clock = 1, 6
    for i, ids in enumerate(([boat], [clock], [boat, clock, 255])):
        labels = np.zeros((16, 20), np.uint8)
        for k, id_ in enumerate(ids):
            labels[:, 4 * k : 4 * k + 4] = id_
        Image.fromarray(np.full((16, 20, 3), 40 * i, np.uint8)).save(tmp_path / f"JPEGImages/p{i}.jpg")
        Image.fromarray(labels).save(tmp_path / f"SegmentationClassAug/p{i}.png")
    (tmp_path / "ImageSets/Segmentation/all.txt").write_text("p0\np1\np2\n")
    return tmp_path


def test_folder_is_read_in_split_ids(voc):
    """Dataset ids become split ids and ignored pixels stay ignored."""
    split = ClassSplit.of("picto", 0)
    data = SplitPictures(voc_folder(voc, "all"), split)
    assert len(data) == 3
    assert set(np.unique(data[2][1])) == {0, split.id_of("boat"), split.id_of("clock"), 255}
    assert data.counts[1, split.id_of("clock")] == 64


def test_novel_pixels_are_hidden_from_base_training(voc):
    """For base training novel things are background and base things stay."""
    split = ClassSplit.of("picto", 0)
    data = SplitPictures(voc_folder(voc, "all"), split, hide_novel=True)
    assert set(np.unique(data[0][1])) == {0}
    assert split.id_of("clock") in data[2][1]
    assert 255 in data[2][1]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "JPEGImages/p1.jpg").unlink(), "picture .*p1.* does not exist"),
        (lambda f: (f / "SegmentationClassAug/p1.png").unlink(), "mask .*p1.* does not exist"),
        (lambda f: (f / "SegmentationClassAug/p1.png").write_bytes(b"\x89PNG"), "p1.png cannot be read"),
        (lambda f: (f / "ImageSets/Segmentation/all.txt").write_text(""), "list .*all.txt is empty"),
        (lambda f: (f / "ImageSets/Segmentation/all.txt").write_text("p0\n../../up\n"), "names '../../up'"),
        (lambda f: Image.new("L", (3, 3)).save(f / "SegmentationClassAug/p0.png"), "p0.png is 3x3 but its picture"),
        (lambda f: Image.new("L", (20, 16), 77).save(f / "SegmentationClassAug/p0.png"), "p0.png: a mask holds id 77"),
    ],
)
def test_a_broken_folder_is_told_in_one_sentence(voc, spoil, message):
    """Missing, truncated or foreign files raise the user's error."""
    spoil(voc)
    with pytest.raises(InputError, match=message):
        SplitPictures(voc_folder(voc, "all"), ClassSplit.of("picto", 0))


def test_varied_labels_follow_the_picture():
    """A picture painted by its labels is still painted by them after mirroring, scaling, turning and moving."""
    labels = np.zeros((48, 40), np.uint8)
    labels[8:30, 10:32] = 3
    picture = np.repeat(np.where(labels == 3, np.uint8(255), np.uint8(0))[..., None], 3, 2)
    for i in range(5):
        x, y = vary(picture, labels, 64, MILD.__class__(STRONG.scale, 25, 0.25, 0.0, 0.0), numpy_rng("vary", i))
        assert x.shape == (3, 64, 64)
        assert set(y.unique().tolist()) <= {0, 3}
        assert ((x[0] > 0.5) == (y == 3)).float().mean() > 0.97


def test_variation_belongs_to_its_generator():
    """The same generator gives the same variation, another one another; the input is not written to."""
    picture = np.random.default_rng(0).integers(0, 255, (32, 32, 3)).astype(np.uint8)
    labels = (picture[..., 0] > 128).astype(np.uint8)
    picture.flags.writeable = labels.flags.writeable = False
    first, again, other = (vary(picture, labels, 32, STRONG, numpy_rng("v", i))[0] for i in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_laying_over_keeps_the_rest():
    """Only the thing and the ignored pixels that hang together with it, however many, come from above."""
    below = (torch.zeros(3, 16, 16), torch.ones(16, 16, dtype=torch.uint8))
    labels = torch.zeros(16, 16, dtype=torch.uint8)
    labels[4:10, 4:14] = 255
    labels[5:9, 5:9] = 7
    labels[0, 15] = 255
    picture, out = lay_over(below, (torch.ones(3, 16, 16), labels), 7)
    assert (out == 7).sum() == 16
    assert (out == 255).sum() == 44
    assert out[0, 15] == 1
    assert picture[0, 6, 6] == 1
    assert picture[0, 0, 0] == 0


def test_episodes_are_reproducible_and_sound(base_set):
    """Equal seed and index give equal episodes; query and supports all differ and show the class."""
    sampler = EpisodeSampler(base_set.counts, (1, 3), shots=2, seed=5)
    again = EpisodeSampler(base_set.counts, (1, 3), shots=2, seed=5)
    for i in (7, 0, 3):
        episode = sampler.draw(i)
        assert episode == again.draw(i)
        assert len({episode.query, *episode.supports}) == 3
        assert episode.label in (1, 3)
        assert all(base_set.counts[p, episode.label] >= 60 for p in (episode.query, *episode.supports))
    assert any(sampler.draw(i) != EpisodeSampler(base_set.counts, (1, 3), shots=2, seed=6).draw(i) for i in range(5))


def test_too_few_pictures_for_an_episode(base_set):
    """A class with too few pictures is told before training, by its name where that is known, with what would help."""
    with pytest.raises(InputError, match=r"label 1 is shown .* by 6 of the pictures, .* lower the number of shots"):
        EpisodeSampler(base_set.counts, (1,), shots=6)
    with pytest.raises(InputError, match=r"'cup' \(id 1\) is shown .* by 1 of .*: add pictures of it or leave"):
        TeacherBatches(Subset(base_set, range(4)), 4, 4, Draws(32, 0), ("background", "cup", "b", "c", "d"))


def test_teacher_episodes_show_their_class(base_set):
    """Query and support of each episode show its class, and all base classes have their turn."""
    batches = TeacherBatches(base_set, 4, 4, Draws(32, 0))
    drawn = [batches(i) for i in range(20)]
    assert {int(c) for batch in drawn for c in batch.episodes} == {1, 2, 3, 4}
    for batch in drawn:
        assert (batch.labels == torch.cat([batch.episodes] * 2)[:, None, None]).flatten(1).any(1).all()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_share_of_synthetic_pictures(base_set, supports, synthetic_set, share):
    """Novel pictures come from supports or synthetic ones by the share, base pictures always hide novel things."""
    labels = [np.where(s.masks[0], np.uint8(5 + k), np.uint8(0)) for k, s in enumerate(supports)]
    labelled = Arrays([s.pictures[0] for s in supports], labels, 7)
    weights = np.linspace(0.25, 0.75, len(synthetic_set), dtype=np.float32)
    batch = FinalBatches(base_set, labelled, synthetic_set, 4, 8, Draws(32, 0), share=share, weights=weights)(0)
    novel = (batch.episodes > 4).repeat(2)
    assert torch.equal(batch.weights < 1, novel & bool(share))
    assert set(batch.weights.tolist()) <= {1.0, *weights.tolist()}
    assert batch.hidden[~novel].all()
    assert (batch.labels == torch.cat([batch.episodes] * 2)[:, None, None]).flatten(1).any(1)[novel].all()


def test_base_pictures_in_which_novel_things_were_found(base_set, supports, tmp_path):
    """Their maps take the place of their labels, and they are drawn for the novel class too."""
    found = base_set[3][1].copy()
    found[:10, :10], found[20:, 20:] = 5, 255
    write_labels(tmp_path / "3.png", found)
    row = np.bincount(found.ravel(), minlength=256)[:7]
    base = Relabelled(base_set, {3: tmp_path / "3.png"}, {3: row})
    assert len(base) == len(base_set)
    assert base.numbers().tolist() == base_set.numbers().tolist()
    assert np.array_equal(base[3][1], found)
    assert np.array_equal(base[2][1], base_set[2][1])
    assert base.counts[3, 5] == 100
    assert not base_set.counts[:, 5:].any()
    labels = [np.where(s.masks[0], np.uint8(5 + k), np.uint8(0)) for k, s in enumerate(supports)]
    labelled = Arrays([s.pictures[0] for s in supports], labels, 7)
    batches = FinalBatches(base, labelled, None, 4, 8, Draws(32, 0))
    drawn = [batches(i) for i in range(30)]
    pairs = [pair for batch in drawn for pair in zip(batch.labels, batch.episodes.repeat(2), strict=True)]
    shown = [bool((y == 255).any()) for y, c in pairs if c == 5]
    assert 0.1 < np.mean(shown) < 0.6  # FOUND, and where a support was laid over that picture
    assert all((y == 5).any() or not (y == 255).any() for y, c in pairs if c == 6)


class Few:
    """Three pictures in memory, with a note of which were read."""

    def __init__(self):
        self.ids, self.classes, self.read = ("a", "b", "c"), None, []
        self.labels = lambda index: np.full((4, 4), index, np.uint8)
        self.size = lambda index: (4, 4)
        self.where = lambda index: (self.ids[index], f"mask {self.ids[index]}")
        self.areas = lambda: None

    def picture(self, index):
        """Read a picture."""
        self.read.append(index)
        return np.full((4, 4, 3), index, np.uint8)


def test_pictures_are_read_lazily_and_the_latest_stay(monkeypatch):
    """Making a set decodes no picture; what fits stays decoded, and the oldest goes first."""
    monkeypatch.setattr("fss_models.data.DECODED", 2 * 64)
    pictures = Few()
    data = SplitPictures(pictures, ClassSplit.of("picto", 0))
    assert (data.counts.sum(1) == 16).all()
    assert pictures.read == []
    for index in (0, 1, 0, 2, 0, 1):
        assert (data[index][0] == index).all()
    assert pictures.read == [0, 1, 2, 1]


def test_hidden_labels_are_counted_as_background():
    """The counts of a set that hides novel things are those of its labels."""
    data = SplitPictures(Few(), ClassSplit.of("picto", 0), hide_novel=True)
    for index in range(3):
        assert (np.bincount(data[index][1].ravel(), minlength=21) == data.counts[index]).all()
    assert data.counts[:, 0].tolist() == [16, 16, 16], "the dataset ids 1 and 2 are novel in fold 0"


def test_items_know_their_picture():
    """Items of one picture have one number, also in a part of the set; label maps are a picture each."""
    rows = [Row("a/1", "a.jpg", "a1.png", 1), Row("b/1", "b.jpg", "b1.png", 1), Row("a/2", "a.jpg", "a2.png", 2)]
    data = SplitPictures.__new__(SplitPictures)
    data.pictures, data.counts = FilePictures(Path(), rows), np.zeros((3, 3))
    assert data.numbers().tolist() == [0, 1, 0]
    assert Subset(data, [2, 1]).numbers().tolist() == [0, 1]
    data.pictures = FilePictures(Path(), [Row(r.id, r.picture, r.mask) for r in rows])
    assert data.numbers().tolist() == [0, 1, 2]


def test_columns_answer_as_the_table_would():
    """The table of one-class items, and the full table, give the same to whatever a sampler asks."""
    rng = np.random.default_rng(0)
    labels, pixels = rng.integers(1, 7, 40), rng.integers(0, 9, 40)
    full = np.zeros((40, 8), int)
    full[np.arange(40), labels] = pixels
    few = Columns(labels, pixels, 8)
    rows = [3, 1, 4, 1, 5]
    held = [2, 5, 7]
    assert few.shape == full.shape
    assert len(few) == 40
    for label in range(8):
        assert (few[:, label] == full[:, label]).all()
        assert ((few >= 4)[:, label] == (full >= 4)[:, label]).all()
        assert (few[rows][:, label] == full[rows][:, label]).all()
    for place in range(40):
        assert (few[place] == full[place]).all()
        assert ((few[:, held] >= 2)[place] == (full[:, held] >= 2)[place]).all()
    assert ((few >= 4).sum(0) == (full >= 4).sum(0)).all()
    assert (few.sum(1) == full.sum(1)).all()
    assert (few[:, held].any(1) == full[:, held].any(1)).all()
    assert (few[:, held].any(0) == full[:, held].any(0)).all()
    assert EpisodeSampler(few, (1, 3), min_pixels=2).draw(4) == EpisodeSampler(full, (1, 3), min_pixels=2).draw(4)
