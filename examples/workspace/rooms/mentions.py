"""“@name” in a message: who is meant, and how it is shown."""

import re
from collections.abc import Iterable, Iterator

# All that a user name may hold. A name may be followed by a full stop, which it may hold too.
_MENTION = re.compile(r"(?<![\w.@+-])@([\w.@+-]+)")


def names_in(text: str, names: Iterable[str]) -> list[str]:
    """Which of ``names`` are meant, each once, in the order of the text."""
    by_name = {name.casefold(): name for name in names}
    return list(dict.fromkeys(name for _, name in _find(text, by_name)))


def parts(text: str, names: Iterable[str]) -> Iterator[tuple[str, str | None]]:
    """The text in pieces, each with the name that it means, or None."""
    end = 0
    for (start, stop), name in _find(text, {name.casefold(): name for name in names}):
        yield text[end:start], None
        yield text[start:stop], name
        end = stop
    yield text[end:], None


def _find(text: str, by_name: dict[str, str]) -> Iterator[tuple[tuple[int, int], str]]:
    for match in _MENTION.finditer(text):
        written = match[1]
        # “@robin.” and “@robin...” mean robin, “@robinson” does not.
        while written.casefold() not in by_name and written.endswith((".", "@", "+", "-")):
            written = written[:-1]
        if name := by_name.get(written.casefold()):
            yield (match.start(), match.start() + 1 + len(written)), name
