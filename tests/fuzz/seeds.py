"""Small seeds for the fuzzers: seeds.py FOLDER makes FOLDER/fuzz_NAME/*."""
import io
import json
import os
import pickle
import struct
import sys
import zipfile

from PIL import Image


def put(name, index, data):
    folder = os.path.join(sys.argv[1], name)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, f"seed{index}"), "wb") as f:
        f.write(data)


def image(mode, kind, **options):
    picture = Image.new("RGB", (19, 13))
    picture.putdata([(x * 13 % 256, y * 19 % 256, (x * y) % 256) for y in range(13) for x in range(19)])
    out = io.BytesIO()
    picture.convert(mode).save(out, kind, **options)
    return out.getvalue()


def planes(photometric, samples):
    """A TIFF of 5 x 2 pixels in separate planes of 8 bits, with samples beyond those of its photometric interpretation."""
    entries = [(256, [5]), (257, [2]), (258, [8] * samples), (259, [1]), (262, [photometric]), (273, None), (277, [samples]), (278, [2]),
               (279, [10] * samples), (284, [2])]
    at = 8 + 2 + 12 * len(entries) + 4
    pixels = at + 2 * 2 * 3 * samples
    head, tail = struct.pack("<4sIH", b"II*\0", 8, len(entries)), b""
    for tag, values in entries:
        values = values or [pixels + 10 * k for k in range(samples)]
        data = struct.pack(f"<{len(values)}H", *values)
        if len(data) > 4:
            value, tail = struct.pack("<I", at + len(tail)), tail + data
        else:
            value = data.ljust(4, b"\0")
        head += struct.pack("<HHI", tag, 3, len(values)) + value
    return (head + bytes(4) + tail).ljust(pixels, b"\0") + bytes(range(10 * samples))


exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
pictures = [image("RGB", "JPEG"), image("L", "JPEG"), image("CMYK", "JPEG"), image("RGB", "JPEG", progressive=True),
            image("RGB", "JPEG", exif=exif), image("RGB", "PNG"), image("RGBA", "PNG"), image("P", "PNG"), image("1", "PNG"),
            image("L", "PNG"), image("RGB", "BMP"), image("L", "PPM"), image("RGB", "PPM"), image("P", "BMP"), image("RGB", "GIF"),
            image("RGB", "WEBP", lossless=True), image("RGBA", "WEBP"), image("RGB", "TIFF"), image("1", "TIFF", compression="group4"),
            image("P", "TIFF", compression="tiff_lzw"), image("CMYK", "TIFF", compression="tiff_adobe_deflate"),
            planes(1, 3), planes(0, 4), planes(2, 4)]
fixtures = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden", "pictures")
for name in sorted(os.listdir(fixtures)):
    if not name.endswith(".rgb"):
        with open(os.path.join(fixtures, name), "rb") as f:
            pictures.append(f.read())
for i, data in enumerate(pictures):
    put("fuzz_image", i, bytes([i]) + data)

tensors = {"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}, "b": {"dtype": "I8", "shape": [3], "data_offsets": [16, 19]},
           "__metadata__": {"k": "v"}}
header = json.dumps(tensors).encode()
header += b" " * (-len(header) % 8)
put("fuzz_safetensors", 0, struct.pack("<Q", len(header)) + header + bytes(19))
put("fuzz_safetensors", 1, struct.pack("<Q", 8) + b"{}      ")
put("fuzz_config", 0, b"[model]\narch = resnet18\n[train]\nepochs = 3\nbatch_size = auto ; all of it\n")
put("fuzz_config", 1, b"[augment]\ncrop_area = 0.08 1\n[schedule]\ntype=cosine\nmilestones = 0.1, 0.2\n[prune]\ntarget = params:0.5\n")
put("fuzz_cache", 0, b"TRT-8601-EntropyCalibration2\nimages: 3c010a14\nconv1_out: 3d5b2f80\n")
put("fuzz_labels", 0, b"\0car 0.00 0 0.00 1.5 2 30 20 0 0 0 0 0 0 0\nDontCare -1 -1 -10 3 4 9 10 -1 -1 -1 -1 -1 -1 -1 0.5\n")
put("fuzz_labels", 1, b"\1<annotation><size><width>0</width></size><object><name>dog</name><difficult>1</difficult>"
    b"<part><name>head</name></part><bndbox><xmin>1.5</xmin><ymin>2</ymin><xmax>nan</xmax><ymax>9</ymax></bndbox>"
    b"</object></annotation>")
