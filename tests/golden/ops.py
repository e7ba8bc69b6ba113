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

try:
    import torchvision
except ImportError:
    torchvision = None

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


def draw_boxes(count, least=6.0, most=40.0):
    corner = torch.rand(count, 2) * 60
    return torch.cat([corner, corner + least + torch.rand(count, 2) * (most - least)], 1).float()


def encoded(box, prior, variance):
    """Liu and others 2016, section 2.2, as torch tensors [k, 4]."""
    box, prior = box.double(), prior.double()
    size, other = prior[:, 2:] - prior[:, :2], box[:, 2:] - box[:, :2]
    centre = ((box[:, :2] + box[:, 2:]) - (prior[:, :2] + prior[:, 2:])) / 2
    return torch.cat([centre / (size * variance[:2]), torch.log(other / size) / variance[2:]], 1)


def decoded(location, prior, variance, width, height):
    prior = prior.double()
    size, centre = prior[:, 2:] - prior[:, :2], (prior[:, :2] + prior[:, 2:]) / 2
    centre, half = centre + location[:, :2] * variance[:2] * size, size * torch.exp(location[:, 2:] * variance[2:]) / 2
    box = torch.cat([centre - half, centre + half], 1)
    return torchvision.ops.clip_boxes_to_image(box, (height, width)).float()


def matched(priors, boxes, kinds, positive, negative, bipartite, low_quality=False):
    """One image's matches from the table of overlaps, torchvision's, by looking for its greatest element again and again."""
    end = (kinds.tolist() + [-1]).index(-1)
    boxes, kinds = boxes[:end], kinds[:end]
    match = torch.full((len(priors),), -1, dtype=torch.int64)
    rows = [k for k in range(end) if kinds[k] >= 0]
    if rows:
        table = torchvision.ops.box_iou(boxes[rows], priors)
        best, at = table.max(0)
        free = table.clone()
        for _ in range(len(rows) if bipartite else 0):
            k, p = divmod(int(free.argmax()), len(priors))
            if free[k, p] <= 0:
                break
            match[p] = rows[k]
            free[k, :], free[:, p] = -1, -1
        greatest = table.max(1, keepdim=True).values
        closest = ((table == greatest) & (table > 0)).any(0)
        for p in range(len(priors)):
            if match[p] == -1:
                match[p] = rows[int(at[p])] if best[p] >= positive or low_quality and closest[p] else -2 if best[p] >= negative else -1
    for p in range(len(priors)):
        for k in range(end):
            if match[p] == -1 and kinds[k] == -2:
                corner, other = torch.maximum(priors[p, :2], boxes[k, :2]), torch.minimum(priors[p, 2:], boxes[k, 2:])
                common = float((other - corner).clamp(min=0).prod())
                if common >= 0.5 * float((priors[p, 2:] - priors[p, :2]).prod()):
                    match[p] = -2
    return match


