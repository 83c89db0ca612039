"""The example's jobs over real sockets: what they do, who sees them, and how they end."""

from __future__ import annotations

import asyncio
import csv
import io
import re
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.db.eventually import eventually
from tests.servers import AsgiServer
from tests.workspace.conftest import Starting
from tests.workspace.members import Member, member
from tests.workspace.uploads import file_of, form, items
from tests.workspace.works import NAMES, PAUSE, begin, ended, page, post, streamed


@pytest.fixture
async def demo(asgi_server: AsgiServer) -> AsyncIterator[Member]:
    async with member(asgi_server, "demo") as somebody:
        yield somebody


@pytest.fixture
async def robin(asgi_server: AsgiServer) -> AsyncIterator[Member]:
    async with member(asgi_server, "robin") as somebody:
        yield somebody


def some_sku() -> str:
    return uuid.uuid4().hex[:16].upper()


def lines(*rows: str, names: str = NAMES) -> str:
    return "\r\n".join([names, *rows, ""])


async def product(member: Member, sku: str) -> dict[str, Any] | None:
    found = (await member.client.get("/catalogue/products/", params={"q": sku})).json()
    return next((item for item in found["items"] if item["sku"] == sku), None)


async def test_good_rows_are_imported_and_bad_ones_are_named(demo: Member) -> None:
    one, two = some_sku(), some_sku()
    table = lines(
        f'{one},"A lamp, with ""quotes""",lamps,12.50,7,"Two\nlines"',
        f"{one},Twice,lamps,1,0,",
        "",
        f"{some_sku()},No such,nowhere,1,0,",
        f"{some_sku()},,lamps,0,-1,",
        "too,few",
        f"{two},Another,lamps,0.01,0,",
    )
    done = await ended(demo, await begin(demo, "import", table))
    assert done.state == "done"
    assert done.counts == {
        "rows": 6, "created": 2, "updated": 0, "unchanged": 0, "not valid": 4
    }  # fmt: skip
    assert done.errors == [
        ("3", f"sku: {one} is in row 2 already."),
        ("5", "category: There is no category “nowhere”."),
        (
            "6",
            "name: Must not be empty. price: Must be more than 0. "
            "stock: Must be a whole number.",
        ),
        ("7", "It has 2 cells, not 6."),
    ]
    made = await product(demo, one)
    assert made is not None
    assert (made["name"], made["price"], made["stock"], made["description"]) == (
        'A lamp, with "quotes"', "12.50", 7, "Two\nlines"
    )  # fmt: skip


async def test_a_file_that_is_imported_again_changes_nothing(demo: Member) -> None:
    skus = [some_sku() for _ in range(120)]
    rows = [f"{sku},Thing {number},lamps,5,3,Text" for number, sku in enumerate(skus)]
    first = await ended(demo, await begin(demo, "import", lines(*rows)))
    assert (first.counts["created"], first.counts["rows"]) == (120, 120)
    again = await ended(demo, await begin(demo, "import", lines(*rows)))
    assert (again.counts["unchanged"], again.counts["rows"]) == (120, 120)

    # One price is new; what the file says of a stock that is known does not count.
    rows[7] = f"{skus[7]},Thing 7,lamps,6,9999,Text"
    third = await ended(demo, await begin(demo, "import", lines(*rows)))
    assert (third.counts["updated"], third.counts["unchanged"]) == (1, 119)
    changed = await product(demo, skus[7])
    assert changed is not None
    assert (changed["price"], changed["stock"]) == ("6.00", 3)


async def test_two_imports_of_one_file_at_once_make_each_product_once(demo: Member) -> None:
    skus = [some_sku() for _ in range(500)]
    there = lines(*(f"{sku},Thing,lamps,5,3,Text" for sku in skus))
    back = lines(*(f"{sku},Thing,lamps,5,3,Text" for sku in reversed(skus)))
    begun = await asyncio.gather(*(begin(demo, "import", table) for table in (there, back)))
    for address in begun:
        done = await ended(demo, address)
        assert (done.state, done.counts["rows"]) == ("done", 500)
        assert done.counts["not valid"] == 0
    again = await ended(demo, await begin(demo, "import", there))
    assert again.counts["unchanged"] == 500


