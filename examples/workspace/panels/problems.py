"""What can be wrong with a service, and how it is put on the page."""

import httpx

from onloop.http import CircuitOpen, TooManyWaiters


class NoAddress(Exception):
    """Nobody has said where the service is, and the demo's own does not run."""


class Nonsense(Exception):
    """The service has answered, but not what was agreed on."""


def in_words(error: Exception, waited_s: float) -> str | None:
    """What to tell whoever looks at the page, after so many seconds; no addresses, no names of
    classes. None for an error that is not the service's."""
    match error:
        case NoAddress():
            return "It is not set up here."
        case Nonsense():
            return "Its answer makes no sense."
        case CircuitOpen():
            return "It has failed several times in a row, and is left alone for a few seconds."
        case TooManyWaiters() | httpx.PoolTimeout():
            return "Too many people ask for it at this moment."
        case httpx.ConnectError() | httpx.ConnectTimeout():
            return "It cannot be reached."
        case httpx.TimeoutException():  # the deadline's own error among them
            return f"It has not answered within {waited_s:.1f} seconds."
        case httpx.HTTPStatusError():
            status = error.response.status_code
            if status >= 500:
                return f"It is out of order (status {status})."
            return f"It does not answer this site (status {status})."
        case httpx.HTTPError():
            return "The connection to it broke off."
    return None