def detectors():
    n, count, capacity, classes = 3, 90, 7, 4
    variance = torch.tensor([0.125, 0.125, 0.25, 0.25])
    spread = ",variance=0.125:0.125:0.25:0.25"
    priors, boxes = draw_boxes(count), draw_boxes(n * capacity).reshape(n, capacity, 4)
    kinds = torch.randint(-2, classes, (n, capacity))
    kinds[kinds == -1], kinds[0, 5:], kinds[1, 0], kinds[2] = 1, -1, -2, torch.randint(classes, (capacity,))
    labels = [priors.numpy(), boxes.numpy(), kinds.numpy().astype(np.int32)]
    for bipartite, low_quality in ((0, 1), (0, 0), (1, 0)):
        match = torch.stack([matched(priors, boxes[i], kinds[i], 0.5, 0.375, bipartite, low_quality) for i in range(n)])
        assert (match >= 0).any() and (match == -2).any()
        case(f"match_boxes{bipartite}{low_quality}", "match_boxes", f"n{n}priors{count}capacity{capacity}bipartite{bipartite}"
             f"low_quality{low_quality},positive=0.5,negative=0.375", labels, [fresh(match.numpy().astype(np.int32))], 0)

    for ratio in (0, 3, 1000):
        location = torch.randn(n, count, 4, requires_grad=True)
        confidence = torch.randn(n, count, classes + 1, requires_grad=True)
        image, prior = torch.where(match >= 0)
        wanted = torch.zeros(n, count, dtype=torch.int64)
        wanted[image, prior] = kinds[image, match[image, prior]] + 1
        entropy = F.cross_entropy(confidence.reshape(-1, classes + 1), wanted.reshape(-1), reduction="none").reshape(n, count)
        backgrounds = entropy[match == -1]
        hardest = backgrounds.topk(min(len(backgrounds), ratio * len(image)))[0]
        class_loss = (entropy[image, prior].sum() + hardest.sum()) / len(image)
        target = encoded(boxes[image, match[image, prior]], priors[prior], variance)
        box_loss = F.smooth_l1_loss(location[image, prior], target, reduction="sum") / len(image)
        total = class_loss + 0.5 * box_loss
        (total * 8 * 4).backward()
        case(f"multibox_loss{ratio}", "multibox_loss", f"n{n}priors{count}classes{classes}capacity{capacity},type=f64,neg_pos_ratio={ratio},"
             f"location_weight=0.5{spread},grad_scale=8",
             [location.detach().numpy(), confidence.detach().numpy()] + labels + [match.numpy().astype(np.int32), np.float32([4])],
             [fresh(x.detach().numpy().reshape(1)) for x in (total, box_loss, class_loss, torch.tensor(float(len(image))))] +
             [fresh(location.grad.numpy()), fresh(confidence.grad.numpy())])

    for alpha, gamma, beta, per_image in ((0.25, 2, 0, 1), (0.5, 1.5, 0.25, 0)):
        location, confidence = torch.randn(n, count, 4, requires_grad=True), torch.randn(n, count, classes, requires_grad=True)
        wanted, class_loss, box_loss = torch.zeros(n, count, classes), 0, 0
        image, prior = torch.where(match >= 0)
        wanted[image, prior, kinds[image, match[image, prior]]] = 1
        focal = torchvision.ops.sigmoid_focal_loss(confidence, wanted, alpha, gamma)
        for i in range(n):
            here = image == i
            positives = max(1, int(here.sum()) if per_image else len(image)) * (n if per_image else 1)
            target = encoded(boxes[i, match[i, prior[here]]], priors[prior[here]], variance)
            class_loss = class_loss + focal[i][match[i] != -2].sum() / positives
            off = (location[i, prior[here]], target)
            box_loss = box_loss + (F.smooth_l1_loss(*off, beta=beta, reduction="sum") if beta else F.l1_loss(*off, reduction="sum")) / positives
        total = class_loss + 0.5 * box_loss
        (total * 8 * 4).backward()
        case(f"focal_loss{per_image}", "focal_loss", f"n{n}priors{count}classes{classes}capacity{capacity}per_image{per_image},type=f64,alpha={alpha},"
             f"gamma={gamma},beta={beta},location_weight=0.5{spread},grad_scale=8",
             [location.detach().numpy(), confidence.detach().numpy()] + labels + [match.numpy().astype(np.int32), np.float32([4])],
             [fresh(x.detach().numpy().reshape(1)) for x in (total, box_loss, class_loss, torch.tensor(float(len(image))))] +
             [fresh(location.grad.numpy()), fresh(confidence.grad.numpy())])

    width, height, most, top_k = 80, 64, 25, 30
    location, priors = torch.randn(n, count, 4), draw_boxes(count, 10)
    for sigmoid in (0, 1):
        scores = torch.randn(n, count, classes + 1 - sigmoid) * 2
        result = torch.zeros(n, most, 6)
        result[:, :, 5] = -1
        for i in range(n):
            box, found = decoded(location[i], priors, variance, width, height), []
            score = (torch.sigmoid(scores[i]) if sigmoid else torch.softmax(scores[i], 1)[:, 1:]).float()
            for k in range(classes):
                candidates = score[:, k].argsort(descending=True)
                candidates = candidates[score[candidates, k] > 0.0625][:top_k]
                kept = candidates[torchvision.ops.nms(box[candidates], score[candidates, k], 0.5)]
                found += [(float(score[p, k]), k, box[p]) for p in kept]
            assert len(found) > 10
            found.sort(key=lambda f: -f[0])
            for at, (s, k, b) in enumerate(found[:most]):
                result[i, at] = torch.cat([b.double(), torch.tensor([s, float(k)])])
        case(f"detect_boxes{sigmoid}", "detect_boxes", f"n{n}priors{count}classes{classes}capacity{most}sigmoid{sigmoid}top_k{top_k},type=f64,"
             f"threshold=0.0625,iou=0.5{spread},width={width},height={height}",
             [location.numpy(), scores.numpy(), priors.numpy()], [fresh(result.numpy().astype(np.float32))], 1e-6)


if torchvision:
    detectors()
else:
    print("# no python3-torchvision: boxes are left out")


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
