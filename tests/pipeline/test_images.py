"""Reading and writing pictures and label files, and the finished dataset."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.assemble import final_labels, write_voc
from pipeline.classes import IGNORE, ClassSplit
from pipeline.errors import InputError
from pipeline.images import read_labels, read_pair, read_picture, voc_palette, write_labels, write_picture
from pipeline.types import Sample

SPLIT = ClassSplit.of("picto", 1)
CLOCK = SPLIT.id_of("clock")


def smooth_picture(seed: int) -> np.ndarray:
    corners = np.random.default_rng(seed).integers(0, 255, (2, 2, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(corners).resize((16, 12), Image.Resampling.BILINEAR))


def sample(number: int) -> Sample:
    labels = np.zeros((12, 16), np.uint8)
    labels[3:9, 4:9], labels[0], labels[11] = CLOCK, IGNORE, SPLIT.id_of("umbrella")
    free = np.zeros((12, 16), bool)
    free[10] = True
    labels[free] = IGNORE
    return Sample(f"clock-000{number}-0", "clock", "a clock", number, smooth_picture(number), labels, free)


def test_the_dataset_is_read_back_as_it_was(tmp_path: Path) -> None:
    """Both flavours of masks hold dataset ids with 255 for free pixels; lists name every kept picture."""
    samples = [sample(0), sample(1).dropped("too dark"), sample(2)]
    written = write_voc(samples, tmp_path, SPLIT)
    assert written.ids == ("syn_clock_0000_0", "syn_clock_0002_0")
    assert written.per_class == {"clock": 2}
    assert written.dropped == {"too dark": 1}
    for name, kept in zip(written.ids, (samples[0], samples[2]), strict=True):
        index = read_labels(tmp_path / "SegmentationClassAug" / f"{name}.png")
        assert np.array_equal(index, read_labels(tmp_path / "SegmentationClass" / f"{name}.png"))
        assert np.array_equal(SPLIT.from_dataset(index), kept.labels)
        assert index[4, 5] == SPLIT.all_names.index("clock") + 1
        assert (index[10] == IGNORE).all()
        picture = read_picture(tmp_path / "JPEGImages" / f"{name}.jpg").astype(int)
        assert np.abs(picture - kept.picture).mean() < 3
    with Image.open(tmp_path / "SegmentationClass" / f"{written.ids[0]}.png") as image:
        assert image.mode == "P"
        assert image.convert("RGB").getpixel((0, 0)) == (224, 224, 192)
    lists = tmp_path / "ImageSets" / "Segmentation"
    assert (lists / "train.txt").read_text().split() == list(written.ids)
    assert (lists / "trainval.txt").read_text() == (lists / "train.txt").read_text()
    for line in (lists / "gfss_train.txt").read_text().splitlines():
        picture_path, mask_path = (tmp_path / part for part in line.split())
        read_pair(picture_path, mask_path, SPLIT)


def test_the_content_hash_follows_content_alone(tmp_path: Path) -> None:
    """The hash is the same in another folder and order, and another for another pixel."""
    first = write_voc([sample(0), sample(1)], tmp_path / "a", SPLIT).content
    assert write_voc([sample(1), sample(0)], tmp_path / "b", SPLIT).content == first
    picture = sample(0).picture.copy()
    picture[0, 0, 0] ^= 1
    changed = replace(sample(0), picture=picture)
    assert write_voc([changed, sample(1)], tmp_path / "c", SPLIT).content != first
    with pytest.raises(ValueError, match="twice"):
        write_voc([sample(0), changed], tmp_path / "d", SPLIT)


def test_final_labels_need_labels() -> None:
    """A sample that was never labelled cannot be written."""
    with pytest.raises(ValueError, match="no labels"):
        final_labels(replace(sample(0), labels=None), SPLIT)


def test_palette_is_that_of_voc() -> None:
    """The first colours and the border's are those that PASCAL VOC documents."""
    palette = voc_palette()
    assert palette[:4].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert palette[15].tolist() == [192, 128, 128]
    assert palette[255].tolist() == [224, 224, 192]


def test_pictures_survive_png(tmp_path: Path) -> None:
    """PNG files give the same pixels back, grey and transparent ones become RGB."""
    write_picture(tmp_path / "a.png", smooth_picture(0))
    assert np.array_equal(read_picture(tmp_path / "a.png"), smooth_picture(0))
    Image.new("LA", (4, 3), (7, 255)).save(tmp_path / "grey.png")
    assert read_picture(tmp_path / "grey.png").shape == (3, 4, 3)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_16_bits_are_scaled_by_their_range(tmp_path: Path, name: str, order: str) -> None:
    """Grey values of 16 bits, in either order of bytes, become their upper 8 bits in all three colours."""
    Image.fromarray(np.array([[0, 255, 256], [0x7FFF, 0x8000, 0xFFFF]], dtype=order)).save(tmp_path / name)
    expected = np.array([[0, 0, 1], [0x7F, 0x80, 0xFF]], np.uint8)
    assert np.array_equal(read_picture(tmp_path / name), np.stack([expected] * 3, axis=2))


def test_16_bits_are_turned_upright(tmp_path: Path) -> None:
    """The orientation that a file tells of holds for 16 bits too."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.array([[0, 0x100, 0x200]], np.uint16)).save(tmp_path / "a.png", exif=exif)
    assert read_picture(tmp_path / "a.png")[:, :, 0].tolist() == [[0], [1], [2]]


@pytest.mark.parametrize(("kind", "mode"), [(np.float32, "F"), (np.int32, "I")])
def test_numbers_without_a_range_are_refused(tmp_path: Path, kind: type, mode: str) -> None:
    """Floats and 32-bit numbers, which Pillow clips at 255, are one sentence with file and mode."""
    path = tmp_path / "a.tif"
    Image.fromarray(np.array([[0, 1]], dtype=kind)).save(path)
    with pytest.raises(InputError, match=f"a.tif is a picture of mode {mode}: 8 bits") as error:
        read_picture(path)
    assert "\n" not in str(error.value)


def test_bad_files_are_one_clear_sentence(tmp_path: Path) -> None:
    """Missing, truncated, coloured, ill-sized and foreign files and unwritable places each give one sentence."""
    picture, mask = tmp_path / "a.png", tmp_path / "a_mask.png"
    write_picture(picture, np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8))
    whole = picture.read_bytes()

    def problem() -> str:
        with pytest.raises(InputError) as caught:
            read_pair(picture, mask, SPLIT)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert f"{mask} does not exist" in problem()
    write_labels(mask, np.zeros((40, 39), np.uint8))
    assert "39x40" in problem()
    labels = np.zeros((40, 40), np.uint8)
    labels[3, 3] = 77
    write_labels(mask, labels)
    assert "id 77" in problem()
    assert str(mask) in problem()
    write_picture(mask, smooth_picture(0))
    assert "mode RGB" in problem()
    write_labels(mask, np.zeros((40, 40), np.uint8))
    picture.write_bytes(whole[: len(whole) // 2])
    assert f"{picture} cannot be read" in problem()
    picture.write_bytes(b"no picture at all")
    assert f"{picture} cannot be read" in problem()
    with pytest.raises(InputError, match="cannot be written"):
        write_labels(picture / "b.png", labels)
