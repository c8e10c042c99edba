"""Print how well retrieval finds what answers: `.venv/bin/python bench/retrieval.py` (a minute or two).

The labelled data lies beside the repository, in `../shared/data/retrieval`. Everything measured is the product's own
code; only the stores are replaced, by lists in memory.
"""

import gzip
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from os import cpu_count
from pathlib import Path
from typing import TypedDict, cast

from chatbackend.domain.chunking import chunk
from chatbackend.domain.documents import Chunk, Document
from chatbackend.domain.extractive import best_sentences
from chatbackend.domain.passages import Passage
from chatbackend.domain.retrieval import best, bm25, fuse, rerank
from chatbackend.domain.terms import frequencies, terms
from chatbackend.infra.embedding.minilm import absent, graph_path, model_folder
from chatbackend.infra.embedding.scan import dense_scores

DATA = Path(__file__).parents[2] / "shared" / "data" / "retrieval"
RERANKED = 50
QUOTED = 6

Ranking = list[tuple[int, float]]
Rank = Callable[[str], Ranking]


class Record(TypedDict):
    """A line of the data: a document (`title`), or a question with what answers it (`qrels`; `doc` and `spans`)."""

    type: str
    id: str
    title: str
    text: str
    qrels: dict[str, int]
    doc: str
    spans: list[tuple[int, int]]


@dataclass(slots=True)
class Collection:
    """Documents, the passages cut from them as `(document, chunk)`, and questions about them."""

    documents: list[Record]
    questions: list[Record]
    passages: list[tuple[str, Chunk]]
    postings: defaultdict[str, list[tuple[int, int, int]]]
    length: int = 0
    vectors: list[bytes] = field(default_factory=list[bytes])
    asked: dict[str, bytes] = field(default_factory=dict[str, bytes])

    def texts(self) -> list[str]:
        """Return the passages as they are embedded."""
        return [f"{each.header}\n{each.text}" for _, each in self.passages]

    def lexical(self, query: str) -> dict[int, float]:
        """Return the best passages by BM25."""
        count = len(self.passages)
        return best(bm25(terms(query), self.postings, chunk_count=count, average_length=self.length / count))

    def near(self, query: str) -> dict[int, float]:
        """Return the best passages by the embedder; {} without one."""
        return best(dict(enumerate(dense_scores(self.asked[query], self.vectors)))) if self.vectors else {}

    def fused(self, query: str) -> Ranking:
        """Return the ranking by both, or by BM25 alone."""
        return fuse(self.lexical(query), self.near(query))

    def final(self, query: str) -> Ranking:
        """Return the ranking that a search gives."""
        ranking = self.fused(query)
        texts = self.texts()
        return rerank(query, [(key, score, texts[key]) for key, score in ranking[:RERANKED]]) + ranking[RERANKED:]

    def stages(self) -> dict[str, Rank]:
        """Return what can be measured, by name."""
        lexical: dict[str, Rank] = {"BM25": lambda query: list(self.lexical(query).items())}
        dense: dict[str, Rank] = {"MiniLM": lambda query: list(self.near(query).items())} if self.vectors else {}
        return lexical | dense | {"fused": self.fused, "+ rerank": self.final}


def collection(name: str) -> Collection:
    """Read a file of the data, cut its documents and index their terms."""
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        records = [cast(Record, json.loads(line)) for line in lines]
    documents = [record for record in records if record["type"] == "doc"]
    questions = [record for record in records if record["type"] == "query"]
    passages = [(each["id"], part) for each in documents for part in chunk(Document(each["text"], title=each["title"]))]
    made = Collection(documents, questions, passages, defaultdict(list))
    for number, (_, part) in enumerate(passages):
        counts = frequencies(part.header, part.text)
        length = sum(counts.values())
        made.length += length
        for term, count in counts.items():
            made.postings[term].append((number, count, length))
    return made


def embed(made: Collection) -> None:
    """Give a collection its vectors; one thread a core."""
    from chatbackend.infra.embedding.minilm_encoder import Encoder  # noqa: PLC0415 - without a model there is no need

    folder = model_folder()
    assert folder is not None
    encoder = Encoder(graph_path(), folder / "tokenizer.json")
    questions = [each["text"] for each in made.questions]
    texts = made.texts() + questions
    batches = [texts[start : start + 32] for start in range(0, len(texts), 32)]
    with ThreadPoolExecutor(cpu_count()) as threads:
        vectors = [vector for batch in threads.map(encoder.embed, batches) for vector in batch]
    made.vectors = vectors[: len(made.passages)]
    made.asked = dict(zip(questions, vectors[len(made.passages) :], strict=True))


