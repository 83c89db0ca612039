"""What Onloop's own parts cost, each beside the thing that it stands in for."""

from importlib.util import find_spec
from statistics import median
from typing import Any

from .postgres import Database
from .runner import Worker, WorkerFailedError


def run(
    cores: list[int], database: Database, rounds: int, seconds: float
) -> tuple[list[dict[str, Any]], str]:
    """The costs in median µs, or an empty list and the reason why there are none."""
    if find_spec("onloop") is None:
        return [], "not importable: onloop"
    worker = Worker("benchmarks.micro_worker", "onloop", cores, database)
    politely = False
    try:
        worker.answer()
        answers = [worker.order(seconds=seconds)["costs"] for _ in range(rounds)]
        politely = True
    except WorkerFailedError as failure:
        return [], f"failed: {failure}"
    finally:
        worker.end(politely)
    costs = []
    for same in zip(*answers, strict=True):
        first = same[0]
        costs.append(
            {
                "what": first["what"],
                "instead_of": first["instead_of"],
                "onloop_us": round(median(cost["onloop_us"] for cost in same), 3),
                "other_us": round(median(cost["other_us"] for cost in same), 3),
            }
        )
    return costs, ""


def rows(costs: list[dict[str, Any]]) -> list[list[str]]:
    table = [["what", "instead of", "Onloop", "the other", "ratio"]]
    for cost in costs:
        ours, other = cost["onloop_us"], cost["other_us"]
        table.append(
            [
                cost["what"],
                cost["instead_of"],
                f"{ours:.2f}",
                f"{other:.2f}",
                f"{other / ours:.2f}",
            ]
        )
    return table
