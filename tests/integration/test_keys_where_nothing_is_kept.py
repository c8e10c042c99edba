"""An Idempotency-Key is refused where it would promise what nothing keeps."""

from pathlib import Path

import httpx2
import pytest

from tests.support.server import serving

pytestmark = pytest.mark.anyio


async def test_a_key_is_refused_where_no_answer_is_kept(tmp_path: Path) -> None:
    async with serving(tmp_path, {}) as server, httpx2.AsyncClient(base_url=server.base_url) as http:
        headers = {"authorization": f"Bearer {server.key}", "idempotency-key": "k"}
        for path in ("/chat/completions", "/embeddings", "/responses/compact"):
            answer = await http.post(path, headers=headers, json={"model": "local", "messages": [], "input": "x"})
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "idempotency_unsupported")
        answer = await http.post("/messages", headers=headers, json={"model": "local", "messages": [], "max_tokens": 1})
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
        assert "Idempotency-Key" in answer.json()["error"]["message"]
