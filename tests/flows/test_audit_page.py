"""The audit's page in a real browser; skipped where there is none."""

import time
from itertools import pairwise

import numpy as np
import pytest

from benchmarks.chromium import find_chromium
from flows.audit.chain import Judged
from flows.audit.grid import Grid
from flows.audit.page import write_page
from flows.audit.run import sum_up
from flows.audit.scores import Judge
from flows.audit.shards import Shard, write_judged
from flows.settings import load_config
from pipeline.classes import IGNORE, ClassSplit
from pipeline.store import Draft
from pipeline.types import Sample

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="no Chromium on this machine")
NAMES, COUNT = ("boat", "car"), 14
GRID = ["filter.min_similarity=0.1,0.3,0.5", "relabel.blend=0.5,1", "relabel.min_similarity=0.2"]
CELLS = "[...document.querySelectorAll('{} tbody tr')].map((r) => [...r.cells].map((c) => c.textContent))"
TOLD = "REPORT.summary.told.rows.filter((r) => r.class === '{name}').map((r) => (100 * r.{key}).toFixed(1))"
NAMELESS = """[...document.querySelectorAll('a, button, select, input, summary, [role=img], [tabindex="0"]')]
    .filter((e) => !e.hidden && !(e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.length))
    .map((e) => e.outerHTML)"""
COLOURS = """(() => {
  const canvas = Object.assign(document.createElement('canvas'), { width: 1, height: 1 });
  const context = canvas.getContext('2d', { willReadFrequently: true });
  const plain = (colour) => {
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const paper = (e) => (!e ? 'white' : /, 0\\)$/.test(getComputedStyle(e).backgroundColor)
    ? paper(e.parentElement) : getComputedStyle(e).backgroundColor);
  return [...document.querySelectorAll('body *')].filter((e) => !e.closest('[disabled], svg')
    && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()))
    .map((e) => [e.textContent.slice(0, 80), plain(getComputedStyle(e).color), plain(paper(e))]);
})()"""


