"""Compares Graft's DarkNet-19 and 53 with Debian's darknet itself: its own cfg files (a quarter of the channels, small images), random weights in
its format, imported by `graft import`, the class scores of libdarknet. Both are measured against float64 PyTorch (papers.py); Graft may err
at most twice as much as darknet does. That darknet divides by sqrt(variance) + 1e-6.

    darknet.py GRAFT GOLDEN_RUN FOLDER
"""
import ctypes
import os
import re
import struct
import subprocess
import sys

import numpy as np
import torch

import papers
import plain_safetensors

CLASSES, BATCH, SIDE, WIDTH = 11, 4, 64, 0.25
CONFIGS, LIBRARY = "/usr/share/darknet/cfg", "/usr/lib/darknet/libdarknet.so"


def write_cfg(name, path):
    """The network as it is published, but for its size: the last convolution has the classes."""
    text = open(f"{CONFIGS}/{name}.cfg").read()
    filters = re.findall(r"filters *= *(\d+)", text)
    assert filters[-1] == "1000"
    scaled = iter([str(int(int(n) * WIDTH)) for n in filters[:-1]] + [str(CLASSES)])
    text = re.sub(r"(filters *= *)\d+", lambda m: m[1] + next(scaled), text)
    text = re.sub(r"(?m)^(width|height) *=.*", lambda m: f"{m[1]}={SIDE}", text)
    text = re.sub(r"(?m)^(batch|subdivisions) *=.*", lambda m: f"{m[1]}=1", text)
    open(path, "w").write(text)


def randomise(model, generator):
    for m in model.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.weight.data.uniform_(0.5, 1.5, generator=generator)
            m.bias.data.normal_(0, 0.2, generator=generator)
            m.running_mean.normal_(0, 0.2, generator=generator)
            m.running_var.uniform_(0.2, 1.5, generator=generator)


def write_weights(model, path):
    """Layers in the order of the network, which is that of the module: biases, then scales, means, variances, then weights."""
    layers = [m for m in model.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.BatchNorm2d, torch.nn.Linear))]
    with open(path, "wb") as f:
        f.write(struct.pack("<5i", 0, 2, 5, 0, 0))
        for layer, after in zip(layers, layers[1:] + [None]):
            if isinstance(layer, torch.nn.BatchNorm2d):
                continue
            parts = [layer.bias, layer.weight]
            if isinstance(after, torch.nn.BatchNorm2d):
                parts = [after.bias, after.weight, after.running_mean, after.running_var, layer.weight]
            f.write(b"".join(p.detach().numpy().astype("<f4").tobytes() for p in parts))


def exact(model, images):
    """In float64; the epsilon moves into the variance: (sqrt(v) + e)^2."""
    model = model.double().eval()
    for m in model.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.eps = 0
            m.running_var.copy_((m.running_var.sqrt() + np.float64(np.float32(1e-6))) ** 2)
    with torch.no_grad():
        return torch.log_softmax(model(images.double()), 1).numpy()


def darknet(cfg, weights, images):
    lib = ctypes.CDLL(LIBRARY)
    lib.load_network.restype = ctypes.c_void_p
    lib.load_network.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int]
    lib.network_predict.restype = ctypes.POINTER(ctypes.c_float)
    lib.network_predict.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_float)]
    net = lib.load_network(cfg.encode(), weights.encode(), 0)
    rows = []
    for image in images:
        planes = np.ascontiguousarray(image.numpy())
        out = lib.network_predict(net, planes.ctypes.data_as(ctypes.POINTER(ctypes.c_float)))
        rows.append(np.log(np.ctypeslib.as_array(out, (CLASSES,)).astype(np.float64)))
    return np.array(rows)


def graft(program, tool, folder, name, images):
    path = [f"{folder}/{name}.{part}.safetensors" for part in ("imported", "batch", "results", "model")]
    options = [f"model.arch={name}", f"model.width={WIDTH}", f"model.input_width={SIDE}", f"model.input_height={SIDE}"]
    subprocess.run([program, "import", f"{folder}/{name}.weights", "--epsilon", "outside", "-o", path[0], *options], check=True,
                   stdout=subprocess.DEVNULL)
    targets = np.full((BATCH, CLASSES), 1 / CLASSES, np.float32)
    plain_safetensors.write(path[1], {"image": images.permute(0, 2, 3, 1).contiguous().numpy(), "targets": targets})
    subprocess.run([tool, name, *path, "1", options[1], "model.bn_epsilon=1e-12"], check=True)
    logits = plain_safetensors.read(path[2])[0]["evaluator.logits"].astype(np.float64)
    return torch.log_softmax(torch.from_numpy(logits), 1).numpy()


def main():
    program, tool, folder = sys.argv[1:]
    failures = 0
    for i, (name, make) in enumerate((("darknet19", papers.DarkNet19), ("darknet53", papers.DarkNet53))):
        generator = torch.Generator().manual_seed(i)
        torch.manual_seed(i)
        model = make(CLASSES, WIDTH)
        randomise(model, generator)
        images = torch.rand(BATCH, 3, SIDE, SIDE, generator=generator)
        cfg, weights = f"{folder}/{name}.cfg", f"{folder}/{name}.weights"
        write_cfg(name, cfg)
        write_weights(model, weights)
        theirs = darknet(cfg, weights, images)
        ours = graft(program, tool, folder, name, images)
        truth = exact(model, images)
        error, allowed = np.linalg.norm(ours - truth), np.linalg.norm(theirs - truth)
        spread = np.linalg.norm(truth - truth.mean())
        # Another network altogether would err as much as the scores spread.
        good = error <= 2 * allowed and allowed < 1e-4 * spread
        failures += not good
        print(f"{'ok' if good else 'not ok'} {i + 1} - {name}: error {error:.3g}, darknet's {allowed:.3g}, of {spread:.3g}", flush=True)
    os._exit(failures > 0)  # darknet has no way to free a network


main()
