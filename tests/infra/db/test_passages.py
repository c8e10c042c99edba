"""Searches look at their scope alone: stores, owners, states and attributes are conditions of every statement."""

from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from chatbackend.domain.errors import InvalidRequest, NotFound
from chatbackend.domain.filters import parse_filter
from chatbackend.domain.identity import Principal
from chatbackend.domain.passages import Passage
from chatbackend.domain.vector_stores import DAY_S, Attachment, Attributes, FileBatch
from chatbackend.infra.db.transaction import Transaction
from chatbackend.usecases.file_ports import Found, Key, Query, Scope
from tests.infra.db.file_world import FOREIGN, ME, OTHER_USER, STRANGERS, USER, World, open_world, vector
from tests.support.truths import KINDS

pytestmark = pytest.mark.anyio
WORD = Query(["word"])


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[World, None]:
    async with open_world(tmp_path, request.param) as world:
        yield world


def everything(found: Found) -> Sequence[tuple[Key, float]]:
    """Rank every chunk that has a posting or is near, in the order of keys."""
    keys = {key for rows in found.postings.values() for key, _, _ in rows} | set(found.nearest)
    return [(key, 1.0) for key in sorted(keys)]


async def search(
    world: World, *stores: str, who: Principal = ME, filters: dict[str, Any] | None = None, query: Query = WORD
) -> list[Passage]:
    return await world.passages.search(Scope(who, stores, parse_filter(filters)), query, everything)


async def texts(world: World, *stores: str, who: Principal = ME, filters: dict[str, Any] | None = None) -> list[str]:
    return [passage.text for passage in await search(world, *stores, who=who, filters=filters)]


async def test_a_passage_has_its_place_its_file_and_its_attributes(world: World) -> None:
    await world.indexed("f", "first word", "second word")
    await world.store("vs", Attachment("f", {"year": 1999.0}))
    found = await search(world, "vs")
    assert [(each.start, each.end, each.page, each.header) for each in found] == [
        (0, 10, 1, "head"),
        (10, 21, 1, "head"),
    ]
    assert {(each.file_id, each.filename) for each in found} == {("f", "f.txt")}
    assert found[0].attributes == {"year": 1999.0}


async def test_only_the_named_stores_are_searched(world: World) -> None:
    for name in ("a", "b", "c"):
        await world.indexed(name, f"word {name}")
        await world.store(f"vs_{name}", name)
    assert await texts(world, "vs_b") == ["word b"]
    assert await texts(world, "vs_a", "vs_c", "vs_a") == ["word a", "word c"]


async def test_a_file_in_two_stores_counts_once(world: World) -> None:
    await world.indexed("f", "word")
    await world.store("vs1", "f")
    await world.store("vs2", "f")
    seen: list[Found] = []

    def rank(found: Found) -> Sequence[tuple[Key, float]]:
        seen.append(found)
        return everything(found)

    assert len(await world.passages.search(Scope(ME, ("vs1", "vs2")), Query(["word"]), rank)) == 1
    assert (seen[0].chunk_count, seen[0].length, len(seen[0].postings["word"])) == (1, 1, 1)


async def test_the_statistics_are_those_of_the_scope(world: World) -> None:
    await world.indexed("mine", "word and stone")
    await world.indexed("other", "word", "word", "word")
    await world.indexed("foreign", "word", owner=FOREIGN)
    await world.store("vs", "mine")
    seen: list[Found] = []

    def rank(found: Found) -> Sequence[tuple[Key, float]]:
        seen.append(found)
        return ()

    await world.passages.search(Scope(ME, ("vs",)), Query(["word", "absent", "word"]), rank)
    [found] = seen
    assert (found.chunk_count, found.length) == (1, 2)
    assert {term: len(rows) for term, rows in found.postings.items()} == {"word": 1, "absent": 0}
    assert found.postings["word"][0][1:] == (1, 2)


@pytest.mark.parametrize("stranger", STRANGERS)
async def test_a_store_of_somebody_else_is_unknown(world: World, stranger: Principal) -> None:
    await world.indexed("f", "word")
    await world.store("vs", "f")
    with pytest.raises(NotFound):
        await search(world, "vs", who=stranger)


