"""Reference kernels against PyTorch in float64: every op that torch.nn.functional or torch.optim has, forward and gradient.

    ops.py KERNEL_RUN FOLDER

Everything is run in float64 on both sides (optimisers in float32, as the kernels are), so what may differ is the order of sums:
tolerance 1e-12 relative to the largest value, 2e-6 for float32.
"""
import struct
import subprocess
import sys

import numpy as np
import torch
import torch.nn.functional as F

import plain_safetensors

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
cases, tensors, expected = [], {}, {}


def nhwc(x):
    return x.detach().permute(0, 2, 3, 1).contiguous().numpy() if x.dim() == 4 else x.detach().numpy()


def case(name, op, desc, ins, outs, tolerance=1e-12):
    """ins: arrays or None; outs: (initial contents, expected or None) pairs, or None for an absent tensor."""
    cases.append(f"{name} {op} {desc}")
    for i, x in enumerate(ins):
        if x is not None:
            tensors[f"{name}.in{i}"] = np.ascontiguousarray(x)
    for i, pair in enumerate(outs):
        if pair is not None:
            tensors[f"{name}.out{i}"] = np.ascontiguousarray(pair[0])
            if pair[1] is not None:
                expected[f"{name}.out{i}"] = (np.asarray(pair[1]), tolerance)


def fresh(x):
    """An output that is overwritten starts as garbage."""
    return (np.full_like(np.asarray(x), 7), x)


def conv(name, n, ic, ih, iw, oc, k, s=(1, 1), p=(0, 0), d=(1, 1), groups=1, act=None):
    x = torch.randn(n, ic, ih, iw, requires_grad=True)
    w = torch.randn(oc, ic // groups, *k, requires_grad=True)
    b = torch.randn(oc, requires_grad=True)
    y = F.conv2d(x, w, b, s, p, d, groups)
    g = torch.randn_like(y)
    y.backward(g)
    oh, ow = y.shape[2:]
    base = (f"n{n}ih{ih}iw{iw}ic{ic}oh{oh}ow{ow}oc{oc}kh{k[0]}kw{k[1]}sh{s[0]}sw{s[1]}pt{p[0]}pl{p[1]}pb{p[0]}pr{p[1]}"
            f"dil_h{d[0]}dil_w{d[1]}groups{groups},src=f64,weight=f64,dst=f64")
    add = torch.randn_like(y)
    case(f"{name}_forward", "conv2d_forward", base + "bias1", [nhwc(x), nhwc(w), b.detach().numpy()], [fresh(nhwc(y))])
    case(f"{name}_fused", "conv2d_forward", base + "bias1add1,add_type=f64,add_scale=1,act=relu",
         [nhwc(x), nhwc(w), b.detach().numpy(), nhwc(add)], [fresh(nhwc(F.relu(y + add)))])
    case(f"{name}_dsrc", "conv2d_dsrc", base, [nhwc(g), nhwc(w)], [fresh(nhwc(x.grad))])
    before = np.random.default_rng(1).normal(size=nhwc(w).shape)
    bias_before = np.random.default_rng(2).normal(size=oc)
    case(f"{name}_dweight", "conv2d_dweight", base, [nhwc(x), nhwc(g)],
         [(before, before + nhwc(w.grad)), (bias_before, bias_before + b.grad.numpy())])


conv("conv_plain", 2, 3, 9, 7, 5, (3, 3), p=(1, 1))
conv("conv_stride", 2, 4, 11, 10, 6, (3, 2), s=(2, 3), p=(1, 0))
conv("conv_dilated", 1, 3, 13, 12, 4, (3, 3), p=(2, 1), d=(2, 3))
conv("conv_groups", 2, 6, 8, 8, 9, (3, 3), p=(1, 1), groups=3)
conv("conv_depthwise", 2, 5, 9, 9, 5, (3, 3), s=(2, 2), p=(1, 1), groups=5)
conv("conv_1x1", 3, 7, 5, 6, 4, (1, 1), s=(2, 2))


def activation(name, forward, alpha=0.0, beta=0.0):
    x = torch.randn(257, requires_grad=True)
    with torch.no_grad():
        x.mul_(4)
    y = forward(x)
    g = torch.randn_like(y)
    y.backward(g)
    desc = f"count257,type=f64,act={name},alpha={alpha},beta={beta}"
    case(f"act_{name}", "act_forward", desc, [x.detach().numpy()], [fresh(y.detach().numpy())])
    case(f"act_{name}_backward", "act_backward", desc, [g.numpy(), x.detach().numpy()], [fresh(x.grad.numpy())])


activation("relu", F.relu)
activation("relu6", F.relu6)
activation("leaky", lambda x: F.leaky_relu(x, 0.125), 0.125)
activation("sigmoid", torch.sigmoid)
activation("swish", F.silu)
activation("clip", lambda x: F.hardtanh(x, -0.5, 3), -0.5, 3)


def pool(name, forward, kind, n, c, ih, iw, desc, index=False):
    x = torch.randn(n, c, ih, iw, requires_grad=True)
    y = forward(x)
    where = None
    if index:
        y, where = y
    g = torch.randn_like(y)
    y.backward(g)
    full = f"n{n}ih{ih}iw{iw}c{c}oh{y.shape[2]}ow{y.shape[3]}{desc},kind={kind},type=f64"
    indices = nhwc(where).astype(np.int32) if index else None
    case(name, "pool_forward", full, [nhwc(x)], [fresh(nhwc(y))] + ([fresh(indices)] if index else []))
    case(name + "_backward", "pool_backward", full, [nhwc(g), indices], [fresh(nhwc(x.grad))])


pool("maxpool", lambda x: F.max_pool2d(x, 3, 2, 1, return_indices=True), "max", 2, 3, 9, 8, "kh3kw3sh2sw2pt1pl1pb1pr1", True)
pool("maxpool_ceil", lambda x: F.max_pool2d(x, 3, 2, 0, ceil_mode=True, return_indices=True), "max", 2, 3, 8, 10,
     "kh3kw3sh2sw2pb1pr1", True)
pool("avgpool_include", lambda x: F.avg_pool2d(x, 3, 2, 1), "average", 2, 3, 9, 8,
     "kh3kw3sh2sw2pt1pl1pb1pr1count_include_pad1")
pool("avgpool_exclude", lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False), "average", 2, 3, 9, 8,
     "kh3kw3sh2sw2pt1pl1pb1pr1")
