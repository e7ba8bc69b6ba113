#!/usr/bin/python3
"""The same work as bench/data.c by a PyTorch DataLoader with torchvision's transforms, on one core.

    bench/peer_dataloader.py FOLDER [SECONDS]     FOLDER: class folders of JPEG files, or with train/ in it

One process does decoding and transforms (num_workers=0, the fairest single core: nothing is copied between processes), batches of
32. Prints one line: images per second of processor time, after every file was read once to fill the page cache.
"""
import os, sys, time

import torch
from torchvision import datasets, transforms

torch.set_num_threads(1)
folder = sys.argv[1]
seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 5.0
if os.path.isdir(os.path.join(folder, "train")):
    folder = os.path.join(folder, "train")
work = transforms.Compose([
    transforms.RandomResizedCrop(224, scale=(0.08, 1.0), ratio=(3.0 / 4.0, 4.0 / 3.0)),
    transforms.RandomHorizontalFlip(),
    transforms.ToTensor(),
    transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
])
data = datasets.ImageFolder(folder, work)
batches = torch.utils.data.DataLoader(data, batch_size=32, shuffle=True, num_workers=0, drop_last=True)
for path, _ in data.samples:
    with open(path, "rb") as f:
        f.read()
images, start = 0, time.process_time()
while time.process_time() - start < seconds:
    for x, _ in batches:
        images += len(x)
        if time.process_time() - start >= seconds:
            break
print("torchvision %.1f images/s of one core, 1 thread" % (images / (time.process_time() - start)))
