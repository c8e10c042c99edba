#!/usr/bin/env bash
# Install a real llama.cpp server from locked sources (a compiler and some minutes, once), make tiny random models and
# run the tests on it. The server lives in .venv/llama, apart from what we run on.
set -euo pipefail
cd "$(dirname "$0")/../.."

home=$PWD/.venv/llama
if [[ ! -e $home/.made ]]; then
  command -v c++ >/dev/null || { echo "make test-llama: needs a C++ compiler" >&2; exit 1; }
  echo "building the llama.cpp server (two to ten minutes, once)"
  .venv/bin/python -m venv "$home"
  install=(.venv/bin/uv pip install --quiet --python "$home/bin/python" --require-hashes --no-deps)
  "${install[@]}" -r tests/llama/build.lock
  # The build tools are those of the lock, not whatever is newest; the image encoder is not built.
  PATH=$home/bin:$PATH CMAKE_ARGS=-DLLAVA_BUILD=OFF "${install[@]}" --no-build-isolation -r tests/llama/server.lock
  touch "$home/.made"
fi
"$home/bin/python" tests/llama/make_model.py "$home"
"$home/bin/python" -c 'import importlib.metadata as m; print("llama-cpp-python", m.version("llama-cpp-python"))'
CHATBACKEND_TEST_LLAMA=$home exec .venv/bin/pytest -q -rfEs tests/llama
