"""A store whose output folder is a URL: what is computed in one cache is found from another."""

import uuid

import fsspec
import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.mirror import Mirror, local_folder
from pipeline.store import RunStore
from pipeline.types import Sample

RECIPE = {"version": 1}


def samples(reason=None):
    picture = np.arange(108, dtype=np.uint8).reshape(6, 6, 3)
    labels = np.zeros((6, 6), np.uint8)
    first = Sample("boat-0000-0", "boat", "a boat", 1, picture)
    second = Sample("boat-0001-0", "boat", "a boat", 2, picture[::-1].copy())
    return [s.labelled(labels, labels.astype(bool), found=0.5) for s in (first, second)]


@pytest.fixture(params=["file", "memory"])
def url(request, tmp_path):
    """An empty folder on a disk, and one in this process's memory."""
    return f"file://{tmp_path}/there" if request.param == "file" else f"memory://{uuid.uuid4().hex}"


@pytest.fixture
def stores(url, tmp_path):
    """Two caches of it."""
    return [RunStore(tmp_path / name / "store", Mirror(url)) for name in ("one", "two")]


def computed(store):
    """Pictures, and labels that name the pictures of the other shard."""
    images = store.compute("images", "boat-000", RECIPE, lambda d: d.write_samples(samples()))
    work = lambda d: d.write_samples(store.samples(images), store.pictures(images))  # noqa: E731
    return images, store.compute("refine", "boat-000", RECIPE, work)


def test_another_cache_finds_what_was_computed(stores):
    """Records come without files; files when they are asked for, with the pictures that labels refer to."""
    one, two = stores
    images, labels = computed(one)
    assert two.find("images", "boat-000", RECIPE) == images
    again = two.compute("refine", "boat-000", RECIPE, lambda draft: pytest.fail("computed again"))
    assert again == labels
    assert not list(two.root.glob("*/*/*"))
    read, there = two.samples(labels), one.samples(labels)
    for mine, theirs in zip(read, there, strict=True):
        assert np.array_equal(mine.picture, theirs.picture)
        assert np.array_equal(mine.labels, theirs.labels)
    assert sorted(p.name for p in two.root.glob("*/*")) == sorted(p.name for p in one.root.glob("*/*"))
    place = two.folder(images)
    assert {p: (place / p).read_bytes() for p in images.files} == {
        p: (one.folder(images) / p).read_bytes() for p in images.files
    }


def test_half_an_upload_is_no_shard(stores, url):
    """Without its record a shard there does not count and is computed; the cache's own files count for themselves."""
    one, two = stores
    images, _ = computed(one)
    files, base = fsspec.core.url_to_fs(url)
    record = f"{base}/store/{images.place}/record.json"
    files.rm_file(record)
    assert two.find("images", "boat-000", RECIPE) is None
    assert one.find("images", "boat-000", RECIPE) == images
    assert two.compute("images", "boat-000", RECIPE, lambda d: d.write_samples(samples())).content == images.content
    assert files.exists(record)


def test_a_shard_is_there_before_it_counts_here(stores, monkeypatch):
    """When the copying fails nothing is finished here either, so that no run goes on with what nobody else can see."""
    one, _ = stores
    push = Mirror.push

    def broken(self, folder, name, last):
        raise OSError("connection reset")

    monkeypatch.setattr(Mirror, "push", broken)
    with pytest.raises(OSError, match="connection reset"):
        computed(one)
    assert one.find("images", "boat-000", RECIPE) is None
    monkeypatch.setattr(Mirror, "push", push)
    computed(one)


def test_damage_there_is_told(stores, url):
    """A file of another size than the record says is refused, and a file that is gone too."""
    one, two = stores
    images, _ = computed(one)
    files, base = fsspec.core.url_to_fs(url)
    picture = f"{base}/store/{images.place}/images/boat-0001-0.png"
    files.pipe_file(picture, b"cut")
    with pytest.raises(InputError, match=r"images/boat-000-\w+ is damaged: delete it"):
        two.samples(images)
    files.rm_file(picture)
    with pytest.raises(InputError, match="is damaged: delete it"):
        two.samples(images)
    assert not list(two.root.glob("images/*"))


def test_merging_mends_what_is_lost_there(stores, url, tmp_path):
    """A shard that is in the cache and no more at the URL goes there again; nothing is done where it is in both."""
    one, two = stores
    images, _ = computed(one)
    plain = RunStore(one.root)
    assert not one.adopt(plain, images)
    files, base = fsspec.core.url_to_fs(url)
    files.rm(f"{base}/store/images", recursive=True)
    assert one.adopt(plain, images)
    assert two.find("images", "boat-000", RECIPE) == images


def test_run_folders_are_copied_once(stores, url):
    """A folder beside the store goes there whole, and only once."""
    one, _ = stores
    run = one.root.parent / "runs" / "20261127-picto"
    (run / "report").mkdir(parents=True)
    (run / "lineage.json").write_text("{}")
    (run / "report" / "index.html").write_text("page")
    one.publish(run, "lineage.json")
    files, base = fsspec.core.url_to_fs(url)
    assert files.cat_file(f"{base}/runs/20261127-picto/report/index.html") == b"page"
    (run / "report" / "index.html").write_text("another")
    one.publish(run, "lineage.json")
    assert files.cat_file(f"{base}/runs/20261127-picto/report/index.html") == b"page"


def test_places_that_cannot_be_written_are_one_sentence(tmp_path):
    """An unknown kind of URL, and a folder that cannot be made."""
    with pytest.raises(InputError, match="no files can be kept at 'nowhere://x'"):
        Mirror("nowhere://x").check()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write to file://.*look at its name"):
        Mirror(f"file://{tmp_path}/file/there").check()
    Mirror(f"file://{tmp_path}/there").check()
    assert not list((tmp_path / "there").iterdir())


def test_a_whole_copy_needs_nothing_from_there(tmp_path):
    """What was copied by another tool is read where the URL's package is not installed."""
    here = RunStore(tmp_path / "store")
    images, labels = computed(here)
    copy = RunStore(tmp_path / "store", Mirror("nowhere://x"))
    assert copy.find("images", "boat-000", RECIPE) == images
    assert len(copy.samples(labels)) == 2


def test_every_url_has_its_own_cache(monkeypatch, tmp_path):
    """A folder is itself; a URL has a folder in the user's cache unless one is named."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert str(local_folder("outputs")) == "outputs"
    assert local_folder("s3://a/b", "here").name == "here"
    assert local_folder("s3://a/b").parent == tmp_path / "syn4seg"
    assert local_folder("s3://a/b/") == local_folder("s3://a/b") != local_folder("s3://a/c")
