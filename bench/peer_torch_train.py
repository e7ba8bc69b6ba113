#!/usr/bin/python3
"""Times a training step of Debian's PyTorch on a torchvision network, SGD with momentum, in one layout.

    peer_torch_train.py resnet18 16 nchw|nhwc SECONDS
"""
import os
import sys
import time
import warnings

import torch
import torchvision

warnings.filterwarnings("ignore")
arch, batch, layout, seconds = sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
torch.set_num_threads(os.cpu_count())
memory_format = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}[layout]
torch.manual_seed(1)
model = getattr(torchvision.models, arch)().train().to(memory_format=memory_format)
optimiser = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9, weight_decay=1e-4)
image = torch.randn(batch, 3, 224, 224).to(memory_format=memory_format)
label = torch.randint(1000, (batch,))
times = []
begin = time.perf_counter()
while len(times) < 6 or time.perf_counter() - begin < seconds:
    start = time.perf_counter()
    optimiser.zero_grad(set_to_none=True)
    torch.nn.functional.cross_entropy(model(image), label).backward()
    optimiser.step()
    times.append(time.perf_counter() - start)
times = sorted(times[3:])
median = times[len(times) // 2]
print(f"torch {arch} {layout} batch {batch} {1000 * median:.2f} ms {batch / median:.2f} images/s", flush=True)