async def test_a_file_that_is_there_is_imported_and_another_persons_is_not(
    demo: Member, robin: Member
) -> None:
    sku = some_sku()
    table = lines(f"{sku},Thing,lamps,5,3,Text").encode()
    for somebody, status in ((demo, 302), (robin, 400)):
        name = f"{some_sku()}.csv"
        await form(somebody, (name, table))
        source = (await file_of(somebody, name)).split("/")[2]
        wanted = {"kind": "import", "source": source, "csrfmiddlewaretoken": demo.token}
        answer = await demo.client.post("/jobs/", data=wanted)
        assert answer.status_code == status
        if status == 302:
            done = await ended(demo, answer.headers["location"])
            assert (done.state, done.counts["created"]) == ("done", 1)
        else:
            assert "Choose a file first." in answer.text


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (b"", "The first row must name the columns; missing: sku, name, category, price."),
        (b"\xff\xfe\x00", "The file is no text in UTF-8."),
        (lines(names="sku,name,category,price,owner"), "There is no such column: owner."),
        (lines(names="sku,sku,name,category,price"), "Two columns have the same name."),
    ],
)
async def test_a_file_that_is_no_table_of_products_is_refused(
    demo: Member, table: str | bytes, problem: str
) -> None:
    done = await ended(demo, await begin(demo, "import", table))
    assert (done.state, done.problem) == ("refused", problem)


async def test_what_comes_before_a_row_that_cannot_be_read_is_imported(demo: Member) -> None:
    sku = some_sku()
    table = lines(f"{sku},Before,lamps,1,0,", f'{some_sku()},"never"ended,lamps,1,0,')
    done = await ended(demo, await begin(demo, "import", table))
    assert done.state == "refused"
    assert done.problem.startswith("Row 3 cannot be read: ")
    assert done.counts["created"] == 1
    assert await product(demo, sku) is not None


async def test_an_export_is_among_the_owners_files_and_can_be_imported(demo: Member) -> None:
    sku = some_sku()
    formula = f"{sku},'=HYPERLINK(1),lamps,1,2,'@text"
    await ended(demo, await begin(demo, "import", lines(formula)))
    made = await product(demo, sku)
    assert made is not None
    assert made["name"] == "=HYPERLINK(1)"

    done = await ended(demo, await begin(demo, "export"))
    assert done.state == "done", done.text
    assert done.outcome.split("/")[2] in await items(demo)
    table = (await demo.client.get(done.outcome)).text
    cells = {row["sku"]: row for row in csv.DictReader(io.StringIO(table, newline=""))}
    total = (await demo.client.get("/catalogue/products/")).json()["total"]
    assert len(cells) == total
    assert (cells[sku]["name"], cells[sku]["description"]) == ("'=HYPERLINK(1)", "'@text")

    again = await ended(demo, await begin(demo, "import", table))
    assert again.counts["unchanged"] == again.counts["rows"] == total, again.text


async def test_a_report_tells_kinds_and_files_that_are_the_same(robin: Member) -> None:
    mark = uuid.uuid4().hex
    same = [(f"{mark}-{number}.txt", mark.encode()) for number in (1, 2)]
    await form(robin, *same, (f"{mark}-3.csv", b"else"))
    done = await ended(robin, await begin(robin, "report"))
    assert done.state == "done", done.text
    assert f"<li>{mark}-1.txt, {mark}-2.txt</li>" in done.text
    assert f"{mark}-3.csv" not in done.text
    assert {"text/plain", "text/csv"} <= {kind for kind, _ in kinds(done.text)}


def kinds(text: str) -> list[tuple[str, str]]:
    return re.findall(r'<th scope="row">(\S+)</th><td>(\d+)</td>', text)


