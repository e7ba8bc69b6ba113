"""Compares Graft's networks with independent implementations, weights copied: logits, loss, running statistics and every gradient, in
training and evaluation mode, some SGD steps, and load_state_dict(strict=True) of a model file that Graft wrote. The networks are
torchvision's where it has them; the others are written from their papers in papers.py.

    backbones.py GOLDEN_RUN FOLDER [CASE ...]

The yardstick of every quantity is the norm of its error against PyTorch in float64. Graft may err at most twice as much as float32 must
be allowed to: the most of four float32 computations of PyTorch's that differ in the order of their sums only (two memory layouts, and
the batch in other orders), and of two in which every sum is one chain of additions (margins.py), the kind of kernel that errs most.
PyTorch's alone would not do, because which kernels it has depends on the CPU.

Only computations that take the same side everywhere can be compared so: the networks are made such that no activation and no window of max
pooling decides by a rounding (margins.place_corners), which is checked: SAFE times the largest error that float32 makes there.

GRAFT_GOLDEN_ISAS, words of GRAFT_CPU_ISA, has Graft compute with each of these instruction sets instead of the widest.
"""
import os
import subprocess
import sys

import numpy as np
import torch
import torchvision

import margins
import papers
import plain_safetensors

CLASSES, BATCH, SAFE = 11, 4, 4


class Case:
    """How PyTorch makes the network, what Graft calls it, and with which options."""

    def __init__(self, name, make, side=48, steps=2, options=(), seed=7):
        self.name, self.make, self.side, self.steps, self.options, self.seed = name, make, side, steps, options, seed


def vision(name, **arguments):
    return lambda: getattr(torchvision.models, name)(weights=None, num_classes=CLASSES, **arguments)


def resnet10():
    return torchvision.models.resnet.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=CLASSES)


def vgg(config, norm, width=0.25):
    """torchvision's VGG with narrower layers: its own classifier alone would be 120 million parameters."""
    table = torchvision.models.vgg.cfgs[config]
    features = torchvision.models.vgg.make_layers([v if v == "M" else int(v * width) for v in table], batch_norm=norm)
    model = torchvision.models.VGG(features, num_classes=CLASSES, init_weights=False, dropout=0.0)
    hidden = int(4096 * width)
    for i, shape in ((0, (int(512 * width) * 49, hidden)), (3, (hidden, hidden)), (6, (hidden, CLASSES))):
        model.classifier[i] = torch.nn.Linear(*shape)
    return model


def googlenet():
    return torchvision.models.googlenet(weights=None, num_classes=CLASSES, init_weights=False, aux_logits=True, dropout=0.0,
                                        dropout_aux=0.0, transform_input=False)


NARROW = ["model.width=0.25"]
CASES = [
    Case("resnet10", resnet10, side=32),
    Case("resnet18", vision("resnet18"), steps=10),
    Case("resnet34", vision("resnet34")),
    Case("resnet50", vision("resnet50")),
    Case("resnet101", vision("resnet101")),
    Case("vgg16", lambda: vgg("D", True), side=32, options=NARROW),
    Case("vgg19", lambda: vgg("E", False), side=32, options=NARROW + ["model.use_batch_norm=false"]),
    Case("googlenet", googlenet, options=["model.aux_dropout=0"], seed=1),
    Case("mobilenet_v1", lambda: papers.same_padding(papers.MobileNetV1(CLASSES)), side=64, options=["model.padding=same"]),
    Case("mobilenet_v2", vision("mobilenet_v2", dropout=0.0)),
    Case("squeezenet1_0", vision("squeezenet1_0", dropout=0.0)),
    Case("squeezenet1_1", vision("squeezenet1_1", dropout=0.0)),
    Case("darknet19", lambda: papers.DarkNet19(CLASSES, 0.5), side=64, options=["model.width=0.5"], seed=3),
    Case("darknet53", lambda: papers.DarkNet53(CLASSES, 0.25), side=64, options=NARROW),
]


def make_model(case, image):
    """Weights with which the logits depend on the image: torchvision's own leave of VGG-19's logits their biases but for 1e-7, and none of
    its images distinguishable in float32."""
    torch.manual_seed(sum(case.name.encode()))
    model = case.make()
    if not any(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules()):
        for m in model.modules():
            if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear)):
                torch.nn.init.kaiming_normal_(m.weight)
    for m in model.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(m.weight, 0.5, 1.5)
            torch.nn.init.normal_(m.bias, 0, 0.2)
            torch.nn.init.normal_(m.running_mean, 0, 0.2)
            torch.nn.init.uniform_(m.running_var, 0.5, 1.5)
    for m in model.modules():
        # Trained branches are small beside what they are added to; of a hundred layers of large ones float32 leaves two digits.
        if isinstance(m, (torchvision.models.resnet.BasicBlock, torchvision.models.resnet.Bottleneck)):
            (m.bn3 if hasattr(m, "bn3") else m.bn2).weight.data *= 0.3
    model.double()
    margins.place_corners(model, image.double())
    return model.float()


