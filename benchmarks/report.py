"""The tables: medians, and their ratios to stock ASGI and to WSGI."""

from collections.abc import Callable, Iterator
from statistics import median

from .contenders import CONTENDERS
from .endpoints import ENDPOINTS
from .runner import Key, Results

Row = list[str]


def _text(rows: list[Row]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)


def _markdown(rows: list[Row]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|" + "|".join(["---"] + ["---:"] * (len(rows[0]) - 1)) + "|")
    return "\n".join(lines)


def table(title: str, rows: list[Row], markdown: bool) -> str:
    if markdown:
        return f"### {title}\n\n{_markdown(rows)}\n"
    return f"{title}\n\n{_text(rows)}\n"


def _grid(
    names: list[str], endpoints: list[str], at_once: list[int], cell: Callable[[Key], str]
) -> list[Row]:
    heading = f"at once {' / '.join(map(str, at_once))}"
    rows = [[heading, *(CONTENDERS[name].label for name in names)]]
    for endpoint in endpoints:
        cells = [" / ".join(cell((name, endpoint, n)) for n in at_once) for name in names]
        rows.append([ENDPOINTS[endpoint].label, *cells])
    return rows


def tables(
    results: Results, endpoints: list[str], at_once: list[int], markdown: bool, cpu: bool
) -> Iterator[str]:
    names = [name for name in CONTENDERS if any(key[0] == name for key in results.micros)]

    def micros(key: Key) -> str:
        value = results.median(key)
        return "-" if value is None else f"{value:.0f}"

    def cpu_micros(key: Key) -> str:
        return f"{median(results.cpu[key]):.0f}" if key in results.cpu else "-"

    def faster_than_stock(key: Key) -> str:
        value, stock = results.median(key), results.median(("stock", *key[1:]))
        return "-" if value is None or stock is None else f"{stock / value:.2f}"

    def times_wsgi(key: Key) -> str:
        value, wsgi = results.median(key), results.median(("wsgi", *key[1:]))
        return "-" if value is None or wsgi is None else f"{value / wsgi:.2f}"

    def show(title: str, cell: Callable[[Key], str]) -> str:
        return table(title, _grid(names, endpoints, at_once, cell), markdown)

    def a_second(key: Key) -> str:
        value = results.median(key)
        return "-" if value is None else f"{1e6 / value:.0f}"

    def threads(key: Key) -> str:
        counted = results.threads.get(key)
        return f"{median(counted):.0f}" if counted else "-"

    yield show("µs a request, median of all rounds", micros)
    if any(results.threads.values()):
        yield show("Requests a second", a_second)
        yield show("Threads of the process, in the middle of a cell", threads)
    if cpu:
        yield show("CPU µs a request in the contender's process, median", cpu_micros)
    if "stock" in names:
        yield show("Times as fast as stock ASGI (more is better)", faster_than_stock)
    if "wsgi" in names:
        yield show("Time as a multiple of WSGI's (less is better)", times_wsgi)


def spread(results: Results) -> str:
    """How far the rounds lie apart: what a difference has to exceed to mean something."""
    spreads = {
        key: (max(samples) - min(samples)) / median(samples)
        for key, samples in results.micros.items()
    }
    if not spreads:
        return "nothing was measured"
    worst = max(spreads, key=spreads.__getitem__)
    return (
        f"From fastest to slowest round a cell varied by {median(spreads.values()):.0%} "
        f"(the median cell), {spreads[worst]:.0%} at most "
        f"({', '.join(map(str, worst))} at once)."
    )
