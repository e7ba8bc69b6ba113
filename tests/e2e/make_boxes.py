"""Discs and squares on noisy paper, one to three of them in a picture of 96x72 pixels, with KITTI labels.

    make_boxes.py FOLDER [TRAIN VAL]      pictures, 64 and 24
"""
import os, random, sys
WIDTH, HEIGHT = 96, 72
train, val = map(int, sys.argv[2:] or (64, 24))
random.seed(7)


def place(taken):
    """Centre and radius of an object that touches no other; None when there is no room."""
    for _ in range(50):
        r = random.randrange(8, 20)
        x, y = random.randrange(r + 1, WIDTH - r - 1), random.randrange(r + 1, HEIGHT - r - 1)
        if all(max(abs(x - u), abs(y - v)) > r + s + 2 for _, u, v, s in taken):
            return x, y, r
    return None


def picture():
    paper = [random.randrange(40, 216) for _ in range(3)]
    pixels = [[[c + random.randrange(-12, 13) for c in paper] for _ in range(WIDTH)] for _ in range(HEIGHT)]
    objects = []
    for _ in range(random.randrange(1, 4)):
        spot = place(objects)
        if not spot:
            break
        name, (cx, cy, r) = random.choice(("disc", "square")), spot
        objects.append((name, cx, cy, r))
        ink = [(c + 128) % 256 for c in paper]
        for y in range(cy - r, cy + r + 1):
            for x in range(cx - r, cx + r + 1):
                if name == "square" or (x - cx) ** 2 + (y - cy) ** 2 <= r * r:
                    pixels[y][x] = ink
    return pixels, objects


for part, count in (("train", train), ("val", val)):
    for folder in ("images", "labels"):
        os.makedirs(f"{sys.argv[1]}/{part}/{folder}")
    for k in range(count):
        pixels, objects = picture()
        with open(f"{sys.argv[1]}/{part}/images/{k:03}.ppm", "wb") as f:
            f.write(b"P6\n%d %d\n255\n" % (WIDTH, HEIGHT))
            f.write(bytes(min(max(c, 0), 255) for row in pixels for pixel in row for c in pixel))
        with open(f"{sys.argv[1]}/{part}/labels/{k:03}.txt", "w") as f:
            for name, x, y, r in objects:
                f.write(f"{name} 0.00 0 0.00 {x - r} {y - r} {x + r + 1} {y + r + 1} 0 0 0 0 0 0 0\n")
