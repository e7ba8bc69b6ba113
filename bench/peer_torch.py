#!/usr/bin/python3
"""Times Debian's PyTorch, eager, on one of our networks (torchvision's or papers.py's) in both layouts; with --onnx FILE writes the network instead.

    peer_torch.py resnet18 16 [--threads 2] [--seconds 2] [--processor] [--onnx resnet18.onnx]
"""
import argparse
import pathlib
import sys
import time
import warnings

import torch
import torchvision

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests/golden"))
import papers

warnings.filterwarnings("ignore")
parser = argparse.ArgumentParser()
parser.add_argument("arch")
parser.add_argument("batch", type=int)
parser.add_argument("--threads", type=int, default=0)
parser.add_argument("--seconds", type=float, default=2)
parser.add_argument("--processor", action="store_true", help="processor time instead of the clock's")
parser.add_argument("--onnx")
args = parser.parse_args()
if args.threads:
    torch.set_num_threads(args.threads)
torch.manual_seed(1)
OTHERS = {"resnet10": lambda: torchvision.models.resnet.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1]),
          "vgg16": torchvision.models.vgg16_bn, "vgg19": torchvision.models.vgg19_bn,
          "googlenet": lambda: torchvision.models.googlenet(init_weights=False, aux_logits=False),
          "mobilenet_v1": lambda: papers.MobileNetV1(1000), "darknet19": lambda: papers.DarkNet19(1000),
          "darknet53": lambda: papers.DarkNet53(1000)}
model = (OTHERS.get(args.arch) or getattr(torchvision.models, args.arch))().eval()
image = torch.randn(args.batch, 3, 224, 224)

if args.onnx:
    torch.onnx.export(model, image, args.onnx, input_names=["image"], output_names=["scores"], opset_version=13,
                      dynamic_axes={"image": {0: "n"}, "scores": {0: "n"}})
    raise SystemExit

clock = time.process_time if args.processor else time.perf_counter
for layout, memory_format in (("nchw", torch.contiguous_format), ("nhwc", torch.channels_last)):
    model, image = model.to(memory_format=memory_format), image.to(memory_format=memory_format)
    times = []
    with torch.no_grad():
        for _ in range(3):
            model(image)
        begin = time.perf_counter()
        while len(times) < 5 or time.perf_counter() - begin < args.seconds:
            start = clock()
            model(image)
            times.append(clock() - start)
    times.sort()
    median = times[len(times) // 2]
    print(f"torch {args.arch} {layout} batch {args.batch} {1000 * median:.3f} ms {args.batch / median:.1f} images/s, "
          f"shortest {args.batch / times[0]:.1f} images/s", flush=True)
