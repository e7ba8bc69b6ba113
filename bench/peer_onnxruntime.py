"""Times onnxruntime on an ONNX network: f32 as it is, and INT8 by its own static quantiser (QDQ, per channel).

    .venv/bin/python peer_onnxruntime.py resnet18.onnx 16 [--threads 2] [--seconds 2]

INT8 is timed with signed and with unsigned activations; the better one counts.
"""
import argparse
import logging
import os
import time

import numpy
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

parser = argparse.ArgumentParser()
parser.add_argument("onnx")
parser.add_argument("batch", type=int)
parser.add_argument("--threads", type=int, default=0)
parser.add_argument("--seconds", type=float, default=2)
args = parser.parse_args()
logging.disable(logging.WARNING)
image = numpy.random.default_rng(1).standard_normal((args.batch, 3, 224, 224), numpy.float32)
name = os.path.splitext(os.path.basename(args.onnx))[0]


class Images(CalibrationDataReader):
    def __init__(self):
        self.left = [{"image": image[:1]}, {"image": image[:1] * 0.5}]

    def get_next(self):
        return self.left.pop() if self.left else None


def quantise(activations, path):
    if os.path.exists(path):
        return
    quant_pre_process(args.onnx, path + ".pre", skip_symbolic_shape=True)
    quantize_static(path + ".pre", path, Images(), quant_format=QuantFormat.QDQ, per_channel=True, activation_type=activations,
                    weight_type=QuantType.QInt8)
    os.remove(path + ".pre")


def run(path, label):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    times = []
    for _ in range(3):
        session.run(None, {"image": image})
    begin = time.perf_counter()
    while len(times) < 5 or time.perf_counter() - begin < args.seconds:
        start = time.perf_counter()
        session.run(None, {"image": image})
        times.append(time.perf_counter() - start)
    times.sort()
    median = times[len(times) // 2]
    print(f"onnxruntime {name} {label} batch {args.batch} {1000 * median:.3f} ms {args.batch / median:.1f} images/s", flush=True)


run(args.onnx, "f32")
for label, activations in (("int8-s8", QuantType.QInt8), ("int8-u8", QuantType.QUInt8)):
    quantised = f"{os.path.splitext(args.onnx)[0]}.{label}.onnx"
    quantise(activations, quantised)
    run(quantised, label)
