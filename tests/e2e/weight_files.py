"""Weight files as training programs leave them, written with Python's own library alone: python3 weight_files.py FOLDER

torch.save's ZIP form is documented in PyTorch's notes on serialisation; Python's own pickler writes the pickle, with stand-ins for the three names
that PyTorch's files ask for. The names of the tensors are torchvision's for a ResNet of one block a stage; channels are those of a width of 1/16,
rounded to multiples of 8.
"""
import collections
import io
import json
import os
import pickle
import random
import struct
import sys
import types
import zipfile

folder = sys.argv[1]
os.makedirs(folder, exist_ok=True)
torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
sys.modules["torch"], sys.modules["torch._utils"] = torch, utils


class FloatStorage:
    __module__ = "torch"


def _rebuild_tensor_v2(*arguments):
    raise NotImplementedError


FloatStorage.__qualname__ = "FloatStorage"
_rebuild_tensor_v2.__module__ = "torch._utils"
torch.FloatStorage, utils._rebuild_tensor_v2 = FloatStorage, _rebuild_tensor_v2


class Storage:
    def __init__(self, data):
        self.data = data


class Tensor:
    def __init__(self, shape, value):
        count = 1
        for n in shape:
            count *= n
        self.shape, self.data = tuple(shape), struct.pack("<%df" % count, *(value() for _ in range(count)))
        self.storage = Storage(self.data)

    def __reduce__(self):
        strides, step = [], 1
        for n in reversed(self.shape):
            strides.insert(0, step)
            step *= n
        return _rebuild_tensor_v2, (self.storage, 0, self.shape, tuple(strides), False, collections.OrderedDict())


def save_torch(name, value):
    storages, text = [], io.BytesIO()

    class Pickler(pickle.Pickler):
        def persistent_id(self, x):
            if not isinstance(x, Storage):
                return None
            storages.append(x.data)
            return "storage", FloatStorage, str(len(storages) - 1), "cpu", len(x.data) // 4

    Pickler(text, 2).dump(value)
    with zipfile.ZipFile(os.path.join(folder, name), "w") as z:
        z.writestr("m/data.pkl", text.getvalue())
        for i, data in enumerate(storages):
            z.writestr("m/data/%d" % i, data)


def save_safetensors(name, tensors, metadata="none"):
    header, at = {}, 0
    if metadata != "none":
        header["__metadata__"] = metadata
    for key, t in tensors.items():
        header[key] = {"dtype": "F32", "shape": list(t.shape), "data_offsets": [at, at + len(t.data)]}
        at += len(t.data)
    text = json.dumps(header).encode()
    with open(os.path.join(folder, name), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(t.data for t in tensors.values()))


