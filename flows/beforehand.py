"""What would stop one of several runs of the chain, found before the first of them: days may lie between the two."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from flows.asking import check_agent
from flows.data import prepare_data, validation_of
from flows.learning import check_networks
from flows.plan import make_plan
from flows.progress import Board, set_reporter
from flows.run import check_inputs, check_pictures, check_writable
from pipeline.config import Config


def check_chains(configs: Sequence[Config], console: Console) -> None:
    """Look whether the chain of every config can be computed and scored, as `run.compute` does for one.

    Raises:
        InputError: something that the user can mend; nothing was trained.
    """
    for config in configs:
        check_inputs(config)
        check_writable(config)
    with Board({"data": 3}, console) as board:
        set_reporter(board.show)
        for config in configs:
            validation_of(prepare_data(config))
            check_networks(config)
            plan = make_plan(config, quick=True)
            if plan.stages["prompts"].reuse < plan.stages["prompts"].total:
                check_agent(config)
            check_pictures(config, plan)
        set_reporter(None)
