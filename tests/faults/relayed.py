"""A client of relayed calls, and what must hold of their ledger rows wherever the server is killed."""

from collections.abc import Iterator

import anyio

from tests.faults.history import History, Relayed
from tests.faults.transport import CUT, Refused, Sse

RETRY_S = 0.05


async def relay(transport: Sse, history: History, key: str) -> None:
    """Ask until an answer is whole; each try has a model name of its own, which the ledger keeps."""
    tries = 0
    while True:
        model = f"scripted-n4-d2-{key}x{tries}"
        try:
            await _ask(transport, model, history.relayed[model])
        except CUT:
            await anyio.sleep(RETRY_S)
        if history.relayed[model].whole:
            return
        tries += 1


async def _ask(transport: Sse, model: str, found: Relayed) -> None:
    asked = {"model": f"llama31/{model}", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
    body = {**asked, "stream_options": {"include_usage": True}}
    url = f"{transport.target.urls[0]}/v1/chat/completions"
    said = b""
    async with transport.session.post(url, json=body, headers=transport.target.headers) as answer:
        if answer.status == 503:
            return
        if answer.status != 200:
            raise Refused(answer.status, await answer.text())
        async for chunk in answer.content.iter_any():
            found.seen = True
            said += chunk
    found.whole = said.endswith(b"data: [DONE]\n\n")


def broken_relays(history: History) -> Iterator[str]:
    """Yield where a call has no row though its client saw something, or two, or another count than the provider's."""
    for model, found in history.relayed.items():
        rows = [(row.input_tokens, row.output_tokens, row.estimated) for row in found.rows]
        if len(rows) > 1 or (found.seen and not rows):
            yield f"I7 relayed {model}: {len(found.counted)} calls, {len(rows)} ledger rows"
        elif any(row.status != "settled" for row in found.rows):
            yield f"I7 relayed {model}: its ledger row is not settled"
        elif found.whole and rows != [(*counts, False) for counts in found.counted]:
            yield f"I7 relayed {model}: the ledger says {rows}, the provider counted {found.counted}"
