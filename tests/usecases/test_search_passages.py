"""A search ranks what its scope holds, by terms and meaning, and by terms alone when meaning fails."""

import pytest

from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.filters import Comparison
from chatbackend.domain.passages import Passage
from chatbackend.domain.responses import FileSearch
from chatbackend.usecases.file_ports import Found
from chatbackend.usecases.search_passages import QUERY_CHARS, SearchPassages
from tests.support.file_fakes import ME, FakeEmbedder, FakePassages, FakeStores

pytestmark = pytest.mark.anyio


def passage(text: str, start: int = 0) -> Passage:
    return Passage("file_1", "a.txt", start, start + len(text), text, 0.0)


TEXTS = {
    (1, 0): passage("The mooring fee is forty crowns."),
    (1, 1): passage("Umbrellas are kept for a year.", 40),
    (2, 0): passage("Fees are listed at the kiosk.", 80),
}
SEARCH = FileSearch(("vs_1",))
FOUND = Found(
    postings={"moor": [((1, 0), 1, 4)], "fee": [((1, 0), 1, 4), ((2, 0), 1, 4)]},
    chunk_count=3,
    length=12,
    nearest={(1, 0): 0.9, (1, 1): 0.2, (2, 0): 0.5},
)


class Searched:
    """A search's world."""

    def __init__(self, found: Found = FOUND, embedder: FakeEmbedder | None = None) -> None:
        self.passages = FakePassages(found, TEXTS)
        self.stores = FakeStores()
        self.reports: list[str] = []
        self.embedder = embedder
        self.search = SearchPassages(
            self.passages,
            self.stores,
            embedder=embedder,
            report=lambda message, error: self.reports.append(message),
        )

    async def run(self, query: str = "What is the mooring fee?", search: FileSearch = SEARCH) -> list[Passage]:
        return await self.search(ME, query, search)


async def test_the_best_passage_comes_first_with_scores_between_0_and_1() -> None:
    found = await Searched(embedder=FakeEmbedder()).run()
    assert [each.text for each in found] == [TEXTS[1, 0].text, TEXTS[2, 0].text, TEXTS[1, 1].text]
    scores = [each.score for each in found]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)


async def test_no_more_passages_are_returned_than_asked_for() -> None:
    assert len(await Searched().run(search=FileSearch(("vs_1",), max_results=1))) == 1


async def test_passages_below_the_threshold_are_left_out() -> None:
    whole = await Searched().run()
    cut = await Searched().run(search=FileSearch(("vs_1",), score_threshold=whole[1].score))
    assert cut == whole[:2]


async def test_the_query_goes_out_as_terms_and_vector_within_the_scope() -> None:
    searched = Searched(embedder=FakeEmbedder())
    await searched.run(search=FileSearch(("vs_1",), filters={"type": "eq", "key": "year", "value": 1999}))
    [(scope, query)] = searched.passages.asked
    assert (scope.principal, scope.vector_store_ids) == (ME, ("vs_1",))
    assert scope.filter == Comparison("year", "eq", (1999.0,))
    assert (list(query.terms), query.embedder) == (["moor", "fee"], "lengths")
    assert query.vector is not None
    assert searched.stores.calls == ["touch vs_1"]


async def test_without_an_embedder_terms_decide_alone() -> None:
    searched = Searched(Found(FOUND.postings, 3, 12, {}))
    found = await searched.run()
    assert [each.text for each in found] == [TEXTS[1, 0].text, TEXTS[2, 0].text]
    assert searched.passages.asked[0][1].vector is None


async def test_an_embedder_that_fails_is_reported_and_terms_decide_alone() -> None:
    searched = Searched(Found(FOUND.postings, 3, 12, {}), FakeEmbedder())
    assert searched.embedder is not None
    searched.embedder.failure = RuntimeError("no memory")
    assert (await searched.run())[0].text == TEXTS[1, 0].text
    assert len(searched.reports) == 1


async def test_an_empty_query_finds_nothing_and_is_not_embedded() -> None:
    searched = Searched(Found({}, 0, 0, {}), FakeEmbedder())
    assert await searched.run(" ") == []
    assert searched.embedder is not None
    assert searched.embedder.asked == []


async def test_a_long_question_is_searched_by_its_beginning() -> None:
    searched = Searched(embedder=FakeEmbedder())
    await searched.run("fee " * 100_000)
    assert searched.embedder is not None
    assert [len(text) for text in searched.embedder.asked] == [QUERY_CHARS]


async def test_a_filter_that_is_none_is_refused_before_anything_is_searched() -> None:
    searched = Searched()
    with pytest.raises(InvalidRequest):
        await searched.run(search=FileSearch(("vs_1",), filters={"type": "like"}))
    assert searched.passages.asked == []


async def test_several_queries_are_answered_together_each_passage_once() -> None:
    searched = Searched()
    alone = {each.text: each.score for each in await searched.run("mooring")}
    both = await searched.search.any_of(ME, ["mooring", "fee listed", "mooring"], FileSearch(("vs_1",), max_results=2))
    assert len({each.text for each in both}) == len(both) == 2
    assert all(each.score >= alone.get(each.text, 0.0) for each in both)