put("fuzz_label_sets", 0, b'\0{"info": {}, "images": [{"id": 3, "file_name": "a.jpg"}], "categories": [{"id": 1, "name": "x"}],'
    b'"annotations": [{"image_id": 3, "category_id": 1, "bbox": [1, 2.5, 3e1, 4], "area": 9, "iscrowd": 0, "segmentation": [[1, 2]]}]}')
put("fuzz_label_sets", 1, b"\1path: .\ntrain: [images/train]\nnames: {0: a, 1: b}\n\xff0 0.5 0.5 0.2 0.1\n1 0.1 0.1 0.5 0.5 0.9 0.1\n")
put("fuzz_label_sets", 2, b"\1train: list.txt\nval:\nnames:\n - a\n - \"b\"\n\xff0 .5 .5 1 1 0.25\n")


def state_dict(protocol):
    out = io.BytesIO()
    out.write(pickle.PROTO + bytes([protocol]) + b"}(")
    for key, size in ((b"w", (2, 3)), (b"b", (4,))):
        dims = b"".join(b"K" + bytes([d]) for d in size) + (b"\x86" if len(size) == 2 else b"\x85")
        out.write(b"X" + struct.pack("<I", 1) + key + b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n")
        out.write(b"X\x01\0\0\0" + key + b"X\x03\0\0\0cpuK\x08tQK\0" + dims + (b"K\x03K\x01\x86" if len(size) == 2 else b"K\x01\x85"))
        out.write(b"\x89ccollections\nOrderedDict\n)RtR")
    out.write(b"u.")
    return out.getvalue()


archive = io.BytesIO()
with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as z:
    z.writestr("m/data.pkl", state_dict(2))
    z.writestr("m/data/w", bytes(32))
    z.writestr("m/data/b", bytes(32))
put("fuzz_pytorch", 0, b"\1" + archive.getvalue())
put("fuzz_pytorch", 1, b"\0" + state_dict(2))
for i, protocol in enumerate((2, 4, 5)):
    put("fuzz_pytorch", 2 + i, b"\0" + pickle.dumps({"state_dict": {"a": [1, -2, 1 << 40], "b": (1.5, None, True)}}, protocol))

cfg = b"""[net]
width=8
height=8
channels=3
[convolutional]
batch_normalize=1
filters=2
size=3
pad=1
activation=leaky
[maxpool]
size=2
stride=2
[route]
layers=-1,-1
[shortcut]
from=-1
[upsample]
stride=2
[dropout]
probability=.5
[avgpool]
[connected]
output=2
activation=linear
[softmax]
"""
put("fuzz_darknet", 0, cfg)
put("fuzz_darknet", 1, cfg + b"\0" + struct.pack("<5i", 0, 2, 5, 0, 0) + bytes(4 * (8 + 54 + 2 + 8)))


def todays_model(onnx, value):
    """Opset 20: axes and sizes as inputs, and a weight in the first seed's bytes beside it."""
    helper = onnx.helper
    node = helper.make_node
    ints = {"i0": [], "hw": [2, 3], "nhwc": [1, 2], "pads": [1, 0, 0, 1], "sizes": [24, 24], "flat": [-1, 6]}
    constants = [helper.make_tensor(k, onnx.TensorProto.INT64, [len(v)] if v else [], v or [1])
                 for k, v in ints.items()]
    weight = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[6, 3, 1, 1],
                              data_location=onnx.TensorProto.EXTERNAL)
    for key, text in (("location", "seed0"), ("offset", "64"), ("length", "72")):
        weight.external_data.add(key=key, value=text)
    zero = helper.make_tensor("zero", onnx.TensorProto.DOUBLE, [], [0.5])
    nodes = [node("Gather", ["image", "i0"], ["g"], axis=1), node("Unsqueeze", ["g", "i0"], ["u"]),
             node("Concat", ["image", "u"], ["c"], axis=1), node("Split", ["c"], ["s", "t"], axis=1, num_outputs=2),
             node("Concat", ["s", "u"], ["d"], axis=1), node("Shape", ["w"], ["l"], start=0, end=1),
             node("CastLike", ["zero", "d"], ["k"]), node("Expand", ["k", "l"], ["b"]),
             node("Conv", ["d", "w", "b"], ["e"]), node("Pad", ["e", "pads", "", "hw"], ["p"]),
             node("Resize", ["p", "", "", "sizes"], ["r"], axes=[2, 3], mode="linear",
                  keep_aspect_ratio_policy="not_larger"), node("ReduceMean", ["r", "hw"], ["m"]),
             node("Swish", ["m"], ["x"], alpha=1.0), node("Mul", ["r", "x"], ["v"]),
             node("Transpose", ["v"], ["n"], perm=[0, 2, 3, 1]), node("ReduceMax", ["n", "nhwc"], ["o"], keepdims=0),
             node("Reshape", ["o", "flat"], ["y"], allowzero=1)]
    ports = [value("image", [1, 3, 16, 16])], [value("y", [1, 6])]
    graph = helper.make_graph(nodes, "today", *ports, [weight, zero] + constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)]).SerializeToString()


