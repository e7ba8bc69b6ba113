"""Files that others write, and what must be in the model that graft makes of them.

import_files.py make FOLDER     PyTorch, safetensors and darknet files, by PyTorch, torchvision and Debian's darknet
import_files.py same MODEL WANT every tensor of the safetensors file MODEL equals the one of the PyTorch file WANT, to the bit
import_files.py scores JSON WANT   probabilities of `graft infer --json` against darknet's
"""
import ctypes
import json
import os
import struct
import sys

import numpy as np
import torch
import torchvision

TYPES = {"F32": np.float32, "F16": np.float16, "F64": np.float64, "I64": np.int64}


def read_safetensors(path):
    data = open(path, "rb").read()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    body = memoryview(data)[8 + length:]
    return {name: torch.from_numpy(np.frombuffer(body[e["data_offsets"][0]:e["data_offsets"][1]], TYPES[e["dtype"]]).reshape(e["shape"]).copy())
            for name, e in header.items()}


def write_safetensors(path, tensors, meta):
    header, at, parts = {"__metadata__": meta}, 0, []
    for name, t in tensors.items():
        raw = t.contiguous().numpy().tobytes()
        kind = {torch.float32: "F32", torch.float16: "F16", torch.int64: "I64"}[t.dtype]
        header[name] = {"dtype": kind, "shape": list(t.shape), "data_offsets": [at, at + len(raw)]}
        at += len(raw)
        parts.append(raw)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + b"".join(parts))


def random_state(model, seed):
    generator = torch.Generator().manual_seed(seed)
    return type(model.state_dict())((k, torch.rand(v.shape, generator=generator) + 0.1 if v.is_floating_point() else v)
                                    for k, v in model.state_dict().items())


def make_pytorch(folder):
    def save(value, name):
        torch.save(value, os.path.join(folder, name))

    squeezenet = torchvision.models.squeezenet1_1(num_classes=7)
    state = random_state(squeezenet, 1)
    save(state, "plain.pth")
    save({"epoch": 3, "best": 0.5, "name": "x", "state_dict": {"module." + k: v for k, v in state.items()},
          "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.1, "params": [0, 1]}]}}, "checkpoint.pth")
    save({k: v.to(memory_format=torch.channels_last) if v.dim() == 4 else v for k, v in state.items()}, "strided.pth")
    save({k: torch.nn.Parameter(v) for k, v in state.items()}, "parameters.pth")
    half = {k: v.half() for k, v in state.items()}
    save(half, "half.pth")
    save({k: v.float() for k, v in half.items()}, "half.want.pth")
    brain = {k: v.bfloat16() for k, v in state.items()}
    save(brain, "bfloat.pth")
    save({k: v.float() for k, v in brain.items()}, "bfloat.want.pth")
    save({k: v.double() for k, v in state.items()}, "double.pth")
    save({k: v for k, v in state.items() if k != "features.3.squeeze.bias"}, "missing.pth")
    save(dict(state, **{"features.3.squeeze.bias": torch.zeros(5), "extra": torch.zeros(2)}), "reshaped.pth")
    save(squeezenet, "whole.pth")
    save({"a": {"w": torch.zeros(1)}, "b": {"w": torch.zeros(1)}}, "two.pth")
    torch.save(state, os.path.join(folder, "old.pth"), _use_new_zipfile_serialization=False)
    data = bytearray(open(os.path.join(folder, "plain.pth"), "rb").read())
    open(os.path.join(folder, "cut.pth"), "wb").write(data[:-100])
    data[len(data) // 2] ^= 1
    open(os.path.join(folder, "flipped.pth"), "wb").write(data)
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), os.path.join(folder, "script.pth"))
    resnet = torchvision.models.resnet18(num_classes=5)
    resnet.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
    save(random_state(resnet, 2), "small_stem.pth")


def make_timm(folder):
    """timm lists the tensors of a MobileNet v2 in torchvision's order under names of its own."""
    here = os.path.dirname(os.path.abspath(__file__))
    rows = [line.split() for line in open(os.path.join(here, "../golden/timm_mobilenetv2_050.txt")) if line[0] != "#"]
    state = random_state(torchvision.models.mobilenet_v2(width_mult=0.5), 3)
    assert len(rows) == len(state)
    tensors = {}
    for row, value in zip(rows, state.values()):
        assert (row[1] if len(row) > 1 else "") == "x".join(map(str, value.shape)), row
        tensors[row[0]] = value
    write_safetensors(os.path.join(folder, "timm.safetensors"), tensors,
                      {"crop": "160", "mean": "0.5,0.5,0.5", "std": "0.5,0.5,0.5", "crop_pct": "0.9", "interpolation": "bicubic"})
    torch.save(state, os.path.join(folder, "timm.want.pth"))


# Every kind of layer that is read, on an image of 32 x 24.
CFG = """[net]
width=32
height=24
channels=3

[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky

[maxpool]
size=2
stride=1

[convolutional]
batch_normalize=1
filters=8
size=1
stride=1
pad=1
activation=leaky

[shortcut]
from=-3
activation=leaky

[maxpool]
size=3
stride=2

[convolutional]
filters=12
size=3
pad=1
groups=4
activation=relu

[upsample]
stride=2

[route]
layers=-1,3

[dropout]
probability=.5

[convolutional]
filters=10
size=3
stride=2
padding=1
activation=logistic

[connected]
output=9
activation=linear

[softmax]
groups=1
"""


def darknet_scores(cfg, weights, picture, classes):
    """Probabilities by Debian's darknet; None where it is not installed."""
    try:
        lib = ctypes.CDLL("/usr/lib/darknet/libdarknet.so")
    except OSError:
        return None
    lib.load_network.restype = ctypes.c_void_p
    lib.load_network.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int]
    lib.set_batch_network.argtypes = [ctypes.c_void_p, ctypes.c_int]
    lib.network_predict.restype = ctypes.POINTER(ctypes.c_float)
    lib.network_predict.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_float)]
    net = lib.load_network(cfg.encode(), weights.encode(), 0)
    lib.set_batch_network(net, 1)
    planes = np.ascontiguousarray(picture.transpose(2, 0, 1).astype(np.float32) / 255)
    return np.ctypeslib.as_array(lib.network_predict(net, planes.ctypes.data_as(ctypes.POINTER(ctypes.c_float))), (classes,))