async def test_users_search_the_accounts_stores_and_never_each_others(world: World) -> None:
    await world.indexed("f", "word of the account")
    await world.store("vs", "f")
    await world.indexed("g", "word of ann", owner=USER)
    await world.store("vs_ann", "f", "g", owner=USER)
    assert await texts(world, "vs", who=USER) == ["word of the account"]
    assert await texts(world, "vs_ann", who=USER) == ["word of the account", "word of ann"]
    for other in (ME, OTHER_USER):
        with pytest.raises(NotFound):
            await search(world, "vs_ann", who=other)


async def test_one_foreign_store_among_many_refuses_the_whole_search(world: World) -> None:
    await world.indexed("f", "word")
    await world.store("vs", "f")
    await world.store("vs_foreign", owner=FOREIGN)
    with pytest.raises(NotFound, match="vs_foreign"):
        await search(world, "vs", "vs_foreign")


@pytest.mark.parametrize("stranger", STRANGERS)
async def test_a_row_smuggled_into_a_store_is_still_not_found(world: World, stranger: Principal) -> None:
    """Even if a foreign set were attached, the set's own owner is checked."""
    foreign = await world.indexed("foreign", "word", owner=stranger)
    await world.indexed("f", "word")
    await world.store("vs", "f")

    async def smuggle(tx: Transaction) -> None:
        await tx.execute(text("UPDATE vector_store_files SET chunk_set_id = :set"), {"set": foreign})

    await world.database.write(smuggle)
    assert await texts(world, "vs") == []


async def test_a_set_is_not_searched_before_it_is_completed_nor_after_it_failed(world: World) -> None:
    await world.file("f")
    await world.store("vs", "f")
    found = await world.indexing.target(await world.set_of("f"))
    assert found is not None
    await world.indexing.begin(found[0], fingerprint="x", embedder=None)
    assert await texts(world, "vs") == []
    await world.fill(found[0].id, "word")
    assert await texts(world, "vs") == ["word"]


async def test_a_detached_or_deleted_file_is_gone_at_once(world: World) -> None:
    for name in ("a", "b", "c"):
        await world.indexed(name, f"word {name}", vectors=[vector(1, 0)])
    await world.store("vs", "a", "b", "c")
    query = Query(["word"], vector(1, 0), "e")
    assert len(await search(world, "vs", query=query)) == 3
    await world.store_files.detach(ME, "vs", "a")
    assert [each.file_id for each in await search(world, "vs", query=query)] == ["b", "c"]
    await world.files.delete(ME, "b")
    assert [each.file_id for each in await search(world, "vs", query=query)] == ["c"]
    await world.stores.delete(ME, "vs")
    with pytest.raises(NotFound):
        await search(world, "vs")


async def test_a_cancelled_file_is_not_searched(world: World) -> None:
    await world.file("f")
    await world.store("vs")
    await world.store_files.add_batch(ME, FileBatch("b", "vs", 0), [Attachment("f")])
    await world.store_files.cancel_batch(ME, "vs", "b")
    await world.fill(await world.set_of("f"), "word")
    assert await texts(world, "vs") == []


async def test_the_nearest_chunks_are_found_without_a_common_term(world: World) -> None:
    await world.indexed("f", "alpha", "beta", vectors=[vector(1, 0), vector(0, 1)])
    await world.store("vs", "f")
    seen: list[Found] = []

    def rank(found: Found) -> Sequence[tuple[Key, float]]:
        seen.append(found)
        return list(found.nearest.items())

    for _ in range(2):  # the second time out of memory
        found = await world.passages.search(Scope(ME, ("vs",)), Query(["gamma"], vector(0.6, 0.8), "e"), rank)
        assert [each.text for each in found] == ["beta", "alpha"]
        assert [each.score for each in found] == pytest.approx([0.8, 0.6])
    world.passages.forget(await world.set_of("f"))


async def test_vectors_of_another_embedder_are_not_compared(world: World) -> None:
    await world.indexed("old", "word", vectors=[vector(1, 0, 0)], embedder="old")
    await world.indexed("none", "word")
    await world.store("vs", "old", "none")
    seen: list[Found] = []

    def rank(found: Found) -> Sequence[tuple[Key, float]]:
        seen.append(found)
        return everything(found)

    found = await world.passages.search(Scope(ME, ("vs",)), Query(["word"], vector(1, 0), "e"), rank)
    assert seen[0].nearest == {}
    assert len(found) == 2


