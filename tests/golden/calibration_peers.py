#!/usr/bin/env python3
"""Where others clip: fills the numbers in front of every histogram of calibration_demo.txt, which tests/unit/test_export_range.c reads.

    python3 -m venv bench/.venv && bench/.venv/bin/pip install numpy scipy onnx onnxruntime
    bench/.venv/bin/python tests/golden/calibration_peers.py tests/golden/calibration_demo.txt     # rewrites it

A line is a tensor of the network that `make demo` exports (the first four that become integers, over its calibration images): name, bins of 2048
kept by NVIDIA's method (pytorch-quantization's form, calibration_range.py), by ncnn's (tools/quantize: exact zeros left out, 1e-4 added
to every bin), by onnxruntime's own code (1.32, the histogram mirrored, 256 levels), then the 2048 counts of magnitudes."""
import sys

import numpy as np

import calibration_range

BINS, LEVELS, EPSILON = 2048, 128, 1e-4


def ncnn(hist):
    bins = hist.astype(np.float64)
    bins[0] = 0
    bins /= bins.sum()
    behind = np.concatenate([[0], np.cumsum(bins)])
    best, keep = np.inf, LEVELS
    for kept in range(LEVELS, BINS):
        width, at = kept / LEVELS, np.arange(kept)
        p = EPSILON + bins[:kept]
        p[-1] += 1 - behind[kept]
        mass = np.diff(np.interp(np.arange(LEVELS + 1) * width, np.arange(BINS + 1), behind)) / width
        first = np.minimum((at / width).astype(int), LEVELS - 1)
        last = np.minimum(np.ceil((at + 1) / width - 1e-9).astype(int) - 1, LEVELS - 1)
        part = np.where(first == last, 1, np.clip((first + 1) * width - at, 0, 1))
        q = EPSILON + part * mass[first] + (1 - part) * mass[last]
        d = (p * np.log(p / q)).sum()
        if d < best:
            best, keep = d, kept
    return keep + 0.5


def onnxruntime(hist):
    from onnxruntime.quantization.calibrate import HistogramCollector
    edges = np.linspace(-BINS, BINS, 2 * BINS + 1).astype(np.float32)
    mirrored = np.concatenate([hist[::-1], hist])
    collector = HistogramCollector.__new__(HistogramCollector)
    return float(collector.get_entropy_threshold((mirrored, edges, edges[0], edges[-1]), 2 * LEVELS)[1])


lines = []
for line in open(sys.argv[1]):
    name, *counts = line.split()
    hist = np.array([int(x) for x in counts[-BINS:]], dtype=np.int64)
    kept = calibration_range.entropy(hist), ncnn(hist), onnxruntime(hist)
    print("%-24s %5d %7.1f %6.0f" % (name, *kept), flush=True)
    lines.append("%s %d %.1f %.0f %s\n" % (name, *kept, " ".join(map(str, hist))))
open(sys.argv[1], "w").writelines(lines)
