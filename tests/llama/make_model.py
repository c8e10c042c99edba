"""Write tiny random Llamas as GGUF files, for a real llama.cpp server to load: `make_model.py FOLDER`.

Runs in the environment of the server, not in ours. Both models say random words: `tiny.gguf` ends by chance,
`endless.gguf` never. One number of each token's vector is the same and stays so in every layer; what must never be
sampled (broken characters, that end) is pushed down by it.
"""

# The gguf package lives in the server's environment only, so its types are unknown here.
# pyright: basic, reportMissingImports=false

import sys
from pathlib import Path

import gguf
import numpy as np

WIDTH, HEADS, LAYERS, HIDDEN, CONTEXT = 64, 4, 2, 128, 8192
TEXT = (
    "the station answers slowly and the wind turns north again before noon while nobody asks where every lamp went "
    "because water finds its own level under old stone bridges and letters arrive late from distant islands"
)
TEMPLATE = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant:"
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
STEADY = 3.0  # that number in each token
DOWN, UP = -100.0, 0.3  # what it weighs for tokens that are never said, and for the end


def vocabulary() -> tuple[list[str], list[int]]:
    """Return the tokens and their kinds: control tokens, bytes, letters, then words, which are what is said."""
    control = ["<unk>", "<s>", "</s>"]
    bytes_ = [f"<0x{number:02X}>" for number in range(256)]
    letters = [chr(code) for code in range(33, 127)] + ["\u2581"]
    words = [f"\u2581{word}" for word in sorted(set(TEXT.split()))]
    kinds = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * len(bytes_), *[NORMAL] * (len(letters) + len(words))]
    return [*control, *bytes_, *letters, *words], kinds


def write(path: Path, *, ends: bool) -> None:
    """Write a model."""
    chance = np.random.default_rng(7)
    tokens, kinds = vocabulary()

    def weights(*shape: int) -> np.ndarray:
        return chance.normal(0, 0.3, shape).astype(np.float32)

    def steady(matrix: np.ndarray) -> np.ndarray:
        matrix[0] = 0
        return matrix * np.float32(0.1)  # else what the layers add outgrows it

    words = set(TEXT.split())
    said, meant = weights(len(tokens), WIDTH), weights(len(tokens), WIDTH)
    meant[:, 0] = STEADY
    never = [number for number, token in enumerate(tokens) if token[1:] not in words and not (ends and token == "</s>")]
    said[tokens.index("</s>"), 0] = UP
    said[never, 0] = DOWN
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(number) for number in range(len(tokens))])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)
    writer.add_tensor("token_embd.weight", meant)
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    writer.add_tensor("output.weight", said)
    for layer in range(LAYERS):
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(WIDTH, np.float32))
        for name in ("attn_q", "attn_k", "attn_v"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", weights(WIDTH, WIDTH))
        writer.add_tensor(f"blk.{layer}.attn_output.weight", steady(weights(WIDTH, WIDTH)))
        writer.add_tensor(f"blk.{layer}.ffn_gate.weight", weights(HIDDEN, WIDTH))
        writer.add_tensor(f"blk.{layer}.ffn_up.weight", weights(HIDDEN, WIDTH))
        writer.add_tensor(f"blk.{layer}.ffn_down.weight", steady(weights(WIDTH, HIDDEN)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    write(Path(sys.argv[1]) / "tiny.gguf", ends=True)
    write(Path(sys.argv[1]) / "endless.gguf", ends=False)
