"""Pascal VOC's mean average precision from `graft infer --json` and KITTI labels, by its definition: what `graft evaluate` must say.

    voc_map.py PREDICTIONS.json [IOU] [sample]
"""
import json, sys
least = float(sys.argv[2]) if len(sys.argv) > 2 else 0.5
sample = "sample" in sys.argv


def overlap(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(w, 0) * max(h, 0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


truth, found = {}, []
for image in json.load(open(sys.argv[1]))["predictions"]:
    for line in open(image["path"].replace("images", "labels").rsplit(".", 1)[0] + ".txt"):
        words = line.split()
        truth.setdefault(words[0], {}).setdefault(image["path"], []).append(list(map(float, words[4:8])))
    found += [(o["class"], o["confidence"], image["path"], o["box"]) for o in image["objects"]]

values = []
for name, images in truth.items():
    taken, hits = set(), []
    for _, score, path, box in sorted((f for f in found if f[0] == name), key=lambda f: -f[1]):
        best = max(((overlap(box, t), -k) for k, t in enumerate(images.get(path, []))), default=(0, 0))
        hit = best[0] >= least and (path, best[1]) not in taken
        if hit:
            taken.add((path, best[1]))
        hits.append(hit)
    objects = sum(map(len, images.values()))
    curve = [(sum(hits[:i + 1]) / objects, sum(hits[:i + 1]) / (i + 1)) for i in range(len(hits))]
    if sample:
        values.append(sum(max((p for r, p in curve if r >= k / 10 - 1e-12), default=0) for k in range(11)) / 11)
    else:
        recalls = sorted({r for r, _ in curve})
        values.append(sum((r - before) * max(p for q, p in curve if q >= r) for before, r in zip([0] + recalls, recalls)))
print(sum(values) / len(values))