def onnx_seeds():
    """A network of its own, and ONNX's test cases with what they feed as weights made constant (Debian's python3-onnx, libonnx-testdata)."""
    try:
        import numpy as np
        import onnx
        import onnx.helper
        import onnx.numpy_helper
    except ImportError:
        return
    random = np.random.default_rng(5)
    helper = onnx.helper
    constants = {"w1": (4, 3, 3, 3), "b1": (4,), "gamma": (4,), "beta": (4,), "mean": (4,), "var": (4,), "w2": (8, 4, 1, 1), "fc": (10, 8 * 5 * 4), "fcb": (10,)}
    initialisers = [onnx.numpy_helper.from_array(random.random(s, np.float32).astype(np.float32), n) for n, s in constants.items()]
    integers = {"starts": [0, 1], "ends": [8, 5], "axes": [2, 3], "steps": [2, 1], "pads": [0, 0, 1, 0, 0, 0, 0, 0], "batch": [0], "last": [-1]}
    initialisers += [onnx.numpy_helper.from_array(np.array(v, np.int64), n) for n, v in integers.items()]
    initialisers += [onnx.numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "factors"), onnx.numpy_helper.from_array(np.float32(6), "six"),
                     onnx.numpy_helper.from_array(np.float32(0), "zero")]
    node = helper.make_node
    nodes = [node("Conv", ["image", "w1", "b1"], ["a"], pads=[1, 1, 1, 1], strides=[2, 2], kernel_shape=[3, 3]),
             node("BatchNormalization", ["a", "gamma", "beta", "mean", "var"], ["b"]), node("Clip", ["b", "zero", "six"], ["c"]),
             node("Conv", ["c", "w2"], ["d"]), node("MaxPool", ["d"], ["e"], kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1], ceil_mode=1),
             node("Add", ["d", "e"], ["f"]), node("Slice", ["f", "starts", "ends", "axes", "steps"], ["g"]), node("Pad", ["g", "pads"], ["h"]),
             node("Resize", ["h", "", "factors"], ["i"], mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
             node("Concat", ["i", "i"], ["j"], axis=1), node("Split", ["j"], ["k", "l"], axis=1), node("Mul", ["k", "l"], ["m"]),
             node("AveragePool", ["m"], ["n"], kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER"), node("Shape", ["n"], ["s"]),
             node("Gather", ["s", "batch"], ["t"]), node("Concat", ["t", "last"], ["u"], axis=0),
             node("AveragePool", ["n"], ["o"], kernel_shape=[1, 1]), node("Transpose", ["o"], ["p"], perm=[0, 2, 3, 1]),
             node("Transpose", ["p"], ["q"], perm=[0, 3, 1, 2]), node("Reshape", ["q", "u"], ["r"]), node("Relu", ["r"], ["v"]),
             node("Gemm", ["v", "fc", "fcb"], ["x"], transB=1), node("Softmax", ["x"], ["y"], axis=1)]
    value = lambda name, shape: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "seed", [value("image", ["n", 3, 16, 16])], [value("y", ["n", 10])], initialisers)
    put("fuzz_onnx", 0, helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]).SerializeToString())
    put("fuzz_onnx", 9999, todays_model(onnx, value))
    cases = "/usr/share/libonnx-testdata/data/node"
    wanted = ("conv_", "basic_conv", "gemm", "averagepool", "maxpool_2d", "batchnorm", "resize", "slice", "concat", "split_", "reshape", "squeeze", "unsqueeze",
              "flatten", "clip", "softmax", "constant_pad", "matmul_2d", "upsample", "hardswish", "quantizelinear", "dequantizelinear", "reduce_mean")
    for i, case in enumerate(sorted(os.listdir(cases)) if os.path.isdir(cases) else []):
        if not any(w in case for w in wanted) or "expanded" in case:
            continue
        model = onnx.load(f"{cases}/{case}/model.onnx")
        data = f"{cases}/{case}/test_data_set_0"
        for k, name in enumerate(i.name for i in model.graph.input):
            if k == 0:
                continue
            with open(f"{data}/input_{k}.pb", "rb") as f:
                model.graph.initializer.append(onnx.TensorProto.FromString(f.read()))
        bytes_ = model.SerializeToString()
        if len(bytes_) < 8192:
            put("fuzz_onnx", i + 1, bytes_)


