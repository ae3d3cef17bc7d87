"""The command ``syn4seg ablate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators
from rich.console import Console

from flows.console import AsJson, Into, Numbers, Overrides, Source, out, placed, print_json
from flows.settings import load_config


def ablate(
    config: Source = None, /, *, set_: Overrides = None, folds: Numbers = [0], seeds: Numbers = [0],  # noqa: B006
    shots: Numbers = [1],  # noqa: B006
    rungs: Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())] = None,
    sweep: Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())] = None,
    labels: Annotated[int, Parameter(negative=(), validator=validators.Number(gte=0))] = 30,
    to: Path = Path("outputs/results"), output: Into = None, json_: AsJson = False,
) -> None:  # fmt: skip
    """Measure what every part of the method buys: the ladder, its controls, what goes beyond it, and sweeps.

    Each rung is a final model trained and scored over folds and seeds; the rungs of a fold and seed share teacher,
    pictures and labels where their settings are equal. Stopped and started again, it goes on; cells that the folder
    holds from another machine are not computed again.

        syn4seg ablate --folds 0 1 2 3 --seeds 0 1 2               the ladder and the controls, hours
        syn4seg ablate --rungs none sabr --sweep beta apf-lambda   two rungs and two sweeps on fold 0
        syn4seg ablate --sweep relabel.blend=0,0.5,1               values of your own

    Parameters
    ----------
    rungs
        Some of none, class-name, hdig, apf, apr, sabr (together: ladder), copy-paste, oracle, confidence, adaptive,
        second-labels, second-base (the last four: beyond); or all, as without this and --sweep. Of all, oracle is
        picto's alone.
    sweep
        Some of bank-lambda, apf-lambda, apf-contrast, apr-lambda, apr-margin, beta, band, images, shots; all; or
        KEY=V,V,...
    labels
        Labelled pictures a class on which every rung's labels are judged; 0: none.
    to
        Folder for ablation-cells.jsonl, ablation.json and the charts.
    """
    from flows.ablation.cells import compute_cells, list_cells
    from flows.ablation.charts import draw_ablation
    from flows.ablation.rungs import RUNGS, chosen_rungs
    from flows.ablation.summary import table_of, write_summary

    console = Console(stderr=True)
    own = placed(output, set_)
    named = load_config(config, [*own, f"experiment.fold={folds[0]}"]).experiment.dataset
    names = rungs or ([] if sweep else ["all"])
    chosen = chosen_rungs(names, sweep or (), named)
    if "all" in names and RUNGS["oracle"] not in chosen:
        console.print("the rung oracle is left out: only picto's scenes can be drawn with exact labels")
    cells = list_cells(config, own, chosen, folds, seeds, shots)
    compute_cells(cells, to, labels, console)
    dataset = cells[0].key["dataset"]
    rows = write_summary(to, dataset)
    charts = draw_ablation(to, rows, dataset)
    if json_:
        print_json(rows)
        return
    print(table_of(rows, dataset))
    for chart in charts:
        out.print(f"chart    {chart}", soft_wrap=True)