def clone(case, source, dtype, channels_last):
    model = case.make()
    model.load_state_dict(source.state_dict())
    model = model.to(dtype)
    return model.to(memory_format=torch.channels_last) if channels_last else model


def outputs(model, image):
    """The logits, and those of auxiliary heads."""
    y = model(image)
    return (y.logits, y.aux_logits1, y.aux_logits2) if isinstance(y, torchvision.models.GoogLeNetOutputs) else (y,)


def losses_of(logits, targets):
    """The loss of the logits, and what is differentiated: auxiliary losses count 0.3 (Szegedy and others 2015, section 5)."""
    first, *others = [torch.nn.functional.cross_entropy(y, targets) for y in logits]
    return first, first + 0.3 * sum(others)


def one_pass(model, image, targets, mode):
    model.train(mode == "train")
    model.zero_grad(set_to_none=True)
    logits = outputs(model, image)
    loss, total = losses_of(logits, targets)
    total.backward()
    result = {f"{mode}.logits": logits[0], f"{mode}.loss": loss.reshape(1)}
    result.update({f"{mode}.grad.{k}": p.grad for k, p in model.named_parameters() if p.grad is not None})
    unused = {k.rsplit(".", 1)[0] for k, p in model.named_parameters() if p.grad is None}
    result.update({f"{mode}.state.{k}": b for k, b in model.named_buffers()
                   if "num_batches" not in k and k.rsplit(".", 1)[0] not in unused})
    return {k: v.detach().double().numpy().copy() for k, v in result.items()}


def sgd_steps(model, steps, image, targets):
    model.train()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    losses = []
    for _ in range(steps):
        optimiser.zero_grad()
        loss, total = losses_of(outputs(model, image), targets)
        total.backward()
        optimiser.step()
        losses.append(loss.item())
    return np.array(losses)


def pytorch(case, source, image, targets, dtype, channels_last=False, order=None, chains=None):
    if chains is not None:
        with margins.Chains(chains):
            return pytorch(case, source, image, targets, dtype)

    def fresh():
        return clone(case, source, dtype, channels_last)
    permuted = list(range(len(image))) if order is None else order
    back = np.argsort(permuted)
    x, t = image[permuted].to(dtype), targets[permuted].to(dtype)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    result = one_pass(fresh(), x, t, "train")
    result.update(one_pass(fresh(), x, t, "eval"))
    result["losses"] = sgd_steps(fresh(), case.steps, x, t)
    for mode in ("train", "eval"):
        result[f"{mode}.logits"] = result[f"{mode}.logits"][back]
    result["evaluator.logits"] = result["eval.logits"]
    return result


VARIANTS = [dict(), dict(channels_last=True), dict(order=[2, 0, 3, 1]), dict(channels_last=True, order=[3, 1, 0, 2])]


def all_floats(case, source, image, targets):
    return [*(pytorch(case, source, image, targets, torch.float32, **v) for v in VARIANTS),
            *(pytorch(case, source, image, targets, torch.float64, chains=seed) for seed in (1, 2))]


def least_margin(case, source, image):
    """In units of the largest error of float32, over training and evaluation mode."""
    found = []
    for mode in ("train", "eval"):
        def seen(dtype, channels_last=False):
            model = clone(case, source, dtype, channels_last).train(mode == "train")
            return margins.watch(model, image.to(dtype))
        exact = seen(torch.float64)
        with margins.Chains(1):
            chains = seen(torch.float64)
        found.append(margins.margins(exact, [seen(torch.float32), seen(torch.float32, True), chains]))
    return min(found)


def error_norm(value, exact):
    return np.linalg.norm((value - exact).ravel())


def compare(names, ours, exact, floats):
    """The worst ratio of our error to that of float32, and where."""
    worst, where = 0.0, "-"
    for name in names:
        allowed = max(error_norm(f[name], exact[name]) for f in floats)
        # One rounding of the result to float32 is nobody's fault.
        allowed = max(allowed, np.linalg.norm(exact[name]) * 2.0 ** -24)
        if ours[name].shape != exact[name].shape or not np.all(np.isfinite(ours[name])):
            return np.inf, name
        ratio = error_norm(ours[name].astype(np.float64), exact[name]) / allowed
        if ratio > worst:
            worst, where = ratio, name
    return worst, where


