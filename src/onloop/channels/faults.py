"""Which errors of a consumer are its client's fault.

Channels' JSON consumers raise where a message is no JSON, or is not text. That is no error of
the project: nobody should find a traceback for each message that a stranger makes up.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from types import FrameType

# As `json` raises them: no JSON, a number of too many digits, brackets in too many brackets.
_OF_JSON = (ValueError, RecursionError)
_CONSUMERS = "channels.generic.websocket"


def is_clients_fault(error: BaseException) -> bool:
    """Whether a consumer failed because it could not read a message.

    That is so if `decode_json` of a consumer has raised it, Channels' or one of its own, or
    Channels itself because there was no text.
    """
    if not isinstance(error, _OF_JSON):
        return False
    frames = list(_frames(error))
    for outer, frame in itertools.pairwise(frames):
        if _is_receive(outer) and frame.f_code.co_name == "decode_json":
            return True
    return bool(frames) and type(error) is ValueError and _is_receive(frames[-1])


def _is_receive(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__") == _CONSUMERS and frame.f_code.co_name == "receive"


def _frames(error: BaseException) -> Iterator[FrameType]:
    step = error.__traceback__
    while step is not None:
        yield step.tb_frame
        step = step.tb_next
