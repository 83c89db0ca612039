"""The cases of R16, in the groups of Autobahn's test suite, each from a rule of RFC 6455."""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Iterator

from tests.reliability.protocol import (
    BINARY,
    CLOSE,
    CONTINUATION,
    INVALID_PAYLOAD,
    NO_STATUS,
    NORMAL,
    PING,
    PONG,
    PROTOCOL_ERROR,
    TEXT,
    TOO_BIG,
    Case,
    closing,
    ends,
    fails,
    fragments,
    frame,
    pieces_of,
    stays,
)

HELLO = frame(b"Hello")
SAID_HELLO = ("text", b"Hello")

# --- framing (sections 5.1, 5.2, 5.6) ---------------------------------------------------------

LENGTHS = (0, 1, 125, 126, 127, 128, 65535, 65536)
# Written with more bytes than it takes, or with the highest bit set.
LONG_WAYS = {
    "16 bits for 5": (struct.pack("!BH", 126, 5), PROTOCOL_ERROR),
    "64 bits for 5": (struct.pack("!BQ", 127, 5), PROTOCOL_ERROR),
    "the highest bit of 64": (struct.pack("!BQ", 127, 1 << 63 | 5), PROTOCOL_ERROR),
}


def framing() -> Iterator[Case]:
    for (kind, opcode), length in itertools.product(
        (("text", TEXT), ("binary", BINARY)), LENGTHS
    ):
        payload = (b"*" if opcode == TEXT else b"\xfe") * length
        yield stays(
            f"framing: {length} bytes of {kind}",
            frame(payload, opcode),
            answers=[(kind, payload)],
        )
    for told, (length, code) in LONG_WAYS.items():
        yield fails(
            f"framing: a length in {told}",
            HELLO,
            frame(b"Hello", length=length),
            code=code,
            answers=(SAID_HELLO, SAID_HELLO),
        )
    for kind, opcode in (("text", TEXT), ("ping", PING)):
        yield fails(
            f"framing: {kind} without a mask",
            frame(b"Hello", opcode, masked=False),
            code=PROTOCOL_ERROR,
            answers=((("pong" if opcode == PING else "text"), b"Hello"),),
        )


# --- pings and pongs (5.5) --------------------------------------------------------------------


def pings() -> Iterator[Case]:
    for payload in (b"", b"Hello", b"\x00\xff\xfe\xfd", b"\xfe" * 125):
        yield stays(
            f"pings: with {len(payload)} bytes",
            frame(payload, PING),
            answers=[("pong", payload)],
        )
    yield fails("pings: with 126 bytes", frame(b"\xfe" * 126, PING), code=PROTOCOL_ERROR)
    yield fails("pings: a pong with 126 bytes", frame(b"\xfe" * 126, PONG), code=PROTOCOL_ERROR)
    for payload in (b"", b"not asked for"):
        yield stays(
            f"pings: a pong of {len(payload)} bytes that nobody asked for",
            frame(payload, PONG),
            frame(b"mine", PING),
            answers=[("pong", b"mine")],
        )
    ten = [b"payload-%d" % number for number in range(10)]
    yield stays(
        "pings: ten",
        *(frame(payload, PING) for payload in ten),
        answers=[("pong", payload) for payload in ten],
    )
    for kind, opcode in (("ping", PING), ("pong", PONG)):
        yield fails(
            f"pings: the first fragment of a {kind}",
            frame(b"a", opcode, fin=False),
            frame(b"b", CONTINUATION),
            code=PROTOCOL_ERROR,
        )


# --- reserved bits and opcodes (5.2) ----------------------------------------------------------


def reserved() -> Iterator[Case]:
    for bits in range(1, 8):
        yield fails(
            f"reserved: bits {bits} in text", frame(b"Hello", bits=bits), code=PROTOCOL_ERROR
        )
        yield fails(
            f"reserved: bits {bits} after a message",
            HELLO,
            frame(b"Hello", bits=bits),
            code=PROTOCOL_ERROR,
            answers=(SAID_HELLO,),
        )
    for kind, opcode in (("binary", BINARY), ("ping", PING), ("pong", PONG), ("close", CLOSE)):
        payload = struct.pack("!H", NORMAL) if opcode == CLOSE else b"Hello"
        yield fails(
            f"reserved: bits 4 in {kind}", frame(payload, opcode, bits=4), code=PROTOCOL_ERROR
        )
    yield fails(
        "reserved: bits 2 in a continuation",
        frame(b"a", fin=False),
        frame(b"b", CONTINUATION, bits=2),
        code=PROTOCOL_ERROR,
    )
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        for payload in (b"", b"Hello"):
            yield fails(
                f"reserved: opcode {opcode} with {len(payload)} bytes after a message",
                HELLO,
                frame(payload, opcode),
                code=PROTOCOL_ERROR,
                answers=(SAID_HELLO,),
            )


# --- fragmentation (5.4) ----------------------------------------------------------------------


