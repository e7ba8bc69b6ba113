"""Runs ONNX files that network_run made and compares with the engine's scores; one TAP line per comparison.

    runtimes.py check FILE...                 python3-onnx's checker, shapes inferred; structure of INT8 files
    runtimes.py opencv FOLDER                 f32 and preprocessing inside, by OpenCV's dnn
    runtimes.py back FOLDER                   what Graft computes for its own files, read again
    runtimes.py onnxruntime FOLDER            the same and INT8, by onnxruntime
    runtimes.py torch PREFIX...               PREFIX.out of network_run against PREFIX.scores of torch_models.py
    runtimes.py rewritten PREFIX...           PREFIX.again.onnx, read and written by Graft, by onnxruntime
    runtimes.py agree FILE IMAGES SCORES      top-1 of onnxruntime and of the engine on prepared images (NHWC)
"""
import sys

import numpy as np

TOLERANCE = 1e-4  # of the largest score
failed = 0


def tap(good, name):
    global failed
    failed |= not good
    print("ok" if good else "not ok", "-", name)


def floats(folder, name, shape):
    return np.fromfile(f"{folder}/{name}", "<f4").reshape(shape)


def close(folder, what, found, expected, tolerance=TOLERANCE):
    error = float(np.abs(found - expected).max() / np.abs(expected).max())
    tap(error <= tolerance, f"{folder.split('/')[-1]}: {what}: {error:.1e} of the largest score")


def check(files):
    import onnx
    import onnx.numpy_helper

    for path in files:
        model = onnx.load(path)
        name = "/".join(path.split("/")[-2:])
        try:
            onnx.checker.check_model(model, full_check=True)
            tap(True, f"{name}: the checker accepts it")
        except Exception as e:  # whatever it raises is the finding
            print("#", str(e).replace("\n", "\n# "))
            tap(False, f"{name}: the checker accepts it")
        if "int8" in name:
            values = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
            makers = {n.output[0]: n for n in model.graph.node}
            layers = [n for n in model.graph.node if n.op_type in ("Conv", "Gemm") and "reversed" not in n.output[0]]
            inputs = [makers.get(n.input[0]) for n in layers]
            weights = [makers.get(n.input[1]) for n in layers]
            tap(all(m is not None and m.op_type == "DequantizeLinear" for m in inputs + weights), f"{name}: every layer reads and weighs integers")
            tap(all(values[w.input[0]].dtype == np.int8 and values[w.input[1]].size == values[w.input[0]].shape[0]
                    and w.attribute[0].name == "axis" and w.attribute[0].i == 0 and np.abs(values[w.input[0]].astype(int)).max() <= 127
                    for w in weights), f"{name}: one scale per output channel, weights in [-127, 127]")
            tap(all(not values[n.input[2]].any() and values[n.input[2]].dtype == np.int8 for n in model.graph.node
                    if n.op_type in ("QuantizeLinear", "DequantizeLinear")), f"{name}: int8, every zero point is 0")
            users = {}
            for n in model.graph.node:
                for i in n.input:
                    users.setdefault(i, []).append(n.op_type)
            tap(not any(set(users.get(n.output[0], [])) == {"QuantizeLinear"} and makers[n.output[0]].op_type == "Conv"
                        and any(m.op_type == "Relu" and m.input[0] == n.output[0] for m in model.graph.node) for n in layers),
                f"{name}: nothing between a layer and its activation")
            tap(not any(n.op_type == "MaxPool" and makers.get(n.input[0]) is not None and makers[n.input[0]].op_type == "DequantizeLinear"
                        for n in model.graph.node), f"{name}: maxima are taken before quantising")


def old_clips(path):
    """OpenCV 4.6 knows Clip with attributes only, as it was before opset 11; all else stays as Graft wrote it."""
    import onnx
    import onnx.numpy_helper

    model = onnx.load(path)
    values = {t.name: t for t in model.graph.initializer}
    for n in model.graph.node:
        if n.op_type == "Clip":
            bounds = [float(onnx.numpy_helper.to_array(values[i])) for i in n.input[1:]]
            del n.input[1:]
            n.attribute.extend(onnx.helper.make_attribute(k, v) for k, v in zip(("min", "max"), bounds))
    return model.SerializeToString()


