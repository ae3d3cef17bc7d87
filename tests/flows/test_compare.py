"""What a comparison refuses before it trains."""

import pytest

from flows import compare
from flows.compare import Grid, Variant, compare_models
from pipeline.errors import InputError

TINY = ["experiment.base_pictures=20", "experiment.validation_pictures=40", "experiment.fss.min_pixels=1"]


@pytest.fixture
def compared(tmp_path, monkeypatch):
    """Compare rows whose training would fail the test."""
    from rich.console import Console

    monkeypatch.setattr(compare, "trained_and_scored", lambda *_: pytest.fail("a model was trained"))

    def run(*rows, shots=(1,), more=()):
        overrides = [*TINY, *more, f"execution.output={tmp_path / 'out'}"]
        grid = Grid("fss", [0], [0], shots)
        chosen = [Variant.parse(row) for row in rows]
        compare_models(None, overrides, chosen, grid, tmp_path / "to", Console(quiet=True))

    return run


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (["iir", "iir: experiment.fss.steps=2"], "the names 'iir' and 'iir' would have the same files: give each"),
        (["IIR short: picto_fss", "iir-short: picto_fss"], "the names 'IIR short' and 'iir-short' would have the same"),
        ([": experiment.fss.steps=2"], "got the name '', expected some of a to z or 0 to 9"),
        (["iir", " ? : picto_fss"], "got the name '?'"),
    ],
)
def test_every_row_needs_a_name_of_its_own(compared, tmp_path, rows, told):
    """Files are named by it, so that equal or empty ones would overwrite each other."""
    with pytest.raises(InputError, match="--vary: .*" + told.replace("?", r"\?")):
        compared(*rows)
    assert not list(tmp_path.iterdir())


def test_the_last_row_is_looked_at_before_the_first_is_trained(compared):
    """An option that a model has not, and numbers of shots for which there are no pictures."""
    with pytest.raises(InputError, match="model iir does not take the options"):
        compared("iir", "wide: experiment.fss.options.widht=3")
    with pytest.raises(InputError, match="no novel class has the 91 validation pictures that 90-shot episodes need"):
        compared("iir", shots=(1, 90))


@pytest.mark.parametrize("command", [["ablate"], ["compare", "--vary", "iir", "--seeds", "0", "--shots", "1"]])
def test_numbers_that_were_forgotten(call, command):
    """An option without its numbers is told in one sentence."""
    code, _, complaint = call(*command, "--folds")
    assert code == 2
    assert "expected one number or several" in complaint
    assert complaint.count("\n") == 1
