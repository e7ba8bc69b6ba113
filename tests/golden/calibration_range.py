#!/usr/bin/env python3
"""Expected clipping points of tests/unit/test_export_range.c, by numpy.

The entropy search is the published one (Migacz, GTC 2017; NVIDIA's pytorch-quantization states it in numpy): for every
number of kept bins from 128 on, quantise them to 128 levels with linspace and digitize, spread each level over its
non-empty bins, add the outliers to the reference's last bin, keep the last minimum of the divergence.
"""
import numpy as np

BINS, LEVELS = 2048, 128


def histograms():
    i = np.arange(BINS)
    decay = np.zeros(BINS, np.int64)
    value = 1000000
    for k in range(BINS):
        decay[k] = value + (k * 7919 % 61 == 0)
        value = value * 99 // 100
    relu = decay.copy()
    relu[0] = 50000000
    uniform = np.full(BINS, 1000, np.int64)
    outlier = np.where(i < 300, 5000 - 16 * i, 0).astype(np.int64)
    outlier[2047] = 3
    return {"decay": decay, "relu": relu, "uniform": uniform, "outlier": outlier}


def entropy(hist):
    bins = hist.astype(np.float64)
    bins[0] = bins[1]
    best, keep = np.inf, BINS
    for kept in range(LEVELS, BINS + 1):
        level = np.digitize(np.arange(kept), np.linspace(0, kept, LEVELS + 1)) - 1
        filled = bins[:kept] > 0
        mass = np.bincount(level[filled], bins[:kept][filled], LEVELS)
        share = np.bincount(level[filled], minlength=LEVELS)
        q = np.where(filled, mass[level] / np.maximum(share[level], 1), 0)
        p = bins[:kept].copy()
        p[-1] += bins[kept:].sum()
        p, q = p / p.sum(), q / q.sum()
        with np.errstate(divide="ignore", invalid="ignore"):
            d = np.sum(np.where(p > 0, p * np.log(p / q), 0))
        if d <= best:
            best, keep = d, kept
    return keep


def percentile(hist, percent):
    return int(np.argmax(np.cumsum(hist) >= percent / 100 * hist.sum())) + 1


def mse(hist):
    x = np.arange(BINS) + 0.5
    errors = []
    for kept in range(LEVELS // 2, BINS + 1):
        step = kept / (LEVELS - 1)
        errors.append(np.sum(hist * (x - np.minimum(np.rint(x / step), LEVELS - 1) * step) ** 2))
    return LEVELS // 2 + int(np.flatnonzero(errors == np.min(errors))[-1])


if __name__ == "__main__":
    for name, hist in histograms().items():
        print(f'{{"{name}", {entropy(hist)}, {percentile(hist, 99.99)}, {percentile(hist, 99)}, {mse(hist)}}},')
