"""Numbers as people read them; what is not known is a dash."""

UNKNOWN = "\N{EN DASH}"


def count(number: float | None) -> str:
    return UNKNOWN if number is None else f"{number:,.0f}"


def per_second(number: float | None) -> str:
    if number is None:
        return UNKNOWN
    return f"{number:.1f}" if number < 100 else f"{number:,.0f}"


def ms(number: float | None) -> str:
    """Milliseconds."""
    if number is None:
        return UNKNOWN
    if number < 10:
        return f"{number:.1f} ms"
    return f"{number:.0f} ms" if number < 1000 else f"{number / 1000:.1f} s"


def bytes_(number: float | None) -> str:
    return UNKNOWN if number is None else f"{number / 2**20:.0f} MiB"


def ago(seconds: float) -> str:
    for unit, length_s in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds // length_s:.0f} {unit}s"
    return f"{seconds:.0f} s"
