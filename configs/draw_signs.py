"""Draws the data set of `make demo-detect`: signs of four kinds on uneven ground, one to five in a picture, with KITTI labels. They turn a
little, may hide one another in part and may leave the picture; no two pictures are the same, and every run draws the same ones.

    draw_signs.py FOLDER [TRAIN VAL TEST]      pictures, 400, 80 and 120
"""
import math
import os
import random
import sys

WIDTH, HEIGHT = 160, 120
CORNERS = {"triangle": 3, "square": 4, "octagon": 8, "star": 10}


def outline(kind, x, y, radius, turn):
    """The corners of a sign; a star's lie on two circles in turn."""
    count, points = CORNERS[kind], []
    for i in range(count):
        r = radius * (0.45 if kind == "star" and i % 2 else 1)
        angle = turn + 2 * math.pi * (i + (0.5 if kind in ("square", "octagon") else 0)) / count - math.pi / 2
        points.append((x + r * math.cos(angle), y + r * math.sin(angle)))
    return points


def fill(rows, points, ink):
    """The pixels whose centres lie inside, by even and odd crossings of each row."""
    for row in range(max(0, int(min(y for _, y in points))), min(HEIGHT, int(max(y for _, y in points)) + 1)):
        middle, crossings = row + 0.5, []
        for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1]):
            if (y0 <= middle) != (y1 <= middle):
                crossings.append(x0 + (middle - y0) / (y1 - y0) * (x1 - x0))
        crossings.sort()
        for left, right in zip(crossings[::2], crossings[1::2]):
            first, end = max(0, math.ceil(left - 0.5)), min(WIDTH, math.ceil(right - 0.5))
            if first < end:
                rows[row][3 * first:3 * end] = bytes(ink) * (end - first)


def ground():
    """A gradient from one dull colour to another, with blotches."""
    top, bottom = ([random.randrange(60, 180) for _ in range(3)] for _ in range(2))
    rows = []
    for y in range(HEIGHT):
        part = y / (HEIGHT - 1)
        colour = [min(255, max(0, int(a + part * (b - a)) + random.randrange(-6, 7))) for a, b in zip(top, bottom)]
        rows.append(bytearray(bytes(colour) * WIDTH))
    for _ in range(random.randrange(10, 30)):
        x, y, colour = random.randrange(WIDTH), random.randrange(HEIGHT), [random.randrange(50, 190) for _ in range(3)]
        radius = random.uniform(2, 12)
        fill(rows, [(x + radius * random.uniform(0.6, 1.4) * math.cos(a), y + radius * random.uniform(0.6, 1.4) * math.sin(a))
                    for a in (i * math.pi / 3 for i in range(6))], colour)
    return rows


def place(taken):
    """Centre and radius of a sign whose centre no other one hides; None where there is no room."""
    for _ in range(30):
        radius = random.uniform(9, 32)
        x, y = random.uniform(4, WIDTH - 4), random.uniform(4, HEIGHT - 4)
        if all(math.hypot(x - u, y - v) > max(radius, r) + 0.4 * min(radius, r) for u, v, r in taken):
            return x, y, radius
    return None


def picture():
    rows, labels, taken = ground(), [], []
    for _ in range(random.randrange(1, 6)):
        spot = place(taken)
        if spot is None:
            break
        taken.append(spot)
        x, y, radius = spot
        kind, turn = random.choice(list(CORNERS)), random.uniform(-0.3, 0.3)
        ink = [random.choice((random.randrange(0, 50), random.randrange(200, 256))) for _ in range(3)]
        fill(rows, outline(kind, x, y, radius, turn), [255 - c for c in ink])
        fill(rows, outline(kind, x, y, radius * 0.75, turn), ink)
        points = outline(kind, x, y, radius, turn)
        left, right = max(0, min(p[0] for p in points)), min(WIDTH, max(p[0] for p in points))
        top, bottom = max(0, min(p[1] for p in points)), min(HEIGHT, max(p[1] for p in points))
        labels.append(f"{kind} 0 0 0 {left:.2f} {top:.2f} {right:.2f} {bottom:.2f} 0 0 0 0 0 0 0\n")
    return rows, labels


def main():
    folder = sys.argv[1]
    counts = [int(n) for n in sys.argv[2:]] or [400, 80, 120]
    random.seed(11)
    for part, count in zip(("train", "val", "test"), counts):
        for kind in ("images", "labels"):
            os.makedirs(f"{folder}/{part}/{kind}", exist_ok=True)
        for i in range(count):
            rows, labels = picture()
            with open(f"{folder}/{part}/images/{i:03}.ppm", "wb") as f:
                f.write(b"P6 %d %d 255\n" % (WIDTH, HEIGHT) + b"".join(rows))
            with open(f"{folder}/{part}/labels/{i:03}.txt", "w") as f:
                f.writelines(labels)


main()