def darknet_weights(path, layers, random, gain=1.5):
    """layers: (filters, fan in, batch normalisation?) in order; gain: deviation of the weights times sqrt(fan in)."""
    parts = []
    for filters, fan_in, normalised in layers:
        parts.append(random.normal(0, 0.3, filters))
        if normalised:
            parts += [random.uniform(0.5, 1.5, filters), random.normal(0, 0.3, filters), random.uniform(0.2, 2, filters)]
        parts.append(random.normal(0, gain / fan_in ** 0.5, filters * fan_in))
    with open(path, "wb") as f:
        f.write(struct.pack("<5i", 0, 2, 5, 0, 0))
        f.write(np.concatenate(parts).astype("<f4").tobytes())


def make_darknet(folder):
    from PIL import Image as Picture
    random = np.random.default_rng(4)
    path = {name: os.path.join(folder, "net." + name) for name in ("cfg", "weights", "png", "scores")}
    open(path["cfg"], "w").write(CFG)
    darknet_weights(path["weights"], ((8, 27, True), (8, 8, True), (12, 18, False), (10, 180, False), (9, 10 * 6 * 8, False)), random)
    picture = random.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    Picture.fromarray(picture).save(path["png"])
    scores = darknet_scores(path["cfg"], path["weights"], picture, 9)
    if scores is not None:
        np.savetxt(path["scores"], scores)


def make_darknet_backbones(folder):
    """The cfg files that Debian's darknet ships, at a quarter of the channels and 64 x 64 pixels."""
    from PIL import Image as Picture
    random = np.random.default_rng(8)
    picture = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Picture.fromarray(picture).save(os.path.join(folder, "side64.png"))
    for name in ("darknet19", "darknet53"):
        source = f"/usr/share/darknet/cfg/{name}.cfg"
        if not os.path.exists(source):
            return
        text, layers, channels, layer = [], [], 3, {}
        for line in open(source).read().split("\n") + ["[end]"]:
            line = line.strip()
            if line.startswith("["):
                if layer.get("kind") == "[convolutional]":
                    normalised = layer.get("batch_normalize") == "1"
                    layers.append((int(layer["filters"]), channels * int(layer["size"]) ** 2, normalised))
                    channels = int(layer["filters"])
                layer = {"kind": line}
            elif "=" in line and line[0] != "#":
                key, value = (part.strip() for part in line.split("=", 1))
                if key in ("width", "height"):
                    value = "64"
                if key == "filters":
                    value = "11" if value == "1000" else str(int(value) // 4)
                layer[key] = value
                line = f"{key}={value}"
            text.append(line)
        path = {kind: os.path.join(folder, f"{name}.{kind}") for kind in ("cfg", "weights", "scores")}
        open(path["cfg"], "w").write("\n".join(text[:-1]) + "\n")
        darknet_weights(path["weights"], layers, random, {"darknet19": 1.5, "darknet53": 0.5}[name])
        scores = darknet_scores(path["cfg"], path["weights"], picture, 11)
        if scores is not None:
            assert scores.max() < 0.9  # saturated probabilities would hide a wrong network
            np.savetxt(path["scores"], scores)


def same(model, want):
    have = {k: v for k, v in read_safetensors(model).items() if not k.endswith("num_batches_tracked")}
    state = torch.load(want)
    state = {k: v.detach().float() for k, v in state.items() if not k.endswith("num_batches_tracked")}
    assert have.keys() == state.keys(), sorted(have.keys() ^ state.keys())[:5]
    for name, value in state.items():
        assert have[name].dtype == torch.float32 and torch.equal(have[name], value), name


def scores(result, want):
    classes = json.load(open(result))["predictions"][0]["top"]
    expected = np.loadtxt(want)
    assert len(classes) == len(expected)
    error = max(abs(c["confidence"] - expected[int(c["class"].split()[1])]) for c in classes)
    # float32 sums in another order; of Debian's darknet, whose epsilon stands outside the root, as --epsilon outside reads it
    assert error < 1e-5, error
    print(f"largest difference of a probability: {error:.2g}")


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make_pytorch(sys.argv[2])
        make_timm(sys.argv[2])
        make_darknet(sys.argv[2])
        make_darknet_backbones(sys.argv[2])
    else:
        {"same": same, "scores": scores}[sys.argv[1]](*sys.argv[2:])
