"""The report's page in a real browser; skipped where there is none."""

import json
import re
import time
from itertools import pairwise

import pytest

from benchmarks.chromium import find_chromium
from benchmarks.report import SPLIT, make_run
from flows.report import write_report
from flows.settings import dump_config, load_config

COUNT = 120
pytestmark = pytest.mark.skipif(find_chromium() is None, reason="no Chromium on this machine")
IDS = "[...document.querySelectorAll('.sample h3')].map((h) => h.firstChild.textContent)"
NAMELESS = """[...document.querySelectorAll('a, button, select, input, summary, [role=img], [tabindex="0"]')]
    .filter((e) => !e.hidden && !(e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.length))
    .map((e) => e.outerHTML)"""
COLOURS = """(() => {
  const paper = (e) => (!e ? 'rgb(255, 255, 255)' : /, 0\\)$/.test(getComputedStyle(e).backgroundColor)
    ? paper(e.parentElement) : getComputedStyle(e).backgroundColor);
  return [...document.querySelectorAll('body *')].filter((e) => !e.closest('[disabled], svg')
    && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()))
    .map((e) => [e.textContent.slice(0, 80), getComputedStyle(e).color, paper(e)]);
})()"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of a run of discs."""
    return write_report(make_run(tmp_path_factory.mktemp("out"), COUNT, side=32))


@pytest.fixture
def browser(visit, page):
    """A browser that shows the page."""
    return visit(page, "document.querySelectorAll('.sample').length > 0")


def choose(browser, **values):
    """Choose in the gallery's lists and wait until the page shows it."""
    for key, value in values.items():
        browser.run(f"document.getElementById('gallery-status').textContent = ''; (() => {{ const s = "
                    f"document.getElementById('gallery-{key}'); s.value = '{value}'; "
                    "s.dispatchEvent(new Event('change')); })()")  # fmt: skip
        browser.until("document.getElementById('gallery-status').textContent !== ''")


def test_every_section_is_filled(browser):
    """Scores, chain, classes and gallery show what the run has; what it lacks says so in a sentence."""
    told = browser.run("document.querySelector('main').innerText")
    assert "46.0" in told
    assert "+24.0 points" in told
    assert f"1 to 20 of {COUNT} pictures" in told
    assert "no models or validation pictures" in told
    steps = browser.run("[...document.querySelectorAll('.step h3')].map((h) => h.firstChild.textContent)")
    assert steps == ["Prompts", "Pictures", "First labels", "Filtered", "Relabelled", "Sharpened", "Scores"]


def test_filters_by_class_stage_and_reason(browser):
    """Only what was asked for is shown, and the line above says how many there are."""
    choose(browser, size="100", **{"class": "car"})
    ids = browser.run(IDS)
    assert len(ids) == COUNT // len(SPLIT.novel)
    assert all(name.startswith("car-") for name in ids)
    choose(browser, **{"class": ""}, state="dropped-relabel")
    tags = browser.run("[...document.querySelectorAll('.sample .tag')].map((t) => t.textContent)")
    assert tags
    assert set(tags) == {"dropped at APR"}
    choose(browser, state="", reason="0")
    count = len(browser.run(IDS))
    wanted = browser.run("REPORT.summary.samples.columns.reason.filter((r) => r === 0).length")
    assert count == wanted > 0
    choose(browser, state="kept")
    assert browser.run("document.getElementById('gallery-status').textContent") == "No picture fits these filters."


def test_sorts_worst_first_by_every_score(browser):
    """Whatever score is chosen, the worst value comes first, and samples without it last."""
    choose(browser, size="10")
    for key, worst in browser.run("REPORT.summary.samples.scores.map((s) => [s.key, s.worst])"):
        if not browser.run(f"!!REPORT.summary.samples.columns['{key}']"):
            continue
        choose(browser, sort=key)
        values = browser.run(f"gallery.order.map((i) => REPORT.summary.samples.columns['{key}'][i])")
        known = [value for value in values if value is not None]
        assert known == sorted(known, reverse=worst == "high")
        assert values == known + [None] * (len(values) - len(known))


def test_slider_moves_every_overlay(browser):
    """The opacity of the label over the picture follows the slider, by keys too."""
    opacity = "getComputedStyle(document.querySelector('.sample .layer')).opacity"
    assert browser.run(opacity) == "0.6"
    browser.run("document.getElementById('opacity').focus()")
    for _ in range(3):
        browser.press("ArrowRight", 39)
    browser.until(f"{opacity} === '0.75'")
    assert browser.run("document.getElementById('opacity').nextElementSibling.textContent") == "75 %"


def test_pages_are_turned_and_kept_in_the_address(browser, page):
    """The next page shows other samples; its address opens it again; only one page is in the document."""
    first = browser.run(IDS)
    browser.run("document.querySelector('[data-go=next]').click()")
    browser.until(f"{IDS}[0] !== '{first[0]}'")
    second, address = browser.run(IDS), browser.run("location.href")
    assert len(second) == 20
    assert not set(first) & set(second)
    browser.open("about:blank#")
    browser.open(address)
    browser.until("document.querySelectorAll('.sample').length > 0")
    assert browser.run(IDS) == second