pool("adaptive", lambda x: F.adaptive_avg_pool2d(x, (3, 4)), "average", 2, 3, 7, 9, "adaptive1")
pool("global", lambda x: F.adaptive_avg_pool2d(x, 1), "average", 2, 3, 7, 9, "kh7kw9")


def fake_quant(name, narrow, per_channel):
    """PyTorch's fake quantisation of float32, scale range / 127; multiples of an eighth of the scale, so that ties occur."""
    low = -127 if narrow else -128
    ranges = torch.tensor([1.0, 0.5, 3.0], dtype=torch.float32) if per_channel else torch.tensor([2.0], dtype=torch.float32)
    rows, count = len(ranges), 500
    scale = ranges / 127
    steps = torch.randint(-1100, 1100, (rows, count)).to(torch.float32) / 8
    x = (steps * scale[:, None]).requires_grad_()
    if per_channel:
        y = torch.fake_quantize_per_channel_affine(x, scale, torch.zeros(rows, dtype=torch.int32), 0, low, 127)
    else:
        y = torch.fake_quantize_per_tensor_affine(x, float(scale[0]), 0, low, 127)
    g = torch.randn(rows, count, dtype=torch.float32)
    y.backward(g)
    xs, r, desc = x.detach().numpy(), ranges.numpy(), f"rows{rows}count{count}narrow{int(narrow)}"
    case(name, "fake_quant", desc, [xs, r], [fresh(y.detach().numpy())], 0)
    case(name + "_backward", "fake_quant_backward", desc, [g.numpy(), xs, r], [fresh(x.grad.numpy())], 0)
    seen = np.abs(xs).max(1)
    case(name + "_range", "fake_quant_range", desc.replace("narrow", ",momentum=0.25,narrow"), [xs],
         [(r, np.float32(0.75) * r + np.float32(0.25) * seen)], 1e-7)


fake_quant("fake_quant_tensor", False, False)
fake_quant("fake_quant_channels", True, True)


def resize(name, ih, iw, oh, ow, desc, **options):
    x = torch.randn(2, 3, ih, iw, requires_grad=True)
    y = F.interpolate(x, (oh, ow), **options)
    g = torch.randn_like(y)
    y.backward(g)
    full = f"n2ih{ih}iw{iw}oh{oh}ow{ow}c3{desc},type=f64"
    case(name, "resize_forward", full, [nhwc(x)], [fresh(nhwc(y))])
    case(name + "_backward", "resize_backward", full, [nhwc(g)], [fresh(nhwc(x.grad))])


resize("resize_nearest", 5, 7, 10, 14, "", mode="nearest")
resize("resize_bilinear", 5, 7, 9, 13, "bilinear1", mode="bilinear", align_corners=False)
resize("resize_corners", 5, 7, 9, 13, "bilinear1align_corners1", mode="bilinear", align_corners=True)
resize("resize_shrink", 9, 8, 4, 3, "bilinear1", mode="bilinear", align_corners=False)


