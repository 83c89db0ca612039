"""Handshakes of sockets, and whether a page of this site can have sent them.

The site is `example.com`, over TLS, on several ports; others are allowed and trusted as below.
"""

from __future__ import annotations

from dataclasses import dataclass

ALLOWED_HOSTS = ["example.com", ".sub.example.com", "127.0.0.1", "[::1]", "localhost"]
ALLOWED_HOSTS += ["xn--bcher-kva.example", "testserver"]
TRUSTED = ["https://partner.example", "https://*.friends.example", "http://localhost:5173"]
TRUSTED += ["https://*.ports.example:8443", "https://odd.example:8443"]


@dataclass(frozen=True)
class Handshake:
    """What its headers say. `scheme` is the server's own: "ws", or "wss" over TLS."""

    origins: tuple[bytes, ...]
    hosts: tuple[bytes, ...] = (b"example.com",)
    scheme: str = "wss"
    welcome: bool = False

    def __str__(self) -> str:
        origins, hosts = (b" and ".join(values) for values in (self.origins, self.hosts))
        return f"{origins.decode('latin1')!a} to {self.scheme} {hosts.decode('latin1')!r}"


def to(host: str, origin: str, *, scheme: str = "wss") -> Handshake:
    return Handshake((origin.encode("latin1"),), (host.encode("latin1"),), scheme)


def yes(host: str, origin: str, *, scheme: str = "wss") -> Handshake:
    shake = to(host, origin, scheme=scheme)
    return Handshake(shake.origins, shake.hosts, scheme, welcome=True)


def site(*origins: str) -> list[Handshake]:
    return [to("example.com", origin) for origin in origins]


TABLE = [
    # The site's own pages.
    yes("example.com", "https://example.com"),
    yes("example.com", "http://example.com", scheme="ws"),
    yes("example.com:8000", "http://example.com:8000", scheme="ws"),
    yes("example.com:8443", "https://example.com:8443"),
    yes("a.sub.example.com", "https://a.sub.example.com"),
    yes("127.0.0.1:8000", "http://127.0.0.1:8000", scheme="ws"),
    yes("[::1]:8000", "http://[::1]:8000", scheme="ws"),
    yes("xn--bcher-kva.example", "https://xn--bcher-kva.example"),
    # Other ways of writing the same.
    yes("example.com", "https://example.com:443"),
    yes("example.com:443", "https://example.com"),
    yes("example.com:80", "http://example.com", scheme="ws"),
    yes("EXAMPLE.com", "https://example.com"),
    yes("example.com", "HTTPS://EXAMPLE.COM"),
    yes("example.com.", "https://example.com."),
    yes("example.com", "https://example.com:0443"),
    # Those that CSRF_TRUSTED_ORIGINS names.
    yes("example.com", "https://partner.example"),
    yes("example.com", "https://a.friends.example"),
    yes("example.com", "https://a.b.friends.example"),
    yes("example.com", "https://friends.example"),  # as in Django
    yes("example.com", "http://localhost:5173"),
    yes("example.com", "https://a.ports.example:8443"),
    yes("example.com", "https://odd.example:8443"),
    # And what resembles them.
    *site(
        "http://partner.example",
        "https://partner.example:8443",
        "https://a.partner.example",
        "https://evilfriends.example",
        "http://a.friends.example",
        "https://a.friends.example:8443",
        "https://a.friends.example.evil.com",
        "https://*.friends.example",
        "http://localhost",
        "http://localhost:5174",
        "https://a.ports.example",
        "https://odd.example",
    ),
    # Other sites.
    *site(
        "https://evil.com",
        "https://example.com.evil.com",
        "https://evil-example.com",
        "https://evil.com/example.com",
        "https://evil.com?example.com",
        "https://evil.com#example.com",
        "https://example.co",
        "https://a.example.com",
        "https://xn--exmple-cua.com",
        "https://a.sub.example.com",  # allowed, but not the host of this request
        "https://127.0.0.1",
        "https://localhost",
    ),
    # Another scheme or port is another site.
    *site(
        "http://example.com",
        "https://example.com:8443",
        "https://example.com:80",
        "https://example.com:4430",
        "wss://example.com",
        "ws://example.com",
        "ftp://example.com",
        "file://example.com",
        "chrome-extension://example.com",
        "javascript://example.com",
    ),
    to("example.com", "https://example.com", scheme="ws"),
    to("example.com:8000", "http://example.com", scheme="ws"),
    # None of a page on the web.
    *site("", "null", "NULL", "*", "file://", "about:blank", "data:text/html,a", "example.com"),
    # Malformed.
    *site(
        "http://[",
        "https://[::1",
        "https://]",
        "https://[example.com]",
        "https://",
        "https:example.com",
        "https:/example.com",
        "https:///example.com",
        "//example.com",
        "://example.com",
        "https://example.com/",
        "https://example.com/path",
        "https://example.com?",
        "https://example.com#",
        "https://example.com\\",
        "https://example.com:",
        "https://example.com:443:443",
        "https://example.com:-443",
        "https://example.com:+443",
        "https://example.com:4 43",
        "https://example.com:443443443443443443443",
        "https://example.com:" + "9" * 5000,
        "https://example.com:https",
        "https://.example.com",
        "https://example.com..",
        "https://example.com.",
        "https://exam ple.com",
        "https://example.com,https://example.com",
        "https://example.com https://example.com",
        "https://example.com%00.evil.com",
        "https://example%2ecom",
        "https://exam\xadple.com",
        "https://ex\xe4mple.com",
        "https://\uff45xample.com".encode().decode("latin1"),
        "https://b\xfccher.example",
        "a" * 5000,
    ),
    # With a user in front, which no browser sends.
    *site(
        "https://user@example.com",
        "https://user:password@example.com",
        "https://example.com@evil.com",
        "https://evil.com\\@example.com",
        "https://@example.com",
    ),
    # Hosts that Django does not serve.
    to("evil.com", "https://evil.com"),
    to("example.com.evil.com", "https://example.com.evil.com"),
    to("example.com@evil.com", "https://evil.com"),
    to("example.com:abc", "https://example.com"),
    to("[::2]", "https://[::2]"),
    to("[", "https://["),
    to("", "https://"),
    to("null", "null"),
    to("example.com..", "https://example.com.."),
    to("evil.com", "https://partner.example"),
    to("example.com,example.com", "https://partner.example"),
    # None, or more than one.
    Handshake(()),
    Handshake((b"https://example.com", b"https://evil.com")),
    Handshake((b"https://evil.com", b"https://example.com")),
    Handshake((b"https://example.com", b"https://example.com")),
    Handshake((b"https://example.com", b"null")),
    Handshake((b"https://example.com", b"")),
    Handshake((b"https://example.com",), ()),
    Handshake((b"https://127.0.0.1:8000",), ()),  # the server's own address
    Handshake((b"https://partner.example",), ()),
    Handshake((b"https://partner.example",), (b"example.com", b"example.com")),
    Handshake((b"https://evil.com",), (b"example.com", b"evil.com")),
    Handshake((b"https://example.com",), (b"example.com", b"example.com")),
]