def documents_found(made: Collection, rank: Rank) -> tuple[float, float, float]:
    """Return precision, recall and mean reciprocal rank over the first three documents."""
    precision: list[float] = []
    recall: list[float] = []
    reciprocal: list[float] = []
    for question in made.questions:
        names = list(dict.fromkeys(made.passages[key][0] for key, _ in rank(question["text"])))[:3]
        hits = [name in question["qrels"] for name in names]
        precision.append(sum(hits) / 3)
        recall.append(sum(hits) / len(question["qrels"]))
        reciprocal.append(1 / (hits.index(True) + 1) if any(hits) else 0.0)
    return mean(precision), mean(recall), mean(reciprocal)


def spans_found(made: Collection, rank: Rank, count: int) -> float:
    """Return the share of the answering characters that the first `count` passages hold, mean over the questions."""
    shares: list[float] = []
    for question in made.questions:
        wanted = {at for start, end in question["spans"] for at in range(start, end)}
        found = [made.passages[key] for key, _ in rank(question["text"])[:count]]
        held = {at for name, part in found if name == question["doc"] for at in range(part.start, part.end)}
        shares.append(len(wanted & held) / len(wanted))
    return mean(shares)


def spans_kept_whole(made: Collection) -> float:
    """Return the share of the answering spans that lie in one passage."""
    by_document: defaultdict[str, list[Chunk]] = defaultdict(list)
    for name, part in made.passages:
        by_document[name].append(part)
    return mean(
        [
            float(any(part.start <= start and end <= part.end for part in by_document[question["doc"]]))
            for question in made.questions
            for start, end in question["spans"]
        ]
    )


def quotes_right(made: Collection, rank: Rank) -> tuple[float, float]:
    """Return how often the first quote, and one of three, lies in an answering span for half of either's length."""
    firsts: list[float] = []
    anys: list[float] = []
    for question in made.questions:
        chosen = [(*made.passages[key], score) for key, score in rank(question["text"])[:QUOTED]]
        passages = [Passage(name, name, part.start, part.end, part.text, score) for name, part, score in chosen]
        right = [
            passages[quote.passage].file_id == question["doc"]
            and any(
                2 * (min(quote.end, end) - max(quote.start, start)) >= min(quote.end - quote.start, end - start)
                for start, end in question["spans"]
            )
            for quote in best_sentences(question["text"], passages, 3)
        ]
        firsts.append(float(right[:1] == [True]))
        anys.append(float(any(right)))
    return mean(firsts), mean(anys)


def mean(values: Sequence[float]) -> float:
    """Return the arithmetic mean."""
    return sum(values) / len(values)


def size(made: Collection) -> str:
    """Say how large a collection is."""
    return f"{len(made.documents)} documents, {len(made.passages)} passages, {len(made.questions)} questions"


def row(*cells: str | float) -> str:
    """Format a line of a table."""
    return "| " + " | ".join(cell if isinstance(cell, str) else f"{cell:.3f}" for cell in cells) + " |"


def main() -> int:
    """Print both tables."""
    if not DATA.is_dir():
        sys.stderr.write(f"The labelled data is not there: {DATA}\n")
        return 1
    docs, spans = collection("product_docs"), collection("answer_spans")
    if missing := absent():
        print(f"BM25 alone: {missing}.\n")
    else:
        embed(docs)
        embed(spans)
    print(f"product_docs: {size(docs)}\n")
    print(row("", "P@3", "R@3", "MRR@3"), row("---", "---", "---", "---"), sep="\n")
    for name, rank in docs.stages().items():
        print(row(name, *documents_found(docs, rank)))
    print(f"\nanswer_spans: {size(spans)}; whole span in one passage: {spans_kept_whole(spans):.3f}\n")
    print(row("", "recall@5", "recall@10", "quote@1", "quote@3"), row("---", "---", "---", "---", "---"), sep="\n")
    for name, rank in spans.stages().items():
        print(row(name, spans_found(spans, rank, 5), spans_found(spans, rank, 10), *quotes_right(spans, rank)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