def batch_norm(name, training):
    n, c, h, w = 3, 4, 5, 6
    eps, momentum = 0.0009765625, 0.125  # exact in float32, the type of the descriptor's fields
    x = torch.randn(n, c, h, w, requires_grad=True)
    gamma, beta = torch.rand(c).add(0.5).requires_grad_(), torch.randn(c, requires_grad=True)
    mean, var = torch.randn(c), torch.rand(c) + 0.5
    mean0, var0 = mean.numpy().copy(), var.numpy().copy()
    y = F.batch_norm(x, mean, var, gamma, beta, training, momentum, eps)
    g = torch.randn_like(y)
    y.backward(g)
    rows = n * h * w
    desc = f"rows{rows}channels{c},count={rows},type=f64,epsilon={eps},momentum={momentum}" + ("" if training else ",frozen1")
    xs, gs = nhwc(x), nhwc(g)
    flat = xs.reshape(rows, c)
    stats = np.stack([flat.sum(0), (flat ** 2).sum(0)])
    used_mean, used_var = (flat.mean(0), flat.var(0)) if training else (mean0, var0)
    rstd = 1 / np.sqrt(used_var + eps)
    coef = np.stack([gamma.detach().numpy() * rstd, beta.detach().numpy() - used_mean * gamma.detach().numpy() * rstd])
    saved = np.stack([used_mean, rstd])
    if training:
        case(name + "_stats", "bn_stats", desc, [xs], [fresh(stats)])
        case(name + "_finalise", "bn_finalise", desc, [stats, gamma.detach().numpy(), beta.detach().numpy()],
             [fresh(coef), fresh(saved), (mean0, mean.numpy()), (var0, var.numpy())], 1e-10)
    else:
        case(name + "_coef", "bn_coef", desc, [gamma.detach().numpy(), beta.detach().numpy(), mean0, var0], [fresh(coef), fresh(saved)])
    case(name + "_apply", "bn_apply", desc, [xs, coef], [fresh(nhwc(y))], 1e-11)
    gf = gs.reshape(rows, c)
    sums = np.stack([gf.sum(0), (gf * flat).sum(0)])
    case(name + "_grad_stats", "bn_grad_stats", desc, [gs, xs, nhwc(y)], [fresh(sums)])
    p = gamma.detach().numpy() * rstd
    dgamma, dbeta = gamma.grad.numpy(), beta.grad.numpy()
    q = -p * rstd * dgamma / rows if training else 0 * p
    r = -p * dbeta / rows - q * used_mean if training else 0 * p
    case(name + "_grad_finalise", "bn_grad_finalise", desc, [sums, gamma.detach().numpy(), saved],
         [fresh(np.stack([p, q, r])), (np.ones(c), 1 + dgamma), (np.ones(c), 1 + dbeta)], 1e-10)
    case(name + "_grad_apply", "bn_grad_apply", desc, [gs, xs, nhwc(y), np.stack([p, q, r])], [fresh(nhwc(x.grad))], 1e-10)


batch_norm("bn_training", True)
batch_norm("bn_evaluation", False)


def losses():
    rows, classes = 7, 5
    x = torch.randn(rows, classes, requires_grad=True)
    y = torch.softmax(x, 1)
    g = torch.randn_like(y)
    y.backward(g)
    desc = f"rows{rows}classes{classes},type=f64"
    case("softmax", "softmax_forward", desc, [x.detach().numpy()], [fresh(y.detach().numpy())])
    case("softmax_backward", "softmax_backward", desc, [g.numpy(), y.detach().numpy()], [fresh(x.grad.numpy())])
    labels = torch.randint(classes, (rows,))
    weight = (torch.rand(classes) + 0.5).float()
    one_hot = F.one_hot(labels, classes).numpy().astype(np.float32)
    soft = torch.softmax(torch.randn(rows, classes), 1).float()

    def entropy(name, smoothing, w, targets, loss_of):
        z = torch.randn(rows, classes, requires_grad=True)
        loss = loss_of(z)
        loss.backward()
        case(name, "softmax_ce", desc + f",smoothing={smoothing},grad_scale=1",
             [z.detach().numpy(), targets, None if w is None else w.numpy(), None],
             [fresh(loss.detach().numpy().reshape(1)), None, fresh(z.grad.numpy())], 1e-7)

    entropy("ce_plain", 0, None, one_hot, lambda z: F.cross_entropy(z, labels))
    entropy("ce_smooth", 0.125, None, one_hot, lambda z: F.cross_entropy(z, labels, label_smoothing=0.125))
    entropy("ce_weighted", 0, weight, one_hot, lambda z: F.cross_entropy(z, labels, weight.double()))
    entropy("ce_soft", 0, None, soft.numpy(), lambda z: F.cross_entropy(z, soft.double()))
    z = torch.randn(rows, classes, requires_grad=True)
    loss = F.binary_cross_entropy_with_logits(z, torch.from_numpy(one_hot).double())
    loss.backward()
    case("bce", "sigmoid_bce", desc + ",grad_scale=1", [z.detach().numpy(), one_hot, None, None],
         [fresh(loss.detach().numpy().reshape(1)), None, fresh(z.grad.numpy())])


