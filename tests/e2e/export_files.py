"""Files for other programs, read by other programs.

export_files.py make FOLDER                      deploy.pth (torchvision's own initial weights), photo.png and a data set of two classes
export_files.py strict WEIGHTS STATE             safetensors into torchvision's SqueezeNet, strict=True; every number as in the PyTorch file STATE
export_files.py nvinfer CONFIG PHOTO INFER_JSON  what nvinfer would compute, by OpenCV, against graft infer's probabilities
export_files.py calibrated CONFIG FOLDER         the calibration cache's scale of the input, from the images in FOLDER
export_files.py ncnn TABLE STATE CACHE           weight and input scales from their definition
export_files.py cache CACHE ONNX                 every name of the cache is a tensor of the ONNX file
export_files.py darknet CFG WEIGHTS PHOTO WANT   darknet's probabilities of exported files are those of the original ones
"""
import json
import os
import struct
import sys

import numpy as np


def make(folder):
    import torch
    import torchvision
    from PIL import Image
    torch.manual_seed(5)
    torch.save(torchvision.models.squeezenet1_1(num_classes=2).state_dict(), os.path.join(folder, "deploy.pth"))
    random = np.random.default_rng(6)
    for part, count in (("train", 8), ("val", 4)):
        for i in range(count):
            for label, name in enumerate(("cat", "dog")):
                os.makedirs(os.path.join(folder, "set", part, name), exist_ok=True)
                tile = random.integers(0, 128 + 127 * label, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(tile).resize((64, 64)).save(os.path.join(folder, "set", part, name, f"{i}.png"))
    Image.fromarray(random.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(os.path.join(folder, "photo.png"))


def strict(weights, state):
    import torch
    import torchvision
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    from import_files import read_safetensors
    network, want = torchvision.models.squeezenet1_1(num_classes=2), torch.load(state)
    network.load_state_dict(read_safetensors(weights), strict=True)
    for name, value in network.state_dict().items():
        assert torch.equal(value, want[name]), name


def confidences(path):
    top = json.load(open(path))["predictions"][0]["top"]
    return {c["class"]: c["confidence"] for c in top}


def nvinfer(config, photo, inferred):
    import cv2
    folder = os.path.dirname(config)
    keys = dict(line.strip().split("=", 1) for line in open(config) if "=" in line and line[0] != "#")
    assert keys["network-type"] == "1" and keys["network-mode"] == "0"
    channels, height, width = map(int, keys["infer-dims"].split(";"))
    # nvinfer: y = net-scale-factor * (x - offsets), planes of the colour format's order (0: RGB)
    picture = cv2.imread(photo)
    assert picture.shape == (height, width, channels)
    if keys["model-color-format"] == "0":
        picture = picture[:, :, ::-1]
    offsets = np.array([float(v) for v in keys["offsets"].split(";")])
    x = (float(keys["net-scale-factor"]) * (picture.astype(np.float64) - offsets)).astype(np.float32)
    net = cv2.dnn.readNetFromONNX(os.path.join(folder, keys["onnx-file"]))
    net.setInput(np.ascontiguousarray(x.transpose(2, 0, 1)[None]))
    out = net.forward(keys["output-blob-names"]).reshape(-1)
    names = open(os.path.join(folder, keys["labelfile-path"])).read().strip().split(";")
    have = confidences(inferred)
    assert len(names) == len(out) == len(have)
    error = max(abs(have[n] - p) for n, p in zip(names, out))
    assert abs(out.sum() - 1) < 1e-5 and error < 1e-5, error  # float32, 26 layers, probabilities
    assert abs(out[0] - out[1]) > 1e-3  # else a wrong input would pass too
    print(f"largest difference of a probability: {error:.2g}")


def read_cache(path):
    lines = open(path).read().splitlines()[1:]
    return {name: struct.unpack(">f", bytes.fromhex(bits))[0] for name, bits in (line.rsplit(": ", 1) for line in lines)}


def calibrated(config, folder):
    """The scale of the input is that of what nvinfer feeds: greatest magnitude of y over the images / 127."""
    import glob
    from PIL import Image
    keys = dict(line.strip().split("=", 1) for line in open(config) if "=" in line and line[0] != "#")
    offsets = np.array([float(v) for v in keys["offsets"].split(";")])
    images = glob.glob(os.path.join(folder, "*", "*.png"))
    greatest = max(np.abs(float(keys["net-scale-factor"]) * (np.array(Image.open(f)).astype(float) - offsets)).max() for f in images)
    scale = read_cache(os.path.join(os.path.dirname(config), keys["int8-calib-file"]))["image"]
    assert len(images) == 16 and abs(scale / (greatest / 127) - 1) < 1e-6, (scale, greatest / 127)


def ncnn(table, state, cache):
    import torch
    want, scales = torch.load(state), read_cache(cache)
    rows = {line.split()[0]: np.array(line.split()[1:], float) for line in open(table)}
    layers = [k[:-len(".weight")] for k in want if k.endswith(".weight")]
    assert len(rows) == 2 * len(layers)
    previous = {"features.0": "image"}
    for layer in layers:
        greatest = want[layer + ".weight"].abs().flatten(1).max(1).values.numpy()
        assert np.allclose(rows[layer + "_param_0"], 127 / greatest, rtol=1e-6), layer
        assert len(rows[layer]) == 1
        if layer in previous:
            assert np.isclose(rows[layer][0], 1 / scales[previous[layer]], rtol=1e-6), layer
        if "expand" in layer:
            squeeze = layer[:layer.index(".expand")] + ".squeeze"
            assert np.isclose(rows[layer][0], 1 / scales[squeeze], rtol=1e-6), layer


def cache_names(cache, onnx_file):
    import onnx
    graph = onnx.load(onnx_file).graph
    known = {i.name for i in graph.input} | {name for node in graph.node for name in node.output}
    scales = read_cache(cache)
    assert scales and all(s > 0 for s in scales.values())
    assert not scales.keys() - known, sorted(scales.keys() - known)


def darknet(cfg, weights, photo, want):
    from PIL import Image
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    from import_files import darknet_scores
    expected = np.loadtxt(want).astype(np.float32)
    # the last layer may have become a connected one, which sums in another order
    error = np.abs(darknet_scores(cfg, weights, np.array(Image.open(photo)), len(expected)) - expected).max()
    assert error < 1e-6, error


if __name__ == "__main__":
    {"make": make, "strict": strict, "nvinfer": nvinfer, "calibrated": calibrated, "ncnn": ncnn, "cache": cache_names, "darknet": darknet}[sys.argv[1]](*sys.argv[2:])
