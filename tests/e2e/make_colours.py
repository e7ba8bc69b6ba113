"""make_colours.py FOLDER: three classes of 16x16 noise with more red, more green, more blue; 16 images each to train on, 8 to validate."""
import os
import random
import sys

random.seed(5)
for part, count in (("train", 16), ("val", 8)):
    for k in range(3):
        os.makedirs(f"{sys.argv[1]}/{part}/class{k}")
        for i in range(count):
            pixels = bytes(random.randrange(150) + (100 if ch == k else 0) for _ in range(256) for ch in range(3))
            with open(f"{sys.argv[1]}/{part}/class{k}/{i:02}.ppm", "wb") as f:
                f.write(b"P6\n16 16\n255\n" + pixels)
