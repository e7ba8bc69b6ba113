"""Three classes that are easy to tell apart: a disc, a square, stripes; random place, size and colours; 32x32 pixels.

    make_shapes.py FOLDER [TRAIN VAL]      images per class, 60 and 40
"""
import os, random, sys
train, val = map(int, sys.argv[2:] or (60, 40))
random.seed(5)
for part, count in (("train", train), ("val", val)):
    for name in ("disc", "square", "stripes"):
        os.makedirs(f"{sys.argv[1]}/{part}/{name}")
        for k in range(count):
            cx, cy, r = random.randrange(10, 22), random.randrange(10, 22), random.randrange(5, 9)
            ink, paper = [[random.randrange(256) for _ in range(3)] for _ in range(2)]
            ink[k % 3] = (paper[k % 3] + 128) % 256
            inside = {"disc": lambda x, y: (x - cx) ** 2 + (y - cy) ** 2 <= r * r,
                      "square": lambda x, y: abs(x - cx) < r and abs(y - cy) < r,
                      "stripes": lambda x, y: (x + cx) // 3 % 2 == 0}[name]
            pixels = bytes(v for y in range(32) for x in range(32) for v in (ink if inside(x, y) else paper))
            with open(f"{sys.argv[1]}/{part}/{name}/{k:02}.ppm", "wb") as f:
                f.write(b"P6\n32 32\n255\n" + pixels)