async def test_an_expired_store_is_refused_and_a_used_one_lives_on(world: World) -> None:
    await world.indexed("f", "word")
    await world.store("vs", "f", days=2)
    world.clock.time += 1.5 * DAY_S
    await world.stores.touch(ME, ["vs"])
    world.clock.time += 1.5 * DAY_S
    assert await texts(world, "vs") == ["word"]
    world.clock.time += 0.6 * DAY_S
    with pytest.raises(InvalidRequest, match="expired"):
        await search(world, "vs")


async def test_an_empty_store_and_a_query_without_terms_find_nothing(world: World) -> None:
    await world.store("vs")
    assert await texts(world, "vs") == []
    await world.indexed("f", "word")
    await world.store("vs2", "f")
    assert await search(world, "vs2", query=Query([])) == []


async def test_more_terms_than_are_looked_up_do_no_harm(world: World) -> None:
    await world.indexed("f", "word")
    await world.store("vs", "f")
    assert len(await search(world, "vs", query=Query(["word", *[f"t{n}" for n in range(5_000)]]))) == 1


FILES: dict[str, Attributes] = {
    "a": {"year": 1999.0, "kind": "report", "open": True},
    "b": {"year": 2005.0, "kind": "Report", "open": False},
    "c": {"year": "1999", "kind": "letter"},
    "d": {},
}


def eq(key: str, value: object) -> dict[str, object]:
    return {"type": "eq", "key": key, "value": value}


FILTERED: list[tuple[dict[str, Any], str]] = [
    (eq("year", 1999), "a"),
    (eq("year", "1999"), "c"),
    (eq("open", True), "a"),
    (eq("open", 1), ""),
    (eq("open", False), "b"),
    (eq("kind", "report"), "a"),
    (eq("nothing", "x"), ""),
    ({"type": "ne", "key": "kind", "value": "report"}, "bcd"),
    ({"type": "gt", "key": "year", "value": 1999}, "b"),
    ({"type": "gte", "key": "year", "value": 1999}, "ab"),
    ({"type": "lt", "key": "year", "value": 2005}, "a"),
    ({"type": "lte", "key": "year", "value": 2005}, "ab"),
    ({"type": "lt", "key": "kind", "value": "m"}, "bc"),
    ({"type": "in", "key": "year", "value": [2005, "1999"]}, "bc"),
    ({"type": "in", "key": "year", "value": []}, ""),
    ({"type": "nin", "key": "year", "value": [2005, "1999"]}, "ad"),
    ({"type": "nin", "key": "year", "value": []}, "abcd"),
    ({"type": "and", "filters": [eq("year", 1999), eq("open", True)]}, "a"),
    ({"type": "and", "filters": [eq("year", 1999), eq("open", False)]}, ""),
    ({"type": "or", "filters": [eq("year", 1999), eq("open", False)]}, "ab"),
    ({"type": "or", "filters": [{"type": "and", "filters": [eq("year", 2005)]}, eq("kind", "letter")]}, "bc"),
    (eq("year' OR 1=1 --", "x"), ""),
    (eq("kind", "x' OR '1'='1"), ""),
]


@pytest.mark.parametrize(("filters", "expected"), FILTERED, ids=lambda case: str(case)[:70])
async def test_filters_compare_by_value_and_kind(world: World, filters: dict[str, Any], expected: str) -> None:
    for name in FILES:
        await world.indexed(name, f"word {name}")
    await world.store("vs", *[Attachment(name, attributes) for name, attributes in FILES.items()])
    assert [each.file_id for each in await search(world, "vs", filters=filters)] == list(expected)


async def test_filters_are_those_of_the_store_that_is_searched(world: World) -> None:
    await world.indexed("f", "word")
    await world.store("vs1", Attachment("f", {"a": "1"}))
    await world.store("vs2", Attachment("f", {"a": "2"}))
    assert await texts(world, "vs1", filters=eq("a", "2")) == []
    [found] = await search(world, "vs1", "vs2", filters=eq("a", "2"))
    assert found.attributes == {"a": "2"}
    await world.store_files.set_attributes(ME, "vs2", "f", {"a": "3"})
    assert await texts(world, "vs1", "vs2", filters=eq("a", "2")) == []