losses()


def optimiser(name, desc, make, moments, steps=3):
    """Each step is a case of its own, from PyTorch's float64 state of the step before, rounded to float32."""
    count, rate = 37, 0.0078125
    w = torch.randn(count, requires_grad=True)
    optim = make([w], rate)
    keys = {"m": ("momentum_buffer", "exp_avg"), "v": ("exp_avg_sq", "square_avg")}

    def moment(which):
        state = optim.state[w]
        for key in keys[which]:
            if state.get(key) is not None:
                return state[key].detach().numpy().astype(np.float32).copy()
        return np.zeros(count, np.float32)

    for step in range(1, steps + 1):
        g = torch.randn(count)
        before = [w.detach().numpy().astype(np.float32).copy(), moment("m"), moment("v")]
        w.grad = g.clone()
        optim.step()
        after = [w.detach().numpy().copy(), moment("m"), moment("v")]
        state = struct.pack("<ffffqiid", rate, 1, 0, 1, step, 1, -1, 0)
        segment = struct.pack("<qqff", 0, count, 1, 1)
        gradient = g.numpy().astype(np.float32)
        outs = [(before[0], after[0])]
        outs += [(before[i], after[i]) if "_mv"[i] in moments else None for i in (1, 2)]
        outs += [None, (np.frombuffer(state, np.uint8), None), (gradient, np.zeros(count))]
        case(f"{name}{step}", "optimiser", f"count{count}segments1{desc}", [gradient, np.frombuffer(segment, np.uint8)], outs, 2e-6)


sgd, adam = torch.optim.SGD, torch.optim.Adam
optimiser("sgd", ",rule=sgd,momentum=0.875,weight_decay=0.0625", lambda w, r: sgd(w, r, 0.875, weight_decay=0.0625), "m")
optimiser("nesterov", "nesterov1,rule=sgd,momentum=0.875", lambda w, r: sgd(w, r, 0.875, nesterov=True), "m")
optimiser("adam", ",rule=adam,beta_m=0.875,beta_v=0.96875,epsilon=0.0009765625,weight_decay=0.0625",
          lambda w, r: adam(w, r, (0.875, 0.96875), 0.0009765625, 0.0625), "mv")
optimiser("adamw", ",rule=adamw,beta_m=0.875,beta_v=0.96875,epsilon=0.0009765625,weight_decay=0.0625",
          lambda w, r: torch.optim.AdamW(w, r, (0.875, 0.96875), 0.0009765625, 0.0625), "mv")
optimiser("rmsprop", ",rule=rmsprop,rho=0.875,epsilon=0.0009765625,momentum=0.5",
          lambda w, r: torch.optim.RMSprop(w, r, 0.875, 0.0009765625, momentum=0.5), "mv")


def main():
    tool, folder = sys.argv[1:]
    paths = [f"{folder}/ops.txt", f"{folder}/ops.in.safetensors", f"{folder}/ops.out.safetensors"]
    with open(paths[0], "w") as f:
        f.write("\n".join(cases) + "\n")
    plain_safetensors.write(paths[1], tensors)
    done = subprocess.run([tool, *paths], capture_output=True, text=True)
    if done.returncode:
        print(f"not ok 1 - kernels run\n# {done.stderr}")
        sys.exit(1)
    results, _ = plain_safetensors.read(paths[2])
    failures = 0
    for count, (name, (want, tolerance)) in enumerate(sorted(expected.items()), 1):
        got = results[name].astype(np.float64).reshape(want.shape)
        size = max(1.0, float(np.max(np.abs(want)))) if want.size else 1.0
        error = float(np.max(np.abs(got - want))) / size if want.size else 0.0
        good = error <= tolerance
        failures += not good
        print(f"{'ok' if good else 'not ok'} {count} - {name}: error {error:.1e}")
    sys.exit(failures > 0)


main()