def resnet10(seed, width=1 / 16, classes=3, head="fc", constant=None):
    draw = random.Random(seed)
    value = (lambda: constant) if constant is not None else lambda: draw.uniform(0.1, 1)
    channels = [max(8, int(c * width + 4) // 8 * 8) for c in (64, 128, 256, 512)]
    state = {}

    def conv(name, out, into, kernel):
        state[name + ".weight"] = Tensor((out, into, kernel, kernel), value)

    def norm(name, count):
        for part in ("weight", "bias", "running_mean", "running_var"):
            state[name + "." + part] = Tensor((count,), value)

    conv("conv1", channels[0], 3, 7)
    norm("bn1", channels[0])
    into = channels[0]
    for stage, out in enumerate(channels, 1):
        block = "layer%d.0." % stage
        conv(block + "conv1", out, into, 3), norm(block + "bn1", out)
        conv(block + "conv2", out, out, 3), norm(block + "bn2", out)
        if stage > 1:
            conv(block + "downsample.0", out, into, 1), norm(block + "downsample.1", out)
        into = out
    state[head + ".weight"], state[head + ".bias"] = Tensor((classes, into), value), Tensor((classes,), value)
    return state


def behind(prefix, state):
    return {prefix + key: t for key, t in state.items()}


def small(*shape):
    return Tensor(shape, lambda: 0.5)


plain = resnet10(1)
save_safetensors("plain.safetensors", plain)
# Prefixes: one nobody listed, a deep one, and one beside foreign tensors of every kind.
save_torch("encoder.pth", behind("my_encoder.", plain))
save_torch("deep.pth", behind("_orig_mod.module.net.trunk.", plain))
save_torch("beside.ckpt", {"state_dict": dict(behind("model.", plain), **{"criterion.weight": small(3), "proj.0.weight": small(4, 4), "t": small()}),
                           "epoch": 3, "lr_schedulers": [], "hparams": {"lr": 0.1}})
save_safetensors("beside.safetensors", dict(behind("backbone.body.", plain), **{"rpn.head.conv.weight": small(4, 4, 3, 3)}))
save_safetensors("two.safetensors", dict(behind("student.", resnet10(2)), **behind("teacher.", plain)))
# Heads.
save_torch("head1.pth", resnet10(1, head="fc.1"))
save_torch("head_deep.pth", behind("module.", resnet10(1, head="fc.head.0")))
save_torch("head_many.pth", dict(resnet10(1, head="fc.3"), **{"fc.0.weight": small(16, 16), "fc.0.bias": small(16)}))
# Averages: as a dictionary, as an inner one with a prefix and a counter, by prefix; and one without running statistics, which is no network.
raw = resnet10(3, constant=0.25)
save_torch("ema_timm.pth", {"state_dict": raw, "state_dict_ema": behind("module.", plain)})
save_torch("ema_torchvision.pth", {"model": raw, "model_ema": dict(behind("module.", plain), n_averaged=small()), "optimizer": {"state": {}}})
save_torch("ema_inside.pth", {"state_dict": dict(behind("model.", raw), **behind("ema_model.module.", plain))})
save_torch("ema_root.pth", dict(raw, **behind("ema.", plain)))
save_torch("ema_part.pth", {"state_dict": plain, "ema": {k: t for k, t in raw.items() if "running" not in k}})
save_torch("schema.pth", {"state_dict": plain, "schema_weights": raw})
save_torch("pair.pth", {"generator": plain, "discriminator": raw})
# Widths.
save_torch("wide.pth", resnet10(1, width=0.33))
# Refusals.
save_torch("other.pth", {"transformer.h.0.attn.weight": small(4, 4), "transformer.h.0.mlp.weight": small(4, 4), "wte": small(4, 4)})
save_torch("nothing.pth", {"epoch": 3, "config": {"lr": 0.1}})
save_safetensors("null.safetensors", plain, None)
save_safetensors("empty_metadata.safetensors", plain, {})
disguises = {"lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 46830571\n" % (b"0" * 64),
             "page": b"\xef\xbb\xbf\r\n  <!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>",
             "refused": b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>', "answer": b'{"error":"Invalid username or password."}',
             "empty": b"", "zeros": bytes(5000), "xz": b"\xfd7zXZ\0" + bytes(40), "npz": None}
for name, data in disguises.items():
    if data is not None:
        open(os.path.join(folder, name + ".safetensors"), "wb").write(data)
with zipfile.ZipFile(os.path.join(folder, "npz.safetensors"), "w") as z:
    z.writestr("a.npy", b"\x93NUMPY")
open(os.path.join(folder, "tiny.weights"), "wb").write(struct.pack("<3iQ8f", 0, 2, 5, 0, *range(8)))  # darknet's header, then numbers
# Names that a terminal would obey.
evil = "\x1b]0;owned\x07\x1b[2J\nwrote fine.safetensors\u009b1m\u202e"
save_safetensors("evil.safetensors", dict(plain, **{"x" + evil: small(2)}), {"k" + evil: "v" + evil, "format": "pt"})
save_torch("evil.pth", {"state_dict": dict(behind("m" + evil + ".", plain), **{"y" + evil: small(2)}), "z" + evil: raw})
save_torch("evil_other.pth", {"a" + evil: small(2), "b" + evil: small(2)})
save_torch("evil_keys.pth", {"a" + evil: 1})


# Work beyond the file's size: dictionaries that hold each other over and over, many keys, many values, many tensors.
def save_pickle(name, body):
    with zipfile.ZipFile(os.path.join(folder, name), "w") as z:
        z.writestr("m/data.pkl", b"\x80\x02" + body + b".")


usual = [b"state_dict", b"model_state_dict", b"model", b"net", b"network", b"params", b"weights"]
def text(t): return b"U" + bytes([len(t)]) + t


n = 20000
save_pickle("bomb_self.pth", b"}q\0(" + b"".join(text(t) + b"h\0" for t in usual) + b"Nh\0" * n + b"u")
layers = b"}q\0(" + b"".join(text(b"%d" % i) + b"N" for i in range(n)) + b"u0"
for i in range(1, 6):  # each holds the one before under every usual name, and two thousand times more
    layers += b"}q%c(" % i + b"".join(text(t) + b"h%c" % (i - 1) for t in usual) + b"".join(text(b"%d" % k) + b"h%c" % (i - 1) for k in range(2000)) + b"u"
    layers += b"0" if i < 5 else b""
save_pickle("bomb_layers.pth", layers)
save_pickle("bomb_keys.pth", b"X\0\4\0\0" + b"k" * 1024 + b"q\0" + b"0}q\1(" + b"h\0}" * 250000 + b"u")
save_pickle("bomb_values.pth", b"](" + b"N" * 3000000 + b"e")
save_pickle("bomb_lists.pth", b"]q\0(" + b"h\0" * n + b"e" + b"(" + b"h\0" * n + b"l0")
tensor = b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storageq\1ctorch\nFloatStorage\nX\1\0\0\0" + b"0X\3\0\0\0cpuK\1tQK\0K\1\x85K\1\x85tRq\2"
many = b"}(" + b"".join(b"X\6\0\0\0%06dh\2" % i for i in range(40000)) + b"u"
long = b"X\0\0\x10\0" + b"n" * (1 << 20) + b"q\x030" + b"}(" + b"h\3h\2" * 16000 + b"u"  # one name of a megabyte for all
for name, body in (("bomb_tensors", many), ("bomb_names", long), ("twins", b"}(" + b"X\1\0\0\0ah\2" * 2 + b"u")):
    with zipfile.ZipFile(os.path.join(folder, name + ".pth"), "w") as z:
        z.writestr("m/data.pkl", b"\x80\x02" + tensor + b"0" + body + b".")
        z.writestr("m/data/0", b"\0\0\0\0")


def save_header(name, header):
    data = json.dumps(header, separators=(",", ":")).encode()
    open(os.path.join(folder, name), "wb").write(struct.pack("<Q", len(data)) + data)


none = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
save_header("bomb_metadata.safetensors", {"__metadata__": {"graft.%x" % i: "" for i in range(100000)}})
save_header("bomb_many.safetensors", {"a.b.c.d.e.f.%d" % i: none for i in range(20000)})
save_header("most.safetensors", {"conv1." * 6 + "%d.conv1.weight" % i: none for i in range(16384)})
save_header("bomb_json.safetensors", {"__metadata__": {"a": [0] * 2000000}})