onnx_seeds()

# A packed data set; fuzz_packed.c makes its checksums right.
pack_records = [pictures[5], pictures[0], b""]
pack_body, pack_directory = b"".join(pack_records), struct.pack("<II", 0, 2) + b"".join(struct.pack("<I", len(n)) + n for n in (b"ant", b"bee"))
pack_at = 96
for i, record in enumerate(pack_records):
    pack_directory += struct.pack("<IIiIQQQ", 42, 2, i - 1, 0, pack_at, len(record), 0) + b"n%d" % i
    pack_at += len(record)
put("fuzz_packed", 0, b"GRAFTPCK" + struct.pack("<IIQQQQQQQQQQ", 1, 96, pack_at + len(pack_directory), pack_at, len(pack_directory), 0, 0, 1, 1, 1, 0, 0) +
    pack_body + pack_directory)
for version, tails in ((2, (b"", b"")), (3, (struct.pack("<f", 7.5), struct.pack("<f", 0)))):
    box_directory = struct.pack("<II", 2, 2) + b"".join(struct.pack("<I", len(n)) + n for n in (b"ant", b"bee"))
    box_labels = struct.pack("<III", 5, 2, 3) + b"a.txt" + struct.pack("<4fiIIII", 1, 2, 30, 20, 1, 0, 0, 3, 1) + tails[0] + \
        struct.pack("<4fiIIII", 5, 5, 9, 9, -1, 1, 0, 0, 2) + tails[1] + struct.pack("<6f", 1, 2, 30, 2, 15, 20)
    pack_at = 96
    for i, record in enumerate(pack_records):
        labels = box_labels if i == 0 else struct.pack("<III", 0, 0, 0)
        box_directory += struct.pack("<IIiIQQQ", 42 + len(labels), 2, -1, i == 0, pack_at, len(record), 0) + b"n%d" % i + labels
        pack_at += len(record)
    put("fuzz_packed", version - 1, b"GRAFTPCK" + struct.pack("<IIQQQQQQQQQQ", version, 96, pack_at + len(box_directory), pack_at,
        len(box_directory), 0, 0, 1, 1, 1, 0, 0) + pack_body + box_directory)
