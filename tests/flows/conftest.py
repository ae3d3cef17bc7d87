"""Tiny runs of the whole chain."""

import pytest


@pytest.fixture(scope="session")
def tiny():
    """Overrides that make a run take seconds."""
    return [
        "experiment.base_pictures=40", "experiment.validation_pictures=20", "experiment.prompts.per_class=2",
        "experiment.prompts.max_similarity=0.99", "experiment.generate.steps=2", "experiment.train.base_steps=3",
        "experiment.train.final_steps=2", "experiment.train.batch=2", "execution.workers=1",
    ]  # fmt: skip
