"""What a handshake has by way of a token or a ticket; no database."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onloop.channels.credentials import Refused, credential_of, without_token
from onloop.tokens.text import make, make_ticket

TOKEN = make().text
TICKET = make_ticket()


def handshake(*headers, query=b"", subprotocols=()):
    offered = [(b"sec-websocket-protocol", ", ".join(subprotocols).encode("latin1", "replace"))]
    return {
        "headers": [*headers, *(offered if subprotocols else [])],
        "query_string": query,
        "subprotocols": list(subprotocols),
    }


def bearer(text):
    return (b"authorization", f"Bearer {text}".encode())


@pytest.mark.parametrize(
    ("scope", "wanted"),
    [
        (handshake(), None),
        (handshake((b"authorization", b"Basic YTpi")), None),
        (handshake(bearer(TOKEN)), ("token", TOKEN, False)),
        (handshake((b"Authorization", b"bearer " + TOKEN.encode())), ("token", TOKEN, False)),
        (handshake(bearer("of-another-kind")), ("token", "of-another-kind", False)),
        (handshake(subprotocols=["bearer", TOKEN]), ("token", TOKEN, True)),
        (handshake(subprotocols=["chat.v1", "Bearer", TOKEN]), ("token", TOKEN, True)),
        (handshake(subprotocols=["bearer", TOKEN, "chat.v1"]), ("token", TOKEN, True)),
        (handshake(subprotocols=["chat.v1"]), None),
        (handshake(query=b"ticket=" + TICKET.encode()), ("ticket", TICKET, False)),
        (handshake(query=b"room=7&ticket=" + TICKET.encode()), ("ticket", TICKET, False)),
        (handshake(query=b"ticket="), ("ticket", "", False)),
        (handshake(query=b"room=7&tokens=1"), None),
        ({"headers": [], "query_string": f"ticket={TICKET}"}, ("ticket", TICKET, False)),
        ({"headers": []}, None),
    ],
)
def test_one_credential_or_none(scope, wanted):
    assert credential_of(scope) == wanted


@pytest.mark.parametrize(
    "scope",
    [
        handshake(bearer("")),
        handshake((b"authorization", b"")),
        handshake(bearer(TOKEN), bearer(TOKEN)),
        handshake(bearer(f"{TOKEN} {TOKEN}")),
        handshake(subprotocols=["bearer"]),
        handshake(subprotocols=["chat.v1", "bearer"]),
        handshake(subprotocols=[TOKEN]),
        handshake(subprotocols=[TOKEN, "chat.v1"]),
        handshake(subprotocols=["bearer", TOKEN, "bearer", TOKEN]),
        handshake(bearer(TOKEN), subprotocols=["bearer", TOKEN]),
        handshake(bearer(TOKEN), query=b"ticket=" + TICKET.encode()),
        handshake(query=b"ticket=a&ticket=b"),
        handshake(query=b"token=" + TOKEN.encode()),
        handshake(query=b"token="),
        handshake(query=b"access_token=x"),
        handshake(query=b"TOKEN=x"),
        handshake(query=b"t%6Fken=x"),
        handshake(query=b"key=" + TOKEN.encode()),
        handshake(query=b"ticket=" + TOKEN.encode()),
    ],
)
def test_more_than_one_malformed_ones_and_tokens_in_queries_are_refused(scope):
    with pytest.raises(Refused) as refused:
        credential_of(scope)
    assert TOKEN not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_credential_does_not_show_its_text():
    assert TOKEN not in repr(credential_of(handshake(bearer(TOKEN))))


def test_a_token_among_subprotocols_is_taken_out():
    scope = without_token(handshake(subprotocols=["chat.v1", "bearer", TOKEN]), TOKEN)
    assert scope["subprotocols"] == ["chat.v1", "bearer"]
    assert scope["headers"] == [(b"sec-websocket-protocol", b"chat.v1, bearer")]


PIECES = st.sampled_from(["bearer", "Bearer", " ", ",", "=", "&", "token", "ticket", TOKEN])
TEXTS = st.one_of(
    st.lists(PIECES, max_size=6).map("".join), st.text(st.characters(max_codepoint=255))
)


@settings(max_examples=300, deadline=None)
@given(header=st.none() | TEXTS, query=TEXTS, subprotocols=st.lists(TEXTS, max_size=4))
def test_whatever_is_sent_is_one_credential_none_or_refused(header, query, subprotocols):
    given_header = [] if header is None else [(b"authorization", header.encode("latin1"))]
    scope = handshake(*given_header, query=query.encode("latin1"), subprotocols=subprotocols)
    try:
        found = credential_of(scope)
    except Refused:
        return
    if found is not None and found.by_subprotocol:
        assert found.text not in without_token(scope, found.text)["subprotocols"]