def opencv(folder):
    import cv2

    shapes = image_shape(folder)
    expected = floats(folder, "f32.scores", (shapes[0], -1))
    for file, images in (("f32", "image"), ("inside", "pixels")):
        net = cv2.dnn.readNetFromONNX(np.frombuffer(old_clips(f"{folder}/{file}.onnx"), np.uint8))
        net.setInput(floats(folder, images, shapes), "image")
        close(folder, f"{file} by OpenCV's dnn", net.forward(), expected)


def image_shape(folder):
    count = np.fromfile(f"{folder}/image", "<f4").size
    side = 64
    return (count // (3 * side * side), 3, side, side)


def within_noise(folder, what, found, int8, f32):
    """Scores as near to the engine's as a few values that rounded the other way can be: sums are taken in another order, and in a network of
    random weights one such value moves many behind it, until, in a deep one, two roundings have nothing in common: their distance is then
    sqrt(2) times what one of them costs (1.5 for so few scores). What counts is that the integers are the engine's (integers())."""
    rms = lambda x: float(np.sqrt((x ** 2).mean()))
    tap(rms(found - int8) <= 1.5 * rms(int8 - f32), f"{folder.split('/')[-1]}: {what}: off by {rms(found - int8):.2g}, quantising costs {rms(int8 - f32):.2g}")


def same(folder, what, found, expected):
    """Scales that are powers of two: sums of products are exact, in whatever order, from image to scores."""
    differ = int((found != expected).sum())
    tap(differ == 0 and len(np.unique(expected)) > 20, f"{folder.split('/')[-1]}: {what}: {differ} of {expected.size} scores differ in any bit")


def back(folder):
    n = image_shape(folder)[0]
    f32, int8 = (floats(folder, f"{kind}.scores", (n, -1)) for kind in ("f32", "int8"))
    for kind in ("f32", "inside"):
        close(folder, f"{kind} read again", floats(folder, f"{kind}.back", (n, -1)), f32)
    for kind in ("int8", "int8_inside"):
        within_noise(folder, f"{kind} read again", floats(folder, f"{kind}.back", (n, -1)), int8, f32)
    same(folder, "powers of two, read again", floats(folder, "exact.back", (n, -1)), floats(folder, "exact.scores", (n, -1)))


def flattened(model):
    """Images by the name of what they are flattened to: their shape [1, c, h, w]."""
    import onnx

    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in onnx.shape_inference.infer_shapes(model).graph.value_info}
    return {n.output[0]: shapes[n.input[0]] for n in model.graph.node if n.op_type == "Flatten"}


def engine_integers(folder, model):
    """The engine's int8 tensors for image 0 by the names that the file quantises to, in ONNX's order of values."""
    values, at, tensors, images = np.fromfile(f"{folder}/integers", np.int8), 0, {}, flattened(model)
    for line in open(f"{folder}/integers.txt", encoding="utf-8"):
        name, *shape = line.rstrip("\n").split("\t")
        shape = [int(d) for d in shape]
        e = values[at:at + int(np.prod(shape))].reshape(shape)
        at += e.size
        if name in images:
            _, c, h, w = images[name]
            e = e.reshape(1, h, w, c).transpose(0, 3, 1, 2).reshape(shape)
        elif e.ndim == 4:
            e = e.transpose(0, 3, 1, 2)
        tensors[f"{name}/quantised"] = np.ascontiguousarray(e)
    return tensors


