#!/usr/bin/env bash
# Makes bench/.venv with the peers that the benches compare with. They are needed for benches only: never for the build or the tests.
set -eu
cd "$(dirname "$0")"
[ -x .venv/bin/python ] || python3 -m venv .venv
.venv/bin/python -m pip install -q --disable-pip-version-check numpy onnx onnxruntime
.venv/bin/python -c 'import onnxruntime; print("onnxruntime", onnxruntime.__version__)'