def fragmentation() -> Iterator[Case]:
    for kind, opcode in (("text", TEXT), ("binary", BINARY)):
        for payloads in ([b"a", b"b"], [b"", b"", b""], [b"", b"middle", b""], [b"x"] * 100):
            yield stays(
                f"fragmentation: {len(payloads)} fragments of {kind}, "
                f"{sum(map(len, payloads))} bytes",
                *fragments(payloads, opcode),
                answers=[(kind, b"".join(payloads))],
            )
        first, last = fragments([b"frag", b"ment"], opcode)
        yield stays(
            f"fragmentation: a ping within {kind}",
            first,
            frame(b"between", PING),
            last,
            answers=[("pong", b"between"), (kind, b"fragment")],
            in_order=True,
        )
        yield stays(
            f"fragmentation: a pong within {kind}",
            first,
            frame(b"between", PONG),
            last,
            answers=[(kind, b"fragment")],
        )
    five = fragments([b"a", b"b", b"c", b"d", b"e"])
    asked = [b"%d" % number for number in range(4)]
    between = [frame(payload, PING) for payload in asked]
    woven = [part for pair in zip(five, between, strict=False) for part in pair]
    yield stays(
        "fragmentation: pings after each of five fragments",
        *woven,
        five[4],
        HELLO,
        answers=[*(("pong", payload) for payload in asked), ("text", b"abcde"), SAID_HELLO],
        in_order=True,
    )
    yield stays(
        "fragmentation: two messages of two",
        *fragments([b"a", b"b"]),
        *fragments([b"c", b"d"], BINARY),
        answers=[("text", b"ab"), ("binary", b"cd")],
    )
    for told, fin in (("that is the last", True), ("that is not the last", False)):
        yield fails(
            f"fragmentation: a continuation of nothing {told}",
            frame(b"x", CONTINUATION, fin=fin),
            HELLO,
            code=PROTOCOL_ERROR,
        )
        yield fails(
            f"fragmentation: a continuation {told} after a message",
            *fragments([b"a", b"b"]),
            frame(b"x", CONTINUATION, fin=fin),
            HELLO,
            code=PROTOCOL_ERROR,
            answers=(("text", b"ab"),),
        )
    for kind, opcode in (("text", TEXT), ("binary", BINARY)):
        yield fails(
            f"fragmentation: new {kind} within a message",
            frame(b"a", fin=False),
            frame(b"b", opcode),
            code=PROTOCOL_ERROR,
        )
        yield fails(
            f"fragmentation: new fragments of {kind} within a message",
            frame(b"a", fin=False),
            *fragments([b"b", b"c"], opcode),
            code=PROTOCOL_ERROR,
        )


# --- UTF-8 (8.1, RFC 3629) --------------------------------------------------------------------

POINTS = (0, 0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFD, 0xFFFE, 0xFFFF, 0x10000,
          0x1FFFE, 0xFFFFF, 0x10FFFE, 0x10FFFF)  # fmt: skip
VALID = ["", "Hello", "κόσμε", "Hello-µ@ßöäüàá-UTF-8!!", "日本語 𝄞 😀", *map(chr, POINTS)]
INVALID = {
    "a continuation byte": b"\x80",
    "two continuation bytes": b"\x80\xbf",
    "no continuation byte": b"\xc3 ",
    "a cut sequence of two": b"\xce",
    "a cut sequence of three": b"\xe1\xbf",
    "a cut sequence of four": b"\xf1\xbf\xbf",
    "an overlong slash of two": b"\xc0\xaf",
    "an overlong slash of three": b"\xe0\x80\xaf",
    "an overlong slash of four": b"\xf0\x80\x80\xaf",
    "an overlong NUL": b"\xc0\x80",
    "the last overlong of three": b"\xe0\x9f\xbf",
    "the last overlong of four": b"\xf0\x8f\xbf\xbf",
    "the first surrogate": b"\xed\xa0\x80",
    "the last surrogate": b"\xed\xbf\xbf",
    "a pair of surrogates": b"\xed\xa0\xb4\xed\xb4\x9e",
    "beyond the last character": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "six bytes": b"\xfc\x84\x80\x80\x80\x80",
    "FE": b"\xfe",
    "FF": b"\xff",
}


def utf8() -> Iterator[Case]:
    for text in VALID:
        payload = text.encode()
        told = ascii(text)
        yield stays(f"UTF-8: {told}", frame(payload), answers=[("text", payload)])
        if len(payload) > 1:
            yield stays(
                f"UTF-8: {told} in fragments of a byte",
                *fragments(pieces_of(payload, 1)),
                answers=[("text", payload)],
            )
    for told, bad in INVALID.items():
        payload = b"abc \xce\xba " + bad + (b"" if "cut" in told else b" xyz")
        yield fails(f"UTF-8: {told}", frame(payload), code=INVALID_PAYLOAD)
        yield fails(
            f"UTF-8: {told} in fragments of a byte",
            *fragments(pieces_of(payload, 1)),
            code=INVALID_PAYLOAD,
        )
        yield fails(
            f"UTF-8: {told} after a message",
            HELLO,
            frame(payload),
            code=INVALID_PAYLOAD,
            answers=(SAID_HELLO,),
        )
        yield stays(
            f"UTF-8: {told}, as binary", frame(payload, BINARY), answers=[("binary", payload)]
        )