def judged(number, name, grid, split):
    """Give a disc whose final label is better the larger lambda is; every fifth one is dropped at APR."""
    rows, columns = np.indices((48, 40))
    distance = np.hypot(rows - 24, columns - 20)
    truth = (distance < 10).astype(np.uint8)
    truth[:, :2] = IGNORE
    bare = Sample(f"{name}/{number} <b>", name, f"a {name}", 0, np.full((48, 40, 3), 90 + number, np.uint8))

    def labelled(radius, free=0.0):
        labels = np.where(distance < radius, split.id_of(name), 0).astype(np.uint8)
        open_ = (distance >= radius - free) & (distance < radius)
        labels[open_] = IGNORE
        return bare.labelled(labels, open_)

    first = labelled(16 + number % 3)
    stages = [first, labelled(15, 3), labelled(15), labelled(11.5 + number % 2)]
    if number % 5 == 4:
        stages[2:] = [stage.dropped("no pixel <resembles>") for stage in stages[2:]]
    judge = Judge(truth, split.id_of(name), first)
    finals = [labelled(14 - 4 * setting[0] + setting[1]) for setting in grid.settings]
    order = np.arange(len(finals))
    return Judged(
        stages, np.stack([judge.found(s) for s in stages]), truth, np.stack([judge.counts(s) for s in stages]),
        np.stack([judge.counts(s) for s in finals]), np.stack([judge.found(s) for s in finals]), order,
    )  # fmt: skip


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The pages of an audit of discs, with a sweep and without."""
    place = tmp_path_factory.mktemp("out")
    config = load_config(None, [f"execution.output={place}"])
    grid, split, shards = Grid.around(config, GRID), ClassSplit.of("picto", 0), {}
    for name in NAMES:
        (place / name).mkdir()
        draft = Draft(place / name, place / "scratch")
        write_judged(draft, (judged(n, name, grid, split) for n in range(COUNT)), range(COUNT))
        shards[name] = Shard(name, place / name)
    found = {}
    for title, axes in (("swept", grid), ("plain", None)):
        told, best = sum_up(config, shards, 3, axes)
        found[title] = write_page(config, title, told, shards, best)
    return found


@pytest.fixture
def browser(visit, pages):
    """A browser that shows the page of the sweep."""
    return visit(pages["swept"], "document.querySelectorAll('.card').length > 0")


def choose(browser, id_, value):
    """Choose in a list."""
    browser.run(f"(() => {{ const s = document.getElementById('{id_}'); s.value = '{value}'; "
                "s.dispatchEvent(new Event('change')); })()")  # fmt: skip


def test_stages_and_classes(browser):
    """The mean after each stage, the chosen figure of each class, and what the warning says."""
    assert "3 of these pictures" in browser.run("document.getElementById('warnings').textContent")
    rows = browser.run(CELLS.format("#stages"))
    assert [row[0] for row in rows] == ["first labels", "APF", "APR", "SABR"]
    told = browser.run(TOLD.format(name="mean", key="iou"))
    assert [row[5] for row in rows] == told
    choose(browser, "measure", "recall")
    cells = browser.run(CELLS.format("#classes"))
    assert [row[:2] for row in cells[:2]] == [["boat", "14"], ["car", "14"]]
    assert cells[1][2:6] == browser.run(TOLD.format(name="car", key="recall"))


def test_the_sweep_marks_current_and_suggested(browser):
    """The heat map has a cell a setting, the two settings are marked in it, and the command is ready to be copied."""
    marks = browser.run("[...document.querySelectorAll('.heat td[data-mark]')].map((c) => c.textContent)")
    assert len(marks) == 2
    assert marks[0].endswith("now")
    assert marks[1].endswith("suggested")
    assert browser.run("document.querySelectorAll('.heat td').length") == 6
    assert "--set experiment.filter.min_similarity=0.5" in browser.run("document.querySelector('.command').textContent")
    assert "lies at the end of" in browser.run("document.querySelector('#sweep .note').textContent")
    labels = browser.run("[...document.querySelectorAll('#sweep svg')].map((s) => s.getAttribute('aria-label'))")
    assert len(labels) == 2
    assert all("others as suggested from" in label for label in labels)
    before = browser.run("document.querySelector('.heat td').textContent")
    choose(browser, "heat-half", "confirmed")
    value = browser.run("(100 * REPORT.summary.told.sweep.confirmed[0]).toFixed(1)")
    assert browser.run("document.querySelector('.heat td').textContent") == value
    choose(browser, "heat-half", "chosen")
    assert browser.run("document.querySelector('.heat td').textContent") == before
    browser.run("document.getElementById('heat-third').focus()")
    choose(browser, "heat-third", "filter.min_similarity")
    assert browser.run("document.activeElement.id") == "heat-third"
    assert browser.run("document.querySelectorAll('.heat').length") == 2
    assert browser.run("document.querySelectorAll('.heat td[data-mark]').length") == 2
    choose(browser, "heat-at", "0.1")
    assert browser.run("document.querySelectorAll('.heat td').length") == 2


def test_worst_pictures_come_first(browser):
    """Sorted by the final IoU, dropped ones first; ids are never markup; a class can be chosen, more be shown."""
    cards = "[...document.querySelectorAll('.card')]"
    assert len(browser.run(f"{cards}.map((c) => c.textContent)")) == 20
    first = browser.run(f"{cards}[0].textContent")
    assert "dropped at APR" in first
    assert "no pixel <resembles>" in first
    assert "<b>" in first
    browser.run("document.querySelector('#worst button').click()")
    assert browser.run(f"{cards}.length") == 2 * COUNT
    values = browser.run(f"{cards}.map((c) => Number(c.querySelectorAll('figcaption b')[3].textContent) || 0)")
    assert values == sorted(values)
    choose(browser, "worst-class", "car")
    assert browser.run("document.getElementById('worst-status').textContent").startswith("14 of 14")
    choose(browser, "worst-sort", "change")
    assert browser.run(f"{cards}[0].querySelectorAll('figure').length") == 7
    browser.run("document.getElementById('worst').scrollIntoView()")
    browser.until("[...document.querySelectorAll('.card img')].slice(0, 6).every((i) => i.naturalWidth === 40)")


def test_works_by_keyboard_and_for_screen_readers(browser):
    """The first stop skips to the stages, every control has a name, headings go down by one level at most."""
    browser.press("Tab", 9)
    assert browser.run("document.activeElement.textContent") == "Skip to the stages"
    assert browser.run(NAMELESS) == []
    levels = browser.run("[...document.querySelectorAll('h1,h2,h3,h4')].map((h) => Number(h.tagName[1]))")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert browser.run("document.getElementById('worst-status').getAttribute('role')") == "status"


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_on_a_phone_in_light_and_dark(browser, dark):
    """Nothing is wider than the phone, and text has a contrast of at least 4.5 to 1 to its background."""
    browser.resize(360, 740, 2, mobile=True)
    browser.dark(dark)
    time.sleep(0.2)
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    texts = browser.run(COLOURS)
    assert len(texts) > 100
    assert [(text, ink, paper) for text, ink, paper in texts if contrast(ink, paper) < 4.5] == []
    browser.dark(False)


def contrast(one, other):
    """Give the contrast of two colours, red, green and blue in 0..255, as WCAG 2 counts it."""
    low, high = sorted(luminance([value / 255 for value in colour]) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def luminance(colour):
    """Give the relative luminance of red, green and blue in 0..1."""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in colour]
    return sum(weight * v for weight, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_without_a_sweep_the_page_says_how(chromium, pages):
    """The section of the sweep names the command; no picture shows a suggestion."""
    chromium.complaints.clear()
    chromium.open(pages["plain"].as_uri())
    chromium.until("document.querySelectorAll('.card').length > 0")
    assert "syn4seg audit --sweep" in chromium.run("document.getElementById('sweep').textContent")
    assert chromium.run("document.querySelector('.card').querySelectorAll('figure').length") == 6
    assert chromium.complaints == []
