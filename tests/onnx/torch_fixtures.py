"""Makes tests/onnx/torch/*: networks as the default exporter of PyTorch writes them, with scores by onnxruntime.

    python torch_fixtures.py    # with torch, torchvision, onnx, onnxruntime of PyPI; versions: torch/README

Channels are an eighth of torchvision's, so that the files are small. NAME.onnx is the exporter's but for notes about
the exporting program's source (stack traces, types of values). Its weights lie in NAME.onnx.data, which is not kept:
NAME.parts says for every tensor in it where it begins, how many f32 it has and how large they are, and value k is

    scale * ((mix(k) >> 8) / 2^24 - 0.5), with mix(k): k ^= k >> 16, k *= 0x7feb352d, k ^= k >> 15, k *= 0x846ca68b,
                                           k ^= k >> 16, all of 32 bits

exact in f32, since scales are powers of two. Pixel k of image i, [c, h, w], is the same of 1000003 * (i + 1) + k, with
scales 4 and 32. NAME.scores holds onnxruntime's scores of the images, one line each.
"""
import os
import warnings

import numpy as np
import onnx
import onnxruntime
import torch
import torchvision

warnings.filterwarnings("ignore")
FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "torch")
IMAGES, SIDE, CLASSES = 2, 64, 6


def numbers(first, count, scale):
    k = np.arange(first, first + count, dtype=np.uint64)
    for shift, factor in (16, 0x7FEB352D), (15, 0x846CA68B), (16, 1):
        k = (k ^ k >> np.uint64(shift)) * np.uint64(factor) % np.uint64(2**32)
    return (scale * ((k >> np.uint64(8)).astype(np.float64) / 2**24 - 0.5)).astype("<f4")


def narrow(model, by):
    """Every layer with a part of its channels."""
    part = lambda n: n if n in (3, CLASSES) else n // by
    for name, m in list(model.named_modules()):
        owner = model.get_submodule(name.rpartition(".")[0])
        if isinstance(m, torch.nn.Conv2d):
            new = torch.nn.Conv2d(part(m.in_channels), part(m.out_channels), m.kernel_size, m.stride, m.padding,
                                  bias=m.bias is not None)
        elif isinstance(m, torch.nn.BatchNorm2d):
            new = torch.nn.BatchNorm2d(part(m.num_features), m.eps)
        elif isinstance(m, torch.nn.Linear):
            new = torch.nn.Linear(part(m.in_features), part(m.out_features))
        else:
            continue
        setattr(owner, name.rpartition(".")[2], new)
    return model


def random_statistics(model):
    for m in model.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.running_mean.normal_(0, 0.2)
            m.running_var.uniform_(0.5, 1.5)
            m.bias.data.normal_(0, 0.2)
    return model.eval()


def export(name, model, batch, gain=2, **options):
    path = f"{FOLDER}/{name}.onnx"
    torch.onnx.export(random_statistics(model), (torch.randn(batch, 3, SIDE, SIDE),), path, verbose=False, **options)
    file = onnx.load(path, load_external_data=False)
    graph = file.graph
    for part in [graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer]:
        del part.metadata_props[:]
    del graph.value_info[:]
    rows, values = [], np.zeros(0, "<f4")
    for t in graph.initializer:
        if t.data_location != onnx.TensorProto.EXTERNAL:
            continue
        place = {e.key: e.value for e in t.external_data}
        first, count = int(place["offset"]) // 4, int(np.prod(t.dims))
        fan_in = int(np.prod(t.dims[1:]))
        scale = 2.0 ** round(np.log2(np.sqrt(12 * gain / fan_in)))
        rows.append((first, count, scale))
        values = np.concatenate([values, np.zeros(max(0, first + count - values.size), "<f4")])
        values[first:first + count] = numbers(first, count, scale)
    onnx.save(file, path)
    values.tofile(path + ".data")
    with open(f"{FOLDER}/{name}.parts", "w") as f:
        f.writelines(f"{first} {count} {scale!r}\n" for first, count, scale in rows)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    images = [numbers(1000003 * (i + 1), 3 * SIDE * SIDE, (4, 32)[i]) for i in range(IMAGES)]
    images = np.stack(images).reshape(IMAGES, 3, SIDE, SIDE)
    step = IMAGES if options else batch
    run = lambda x: session.run(None, {session.get_inputs()[0].name: x})[0]
    scores = np.concatenate([run(images[i:i + step]) for i in range(0, IMAGES, step)])
    with open(f"{FOLDER}/{name}.scores", "w") as f:
        f.writelines(" ".join(f"{v:.9g}" for v in row) + "\n" for row in scores)
    os.remove(path + ".data")
    print(name, file.opset_import[0].version, os.path.getsize(path), values.size, scores)


os.makedirs(FOLDER, exist_ok=True)
torch.manual_seed(5)
nets = torchvision.models
export("resnet18", narrow(nets.resnet18(num_classes=CLASSES), 8), 1)
mobilenet = nets.mobilenet_v2(width_mult=0.125, num_classes=CLASSES)
export("mobilenet_v2", mobilenet, 2, gain=1.5)  # linear layers pass on all that they get
googlenet = nets.googlenet(num_classes=CLASSES, aux_logits=False, init_weights=False, transform_input=True)
export("googlenet", narrow(googlenet, 8), IMAGES, dynamic_shapes=({0: torch.export.Dim("images")},))
with open(f"{FOLDER}/README", "w") as f:
    f.write(f"torch {torch.__version__.split('+')[0]}, torchvision {torchvision.__version__.split('+')[0]}, "
            f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}: ../torch_fixtures.py\n")