def integers(folder, image):
    """Every QuantizeLinear by itself: what it gives when everything in front of it reads the engine's integers, against the engine's. A sum of
    products in another order can only decide about what lies halfway between two integers: f32 carries 24 bits, an integer has 8, so about
    one value in 100,000, and never by more than 1. Run from image to scores such values meet: behind 50 random layers a third of all differ."""
    import onnx

    model = onnx.load(f"{folder}/int8.onnx")
    expected = engine_integers(folder, model)
    makers = [n for n in model.graph.node if n.op_type == "QuantizeLinear"]
    names = [n.output[0] for n in makers]
    for n in makers:
        model.graph.input.append(onnx.helper.make_tensor_value_info(n.output[0], onnx.TensorProto.INT8, expected[n.output[0]].shape))
        n.output[0] += "/made"
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=f"{n}/made") for n in names)
    feed = {n: expected[n] for n in names}
    found = session(model.SerializeToString(), fused=False).run(None, {"image": image[:1], **feed})
    errors = [np.abs(f.astype(int) - expected[n].astype(int)) for n, f in zip(names, found)]
    wrong, total, worst = sum(int((e != 0).sum()) for e in errors), sum(e.size for e in errors), max(int(e.max()) for e in errors)
    live = min(len(np.unique(expected[n])) for n in names)
    tap(len(names) > 5 and live > 8 and wrong <= 1e-4 * total and worst <= 1,
        f"{folder.split('/')[-1]}: integers by onnxruntime: {wrong} of {total} in {len(names)} tensors differ, at most by {worst}")


def session(path, fused=True):
    """fused=False: node by node, as the file says."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if not fused:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run_onnxruntime(folder):
    shapes = image_shape(folder)
    f32, int8 = (floats(folder, f"{kind}.scores", (shapes[0], -1)) for kind in ("f32", "int8"))
    image, pixels = floats(folder, "image", shapes), floats(folder, "pixels", shapes)
    for kind, images in (("f32", image), ("inside", pixels)):
        close(folder, f"{kind} by onnxruntime", session(f"{folder}/{kind}.onnx").run(None, {"image": images})[0], f32)
    for kind, images in (("int8", image), ("int8_inside", pixels)):
        within_noise(folder, f"{kind} by onnxruntime", session(f"{folder}/{kind}.onnx", fused=False).run(None, {"image": images})[0], int8, f32)
    exact = floats(folder, "exact.scores", (shapes[0], -1))
    for fused in (False, True):
        found = session(f"{folder}/exact.onnx", fused).run(None, {"image": image})[0]
        same(folder, f"powers of two by onnxruntime, {'as it comes' if fused else 'node by node'}", found, exact)
    integers(folder, image)


def torch_scores(prefix):
    """A softmax at the end is left out by the import, and forgets what is added to every score."""
    scores = np.fromfile(f"{prefix}.scores", "<f4").reshape(3, -1)
    centre = lambda x: x - x.mean(1, keepdims=True) if "/odd_" in prefix else x
    return centre(scores), centre


def torch(prefixes):
    for prefix in prefixes:
        expected, centre = torch_scores(prefix)
        close(prefix, "as PyTorch computes it", centre(np.fromfile(f"{prefix}.out", "<f4").reshape(3, -1)), expected)


def rewritten(prefixes):
    for prefix in prefixes:
        expected, centre = torch_scores(prefix)
        image = np.fromfile(f"{prefix}.image", "<f4").reshape(3, 64, 64, 3).transpose(0, 3, 1, 2)
        found = session(f"{prefix}.again.onnx").run(None, {"image": np.ascontiguousarray(image)})[0]
        close(prefix, "read and written again, by onnxruntime", centre(found), expected)


def agree(path, images, scores):
    """By onnxruntime as it comes."""
    expected, net = np.fromfile(scores, "<f4"), session(path)
    shape = net.get_inputs()[0].shape
    batch = np.fromfile(images, "<f4").reshape(-1, shape[2], shape[3], shape[1]).transpose(0, 3, 1, 2)
    found = np.concatenate([net.run(None, {"image": np.ascontiguousarray(batch[i:i + 50])})[0] for i in range(0, len(batch), 50)])
    part = 100 * float((found.argmax(1) == expected.reshape(found.shape).argmax(1)).mean())
    tap(part >= 99, f"onnxruntime and the INT8 engine agree on {part:.2f} % of {len(found)} images (at least 99 %)")


commands = {"check": lambda a: check(a), "opencv": lambda a: opencv(*a), "back": lambda a: back(*a), "onnxruntime": lambda a: run_onnxruntime(*a),
            "torch": torch, "rewritten": rewritten, "agree": lambda a: agree(*a)}
commands[sys.argv[1]](sys.argv[2:])
sys.exit(failed)