def test_says_why_a_label_went_wrong(browser):
    """Each sample tells prompt, seed, reason, every score by stage, and the limits that it missed."""
    choose(browser, sort="apf_best", state="missed-apf_best")
    told = browser.run("document.querySelector('.sample').textContent")
    limit = browser.run("REPORT.summary.limits['filter.min_similarity']")
    assert f"the limit filter.min_similarity is {limit}" in told
    assert "seed 46116860184" in told
    browser.run("document.querySelector('.sample details').open = true")
    browser.until("!!document.querySelector('.sample details table')")
    rows = browser.run("[...document.querySelectorAll('.sample details tbody tr')].map((r) => r.textContent)")
    assert any("filter.min_similarity" in row and "missed" in row for row in rows)
    choose(browser, state="dropped-annotate", sort="number")
    assert "the teacher sees no boat" in browser.run("document.querySelector('.sample .why').textContent")


def test_says_by_what_a_label_is_among_the_worst(browser):
    """The first tenth of a class by a score says so, the others do not; every label has its story."""
    choose(browser, sort="certainty", size="100", **{"class": "boat"})
    told = browser.run("[...document.querySelectorAll('.sample')].map((s) => s.textContent)")
    values = browser.run("gallery.order.map((i) => REPORT.summary.samples.columns.certainty[i])")
    worst = ["first labels teacher's mean probability" in text for text in told]
    known = sum(value is not None for value in values)
    assert worst == [True] * int(known * 0.1) + [False] * (len(told) - int(known * 0.1))
    assert any(worst)
    assert all("First label on" in text for text in told[:known])


def test_text_of_prompts_is_never_markup(browser):
    """Prompts with tags, quotes and the end of a script are shown as they are."""
    choose(browser, size="100", sort="number")
    told = browser.run("[...document.querySelectorAll('.prompt')].map((p) => p.textContent)")
    assert "“two of boat <b>in the rain</b>”" in told
    assert '“a boat at "night"</script>”' in told
    browser.run("document.getElementById('class-boat').open = true")
    browser.until("!!document.querySelector('#class-boat details')")
    browser.run("for (const d of document.querySelectorAll('#class-boat details')) d.open = true")
    browser.until("document.querySelector('#class-boat').innerText.includes('<b>in the rain</b>')")
    assert browser.run("document.querySelectorAll('main b b, .prompt b').length") == 0


def test_histograms_draw_their_thresholds(browser):
    """The line of the limit stands at its place between the ends of the axis, and the label names it."""
    browser.run("document.getElementById('class-boat').open = true")
    browser.until("document.querySelectorAll('#class-boat line.limit').length >= 3")
    lines = browser.run("[...document.querySelectorAll('#class-boat line.limit')].map((l) => "
                        "[Number(l.getAttribute('x1')), l.closest('svg').getAttribute('aria-label')])")  # fmt: skip
    for place, label in lines:
        assert 44 <= place <= 350
        assert "the limit" in label


def test_works_by_keyboard_and_for_screen_readers(browser):
    """The first stop skips to the scores, every control has a name, headings go down by one level at most."""
    browser.press("Tab", 9)
    assert browser.run("document.activeElement.textContent") == "Skip to the scores"
    browser.press("Tab", 9)
    assert browser.run("document.activeElement.closest('nav') !== null")
    assert browser.run(NAMELESS) == []
    levels = browser.run("[...document.querySelectorAll('h1,h2,h3,h4')].map((h) => Number(h.tagName[1]))")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert browser.run("document.documentElement.lang") == "en"
    assert browser.run("document.getElementById('gallery-status').getAttribute('role')") == "status"


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


def contrast(one, other):
    """Give the contrast of two colours "rgb(r, g, b)" as WCAG 2 counts it."""
    low, high = sorted(luminance([int(v) / 255 for v in re.findall(r"\d+", c)[:3]]) for c in (one, other))
    return (high + 0.05) / (low + 0.05)


def luminance(colour):
    """Give the relative luminance of red, green and blue in 0..1."""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in colour]
    return sum(weight * v for weight, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_few_shot_runs_show_their_own_scores(chromium, tmp_path):
    """A run without synthesis has a page too: its scores, and a sentence where there is nothing to show."""
    run = tmp_path / "runs" / "20260101-000000-fss"
    run.mkdir(parents=True)
    (run / "experiment.yaml").write_text(dump_config(load_config("picto", [f"execution.output={tmp_path}"])))
    (run / "lineage.json").write_text("{}")
    found = {"miou": 0.512, "fb_iou": 0.7, "per_class": {"boat": 0.4, "car": None}}
    scores = {"fold": 0, "shots": 1, "seed": 0, "model": "iir", "protocol": "fss", "fss": found}
    (run / "scores.json").write_text(json.dumps(scores))
    chromium.complaints.clear()
    chromium.open(write_report(run).as_uri())
    told = chromium.run("document.querySelector('main').textContent")
    assert "51.2" in told
    assert "made no synthetic pictures" in told
    assert chromium.complaints == []


def test_says_what_to_do_where_data_is_missing(page, chromium):
    """Without its data the page names the command that builds it anew."""
    kept = page.parent / "data" / "summary.js"
    moved = kept.rename(kept.with_suffix(".away"))
    try:
        chromium.open("about:blank#")
        chromium.open(page.as_uri())
        assert "syn4seg report RUN" in chromium.run("document.getElementById('warnings').textContent")
    finally:
        moved.rename(kept)