async def test_progress_is_told_live_and_is_there_after_a_reload(demo: Member) -> None:
    rows = [f"{some_sku()},Thing,lamps,5,3," for _ in range(1500)]
    address = await begin(demo, "import", lines(*rows))
    told = await streamed(demo, (await page(demo, address)).events)
    assert (told[-1]["status"], told[-1]["note"]) == ("SUCCESSFUL", "1500 rows")
    done = [state["done"] for state in told]
    assert done == sorted(done)
    assert done[-1] == told[-1]["total"]
    after = await page(demo, address)
    assert (after.state, after.counts["created"]) == ("done", 1500)
    assert "1500 rows" in after.text


@pytest.fixture
async def resting(starting: Starting) -> AsyncIterator[Member]:
    """`demo`, on a server whose jobs rest after each step."""
    async with member(starting(JOBS_PAUSE=PAUSE), "demo") as somebody:
        yield somebody


async def test_an_import_is_cancelled_and_begun_anew(resting: Member) -> None:
    demo = resting
    skus = [some_sku() for _ in range(15_000)]
    address = await begin(demo, "import", lines(*(f"{sku},T,lamps,5,3," for sku in skus)))

    async def has_begun() -> bool:
        return (await page(demo, address)).counts.get("created", 0) > 0

    await eventually(has_begun)
    answer = await post(demo, address, "cancel")
    assert (answer.status_code, answer.headers["location"]) == (302, address)
    stopped = await ended(demo, address)
    assert stopped.state == "cancelled"
    created = stopped.counts["created"]
    assert 0 < created < len(skus)
    assert await product(demo, skus[0]) is not None  # what was written stays
    assert await product(demo, skus[-1]) is None

    assert (await post(demo, address, "retry", attempt=1)).status_code == 302
    assert (await post(demo, address, "retry", attempt=1)).status_code == 409
    await eventually(lambda: is_beyond(demo, address, created))
    await post(demo, address, "cancel")
    assert "attempt 2" in (await ended(demo, address)).text


async def is_beyond(member: Member, address: str, known: int) -> bool:
    """The second attempt has found what the first had written, and written more."""
    counts = (await page(member, address)).counts
    return counts.get("unchanged", 0) == known and counts.get("created", 0) > 0


async def test_jobs_are_for_their_owners_and_the_staff(
    demo: Member, robin: Member, asgi_server: AsgiServer
) -> None:
    """`demo` is of the staff."""
    mine = await begin(demo, "report")
    others = await begin(robin, "report")
    events = f"/jobs/states/{'x' * 32}/events/"
    for path in (mine, events):
        assert (await robin.client.get(path)).status_code == 404
    for what in ("cancel", "retry"):
        assert (await post(robin, mine, what, attempt=1)).status_code == 404
        assert (await robin.client.post(f"{others}{what}/")).status_code == 403  # no token
    assert (await ended(demo, others)).state == "done"
    assert "of robin" in (await page(demo, others)).text
    number = others.split("/")[2]
    assert f'id="work-{number}"' in (await robin.client.get("/jobs/")).text
    assert f'id="work-{number}"' not in (await demo.client.get("/jobs/")).text
    async with member(asgi_server, "robin") as stranger:
        del stranger.client.cookies["sessionid"]
        answer = await stranger.client.get(mine)
        assert answer.headers["location"] == f"/accounts/login/?next={mine}"


async def test_an_import_needs_the_right_to_change_products(robin: Member) -> None:
    assert (
        "For accounts that may add and change products."
        in (await robin.client.get("/jobs/")).text
    )
    form = {"kind": "import", "csrfmiddlewaretoken": robin.token}
    files = {"file": ("products.csv", lines(), "text/csv")}
    assert (await robin.client.post("/jobs/", data=form, files=files)).status_code == 403
    form["kind"] = "nonsense"
    assert (await robin.client.post("/jobs/", data=form)).status_code == 404
