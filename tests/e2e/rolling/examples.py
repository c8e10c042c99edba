"""Asks one question after the other with `examples/stream.py`, as it stands: a socket each."""

import runpy
import sys
from pathlib import Path

import openai

ROOT = Path(__file__).parents[3]


def main(base_url: str, key: str, model: str, count: int) -> int:
    """Print every answer on a line."""
    stream = runpy.run_path(str(ROOT / "examples" / "stream.py"))["stream"]
    client = openai.OpenAI(base_url=base_url, api_key=key)
    for _ in range(count):
        for piece in stream(client, model, "say on"):
            print(piece, end="", flush=True)
        print(flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
