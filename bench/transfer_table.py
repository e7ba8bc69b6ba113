#!/usr/bin/env python3
"""Compares the predictions that bench/transfer.sh left, image by image.

    bench/transfer_table.py FOLDER              every variant's accuracy; default against textbook and frozen, frozen against textbook, pooled
    bench/transfer_table.py --count result.csv  "63/74"

The sign test (McNemar's, exact) looks at the images that one of the two gets right and the other wrong. `textbook` and `frozen` have no
seed; each run of `default` is paired with the same predictions, so images count once a seed. The second line of a comparison asks each
image once: by how many of the seeds got it right on average."""
import csv
import math
import os
import re
import sys


def read(path):
    """{image: right?}; the class is the folder that the image lies in."""
    right = {}
    with open(path, newline="") as f:
        for row in list(csv.reader(f))[1:]:
            right["/".join(row[0].split("/")[-2:])] = row[1] == row[0].split("/")[-2]
    return right


def sign_test(wins, losses):
    """Two-sided exact probability of a split at least as uneven as this."""
    n = wins + losses
    tail = sum(math.comb(n, k) for k in range(max(wins, losses), n + 1)) / 2**n
    return min(1.0, 2 * tail)


def compare(runs, variant, other, only=None):
    wins = losses = image_wins = image_losses = total = 0
    for (network, group, name, seed) in sorted(runs):
        if name != other or (only and group != only):
            continue
        base = runs[network, group, other, seed]
        seeds = [r for (n, g, v, _), r in runs.items() if (n, g, v) == (network, group, variant)]
        for image, right in base.items():
            scores = [r[image] for r in seeds]
            total += len(scores)
            wins += sum(s and not right for s in scores)
            losses += sum(right and not s for s in scores)
            mean = sum(scores) / len(scores) if scores else right
            image_wins += mean > right
            image_losses += mean < right
    if not total:
        return
    print("%s against %s%s: %d predictions, %d only %s right, %d only %s right, p = %.2g" %
          (variant, other, " on " + only if only else "", total, wins, variant, losses, other, sign_test(wins, losses)))
    print("    each image once: %d better, %d worse, p = %.2g" % (image_wins, image_losses, sign_test(image_wins, image_losses)))


def main():
    if sys.argv[1] == "--count":
        right = read(sys.argv[2])
        print("%d/%d" % (sum(right.values()), len(right)))
        return
    runs = {}
    for name in sorted(os.listdir(sys.argv[1])):
        path, parts = os.path.join(sys.argv[1], name, "predictions.csv"), re.fullmatch(r"(.+)-(.+)-(.+)-(\d+)", name)
        if parts and os.path.exists(path):
            runs[parts.groups()] = read(path)
    for (network, group, variant, seed), right in runs.items():
        print("%-14s %-12s %-9s %s %4d of %d  %5.1f %%" % (network, group, variant, seed, sum(right.values()), len(right),
                                                           100 * sum(right.values()) / len(right)))
    for variant, other in (("default", "textbook"), ("default", "frozen"), ("frozen", "textbook")):
        compare(runs, variant, other)
        for group in sorted({g for _, g, _, _ in runs}):
            compare(runs, variant, other, group)


if __name__ == "__main__":
    main()
