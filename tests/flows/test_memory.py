import pytest
import torch

from flows.memory import advice_of
from flows.settings import load_config
from pipeline.backends.memory import within_memory
from pipeline.errors import OutOfMemory


@pytest.mark.parametrize("error", [
    torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError("CPU: can't allocate memory"),
])  # fmt: skip
@pytest.mark.parametrize(("stage", "advice"), [
    ("annotate", "experiment.annotate.batch=8 (now 16)"), ("train", "experiment.train.batch="), ("scores", "workers=1"),
])  # fmt: skip
def test_want_of_memory_names_what_to_lower(error, stage, advice):
    """Whatever a library raises, the user reads the stage and the setting."""
    def work():
        raise error

    with pytest.raises(OutOfMemory, match=f"in the stage {stage}: ") as told:
        within_memory(work, advice_of(load_config("picto"), stage))
    assert advice in str(told.value)


def test_other_errors_stay_what_they_are():
    """A fault of the code is no want of memory."""
    with pytest.raises(RuntimeError, match="shapes differ") as told:
        within_memory(lambda: (_ for _ in ()).throw(RuntimeError("shapes differ")), "too large")
    assert not isinstance(told.value, OutOfMemory)