# --- closing (5.5.1, 7.1, 7.4) ----------------------------------------------------------------

GOOD_CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000,
              3999, 4000, 4999)  # fmt: skip
BAD_CODES = (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999)


def close() -> Iterator[Case]:
    yield ends("close: without a code", closing(), codes={NO_STATUS, NORMAL})
    for code in GOOD_CODES:
        yield ends(f"close: with {code}", closing(code), codes={code, NORMAL})
        yield ends(
            f"close: with {code} and a reason", closing(code, b"because"), codes={code, NORMAL}
        )
    for code in BAD_CODES:
        yield ends(f"close: with {code}", closing(code), codes={PROTOCOL_ERROR})
        yield ends(
            f"close: with {code} and a reason", closing(code, b"x"), codes={PROTOCOL_ERROR}
        )
    yield ends("close: with a reason of 123 bytes", closing(1000, b"*" * 123), codes={NORMAL})
    yield ends(
        "close: with a reason of 124 bytes", closing(1000, b"*" * 124), codes={PROTOCOL_ERROR}
    )
    yield ends("close: of one byte", frame(b"\x03", CLOSE), codes={PROTOCOL_ERROR})
    yield ends(
        "close: with a reason that is not UTF-8",
        closing(1000, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xed\xa0\x80"),
        codes={INVALID_PAYLOAD, PROTOCOL_ERROR},
    )
    yield ends("close: twice", closing(1000), closing(1000), codes={NORMAL})
    yield ends("close: a ping after it", closing(1000), frame(b"x", PING), codes={NORMAL})
    yield ends("close: a message after it", closing(1000), HELLO, codes={NORMAL})
    yield ends(
        "close: a message before it", HELLO, closing(1000), codes={NORMAL},
        answers=(SAID_HELLO,),
    )  # fmt: skip
    yield ends("close: within a message", frame(b"a", fin=False), closing(1000), codes={NORMAL})
    yield ends(
        "close: in two fragments",
        frame(b"\x03", CLOSE, fin=False),
        frame(b"\xe8", CONTINUATION),
        codes={PROTOCOL_ERROR},
    )


# --- limits -----------------------------------------------------------------------------------


def limits(most: int, messages: int) -> Iterator[Case]:
    """`most`: bytes of a message; `messages`: how many come at once."""
    for kind, opcode in (("text", TEXT), ("binary", BINARY)):
        payload = b"*" * most
        yield stays(
            f"limits: the longest {kind}", frame(payload, opcode), answers=[(kind, payload)]
        )
        yield fails(
            f"limits: {kind} of a byte more", frame(payload + b"*", opcode), code=TOO_BIG
        )
        for size in (1300, 65536):
            yield stays(
                f"limits: the longest {kind} in fragments of {size}",
                *fragments(pieces_of(payload, size), opcode),
                answers=[(kind, payload)],
            )
        yield fails(
            f"limits: {kind} of a byte more in fragments",
            *fragments(pieces_of(payload + b"*", 4096), opcode),
            code=TOO_BIG,
        )
    many = [b"message-%d" % number for number in range(messages)]
    yield stays(
        "limits: many messages at once",
        *map(frame, many),
        answers=[("text", payload) for payload in many],
    )


# --- all that is allowed, by chance -----------------------------------------------------------


def mixed(count: int, seed: int) -> Iterator[Case]:
    """Messages in fragments, with pings and pongs anywhere: all of it is answered."""
    chance = random.Random(f"R16 {seed}")
    for number in range(count):
        sent: list[bytes] = []
        answers = []
        for _ in range(chance.randint(1, 6)):
            kind, opcode = chance.choice([("text", TEXT), ("binary", BINARY)])
            payload = chance.randbytes(chance.choice([0, 3, 125, 126, 4000]))
            if opcode == TEXT:
                payload = payload.decode("latin1").encode()
            for part in fragments(pieces_of(payload, chance.randint(1, 5000)), opcode):
                sent.append(part)
                if chance.random() < 0.2:
                    sent.append(frame(b"%d" % number, PING))
                    answers.append(("pong", b"%d" % number))
                elif chance.random() < 0.1:
                    sent.append(frame(b"x", PONG))
            answers.append((kind, payload))
        yield stays(f"mixed: seed {seed}, {number}", *sent, answers=answers)


def all_cases(*, most: int, messages: int, by_chance: int, seeds: list[int]) -> list[Case]:
    groups = [framing(), pings(), reserved(), fragmentation(), utf8(), close()]
    groups.append(limits(most, messages))
    groups += [mixed(by_chance, seed) for seed in seeds]
    return list(itertools.chain(*groups))
