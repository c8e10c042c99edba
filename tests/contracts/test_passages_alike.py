"""A search finds the same passages with the same scores on both databases."""

import math
import random
import struct
from functools import partial
from pathlib import Path

import pytest

from chatbackend.domain.filters import parse_filter
from chatbackend.domain.passages import Passage
from chatbackend.domain.terms import terms
from chatbackend.domain.vector_stores import Attachment
from chatbackend.usecases.file_ports import Query, Scope
from chatbackend.usecases.search_passages import rank
from tests.infra.db.file_world import ME, World, open_world
from tests.support.truths import KINDS

pytestmark = pytest.mark.anyio
FILES, CHUNKS, WIDTH = 12, 25, 16
WORDS = ["heron", "river", "stone", "na\u00efve", "\u00e9t\u00e9", "\u4e2d\u6587", "bridge", "Ufer", "x_1", "10%"]


def unit(chance: random.Random) -> bytes:
    values = [chance.gauss(0, 1) for _ in range(WIDTH)]
    length = math.sqrt(sum(value * value for value in values))
    return struct.pack(f"<{WIDTH}f", *(value / length for value in values))


async def fill(world: World) -> None:
    """Add the corpus: always the same, equal chunks and equal vectors in it."""
    chance = random.Random(7)  # noqa: S311  # a corpus, no secret
    for number in range(FILES):
        texts = [" ".join(chance.choices(WORDS, k=chance.randint(3, 12))) for _ in range(CHUNKS)]
        vectors = [unit(chance) for _ in range(CHUNKS)]
        if number % 3 == 0:
            texts[1], vectors[1] = texts[0], vectors[0]
        await world.indexed(f"file_{number}", *texts, vectors=vectors)
    files = [Attachment(f"file_{number}", {"year": float(number), "odd": bool(number % 2)}) for number in range(FILES)]
    await world.store("vs_all", *files)
    await world.store("vs_some", *files[:3])


def searches() -> list[tuple[Scope, Query]]:
    chance = random.Random(8)  # noqa: S311  # the same
    filters = [None, {"type": "gte", "key": "year", "value": 4}, {"type": "eq", "key": "odd", "value": True}]
    return [
        (
            Scope(ME, stores, parse_filter(asked)),
            Query(terms(" ".join(chance.choices(WORDS, k=count))), vector, "e" if vector else None),
        )
        for stores in (("vs_all",), ("vs_some",), ("vs_some", "vs_all"))
        for asked in filters
        for count in (1, 3, 6)
        for vector in (None, unit(chance))
    ]


async def test_both_databases_find_the_same_passages_with_the_same_scores(tmp_path: Path) -> None:
    found: dict[str, list[list[Passage]]] = {}
    for kind in KINDS:
        async with open_world(tmp_path, kind) as world:
            await fill(world)
            found[kind] = [
                await world.passages.search(scope, query, partial(rank, query.terms)) for scope, query in searches()
            ]
    assert sum(map(len, found["sqlite"])) > 500
    for ours, theirs in zip(found["sqlite"], found["postgres"], strict=True):
        assert [(each.file_id, each.start, each.text) for each in ours] == [
            (each.file_id, each.start, each.text) for each in theirs
        ]
        assert [each.score for each in ours] == pytest.approx([each.score for each in theirs], abs=1e-6)