def batch_of(case):
    generator = torch.Generator().manual_seed(case.seed)
    image = torch.randn(BATCH, 3, case.side, case.side, generator=generator)
    return image, torch.softmax(torch.randn(BATCH, CLASSES, generator=generator), 1)


def test(tool, folder, case, isas, report):
    image, targets = batch_of(case)
    source = make_model(case, image)
    state = {k: v.numpy() for k, v in source.state_dict().items()}
    paths = [f"{folder}/{case.name}.{part}.safetensors" for part in ("weights", "batch", "results", "model")]
    plain_safetensors.write(paths[0], state)
    plain_safetensors.write(paths[1], {"image": image.permute(0, 2, 3, 1).contiguous().numpy(), "targets": targets.numpy()})
    least, where = least_margin(case, source, image)
    report(least >= SAFE, f"{case.name} takes no side by rounding: {least:.1f} times float32's error at least ({where})", "")
    exact = pytorch(case, source, image, targets, torch.float64)
    floats = all_floats(case, source, image, targets)
    # A loss is one number, and its error an accident: it is measured together with the logits that it comes from.
    for r in (exact, *floats):
        join_losses(r)
    for isa in isas:
        name = f"{case.name} ({isa})" if isa else case.name
        environment = {**os.environ, "GRAFT_CPU_ISA": isa} if isa else None
        done = subprocess.run([tool, case.name, *paths, str(case.steps), *case.options], capture_output=True, text=True, env=environment)
        if done.returncode:
            report(False, f"{name} runs", done.stderr)
            continue
        ours, _ = plain_safetensors.read(paths[2])
        join_losses(ours)
        judge(name, case.steps, state, ours, exact, floats, report)
    judge_file(case, paths[3], state, report)


def join_losses(r):
    for mode in ("train", "eval"):
        r[f"{mode}.loss"] = np.concatenate((r[f"{mode}.loss"], r[f"{mode}.logits"].ravel()))
    r["losses"] = np.concatenate((r["losses"], r["train.logits"].ravel()))


def judge(name, steps, state, ours, exact, floats, report):
    def group(title, names):
        names = list(names)
        missing = [n for n in names if n not in ours]
        if missing or not names:
            report(False, f"{name} {title}", f"missing: {missing[:5]}")
            return
        worst, where = compare(names, ours, exact, floats)
        report(worst <= 2, f"{name} {title}: {len(names)} tensors, largest error {worst:.2f}x float32's ({where})", "")

    group("training logits", ["train.logits", "train.loss"])
    if any(k.startswith("train.state.") for k in exact):
        group("training running statistics", (k for k in exact if k.startswith("train.state.")))
    group("training gradients", (k for k in exact if k.startswith("train.grad.")))
    group("evaluation logits", ["eval.logits", "eval.loss", "evaluator.logits"])
    group("evaluation gradients", (k for k in exact if k.startswith("eval.grad.")))
    kept = all(np.array_equal(ours[k], state[k[11:]]) for k in exact if k.startswith("eval.state."))
    report(kept, f"{name} evaluation leaves running statistics alone", "")
    group(f"{steps} SGD steps", ["losses"])


def judge_file(case, path, state, report):
    name = case.name
    written, metadata = plain_safetensors.read(path)
    model = case.make()
    try:
        model.load_state_dict({k: torch.from_numpy(v) for k, v in written.items()}, strict=True)
        same = all(np.array_equal(v.numpy(), state[k]) for k, v in model.state_dict().items() if "num_batches" not in k)
        report(same and metadata.get("graft.version") == "1", f"{name} load_state_dict(strict=True) of our model file", "")
    except RuntimeError as error:
        report(False, f"{name} load_state_dict(strict=True) of our model file", str(error))


def main():
    tool, folder, *wanted = sys.argv[1:]
    torch.set_num_threads(2)
    count = failures = 0

    def report(good, title, detail):
        nonlocal count, failures
        count += 1
        failures += not good
        print(f"{'ok' if good else 'not ok'} {count} - {title}", flush=True)
        if not good and detail:
            print("# " + detail.replace("\n", "\n# "), flush=True)

    for case in CASES:
        if not wanted or case.name in wanted:
            test(tool, folder, case, os.environ.get("GRAFT_GOLDEN_ISAS", "").split() or [""], report)
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
