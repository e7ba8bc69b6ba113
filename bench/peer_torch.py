#!/usr/bin/python3
"""Times Debian's PyTorch, eager, on a torchvision network in both layouts; with --onnx FILE writes the network instead.

    peer_torch.py resnet18 16 [--threads 2] [--seconds 2] [--onnx resnet18.onnx]
"""
import argparse
import time
import warnings

import torch
import torchvision

warnings.filterwarnings("ignore")
parser = argparse.ArgumentParser()
parser.add_argument("arch")
parser.add_argument("batch", type=int)
parser.add_argument("--threads", type=int, default=0)
parser.add_argument("--seconds", type=float, default=2)
parser.add_argument("--onnx")
args = parser.parse_args()
if args.threads:
    torch.set_num_threads(args.threads)
torch.manual_seed(1)
model = getattr(torchvision.models, args.arch)().eval()
image = torch.randn(args.batch, 3, 224, 224)

if args.onnx:
    torch.onnx.export(model, image, args.onnx, input_names=["image"], output_names=["scores"], opset_version=13,
                      dynamic_axes={"image": {0: "n"}, "scores": {0: "n"}})
    raise SystemExit

for layout, memory_format in (("nchw", torch.contiguous_format), ("nhwc", torch.channels_last)):
    model, image = model.to(memory_format=memory_format), image.to(memory_format=memory_format)
    times = []
    with torch.no_grad():
        for _ in range(3):
            model(image)
        begin = time.perf_counter()
        while len(times) < 5 or time.perf_counter() - begin < args.seconds:
            start = time.perf_counter()
            model(image)
            times.append(time.perf_counter() - start)
    times.sort()
    median = times[len(times) // 2]
    print(f"torch {args.arch} {layout} batch {args.batch} {1000 * median:.3f} ms {args.batch / median:.1f} images/s", flush=True)
