"""Writes coco_average.txt: random detections and what pycocotools makes of them, the twelve figures of COCOeval (iouType = bbox).

    coco_average.py >tests/golden/coco_average.txt      with pycocotools (2.0.11 made the file that is here)

A line is `case CLASSES IMAGES`, `object IMAGE CLASS X0 Y0 X1 Y1 AREA CROWD`, `detection IMAGE CLASS X0 Y0 X1 Y1 SCORE` or `figures` and
twelve numbers, -1 for what is not there. All numbers but those are exact in float32, so that overlaps that equal a threshold and
equal scores are what they seem.
"""
import contextlib
import io
import random

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def draw_box(r, size):
    w, h = (r.randrange(4, size) for _ in range(2))
    x, y = (r.randrange(0, 200) for _ in range(2))
    return [x / 2, y / 2, x / 2 + w, y / 2 + h]


def draw_case(r, classes, images, objects, detections, size):
    truth, found = [], []
    for image in range(1, images + 1):
        for _ in range(r.randrange(objects + 1)):
            box, part = draw_box(r, size), r.choice((1, 1, 0.5))
            # The last class has no objects, the one before it only crowds.
            kind = r.randrange(max(1, classes - 1))
            crowd = int(r.random() < 0.15 or (kind == classes - 2 and classes > 2))
            area = part * (box[2] - box[0]) * (box[3] - box[1])
            truth.append((image, kind, box, area, crowd))
        near = [t for t in truth if t[0] == image]
        for _ in range(r.randrange(detections + 1)):
            kind, score = r.randrange(classes), r.randrange(1, 33) / 32
            box = draw_box(r, size)
            if near and r.random() < 0.7:  # beside an object, often of its class
                _, other, box, _, _ = r.choice(near)
                kind = other if r.random() < 0.8 else kind
                step = max(1, round((box[2] - box[0]) / 8))
                box = [b + r.randrange(-step, step + 1) / 2 for b in box]
                if box[2] <= box[0] or box[3] <= box[1]:
                    continue
            found.append((image, kind, box, score))
    return truth, found


def judge(classes, images, truth, found):
    def corners(b):
        return [b[0], b[1], b[2] - b[0], b[3] - b[1]]
    data = COCO()
    data.dataset = {
        "images": [{"id": i} for i in range(1, images + 1)], "categories": [{"id": k} for k in range(classes)],
        "annotations": [{"id": i + 1, "image_id": t[0], "category_id": t[1], "bbox": corners(t[2]), "area": t[3], "iscrowd": t[4]}
                        for i, t in enumerate(truth)]}
    data.createIndex()
    results = data.loadRes([{"image_id": d[0], "category_id": d[1], "bbox": corners(d[2]), "score": d[3]} for d in found])
    e = COCOeval(data, results, "bbox")
    e.evaluate()
    e.accumulate()
    e.summarize()
    return e.stats


def main():
    r = random.Random(12)
    for classes, images, objects, detections, size in ((1, 1, 3, 6, 60), (3, 6, 8, 20, 50), (4, 10, 12, 40, 150), (2, 2, 30, 300, 80),
                                                       (5, 12, 5, 12, 120), (3, 4, 20, 60, 24)):
        truth, found = draw_case(r, classes, images, objects, detections, size)
        with contextlib.redirect_stdout(io.StringIO()):
            figures = judge(classes, images, truth, found)
        print("case", classes, images)
        for image, kind, box, area, crowd in truth:
            print("object", image - 1, kind, *box, area, crowd)
        for image, kind, box, score in found:
            print("detection", image - 1, kind, *box, score)
        print("figures", *(repr(float(f)) for f in figures))


main()
