"""Compares Graft's detectors with torchvision's, weights copied: losses, every gradient, running statistics, some SGD steps, and the
boxes that are found. The measure is that of backbones.py.

    detectors.py GOLDEN_RUN FOLDER

RetinaNet stands on ResNet-18, its pyramid is 16 wide and two convolutions stand in front of the predictions instead of four, so that it takes
seconds; the layers are those of retinanet_resnet50_fpn. The backbone is made such that no activation decides by a rounding
(margins.place_corners). Layers that all levels share cannot be moved so: seeds are those for which it holds anyhow, which is checked.
"""
import subprocess
import sys

import numpy as np
import torch
import torchvision
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.image_list import ImageList
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

import backbones
import margins
import plain_safetensors

SIDE, IMAGES, CLASSES, CHANNELS, CONVOLUTIONS, STEPS, MOST = 64, 4, 3, 16, 2, 3, 60
WORDS = ["model.head=retinanet", "retinanet.form=torchvision", f"retinanet.channels={CHANNELS}", f"retinanet.subnet_layers={CONVOLUTIONS}",
         "retinanet.variances=1 1 1 1", "retinanet.smooth_l1_beta=0", "retinanet.location_weight=1", "retinanet.positive_iou=0.5",
         "retinanet.negative_iou=0.4", "detect.score_threshold=0.05", "detect.nms_iou=0.5", "detect.nms_candidates=100000",
         f"detect.max_detections={MOST}"]


class Whole(torch.nn.Module):
    """RetinaNet between the image as the network sees it and its loss or its boxes, without resizing and normalising."""

    def __init__(self):
        super().__init__()
        body = torchvision.models.resnet18(weights=None)
        backbone = BackboneWithFPN(body, {f"layer{k}": str(k - 2) for k in (2, 3, 4)}, [128, 256, 512], CHANNELS,
                                   extra_blocks=LastLevelP6P7(CHANNELS, CHANNELS))
        sizes = tuple((x, int(x * 2 ** (1 / 3)), int(x * 2 ** (2 / 3))) for x in (32, 64, 128, 256, 512))
        anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * 5)
        self.net = RetinaNet(backbone, CLASSES, anchor_generator=anchors, score_thresh=0.05, nms_thresh=0.5, detections_per_img=MOST,
                             topk_candidates=100000)
        for head in (self.net.head.classification_head, self.net.head.regression_head):
            head.conv = head.conv[:CONVOLUTIONS]

    def forward(self, image):
        features = list(self.net.backbone(image).values())
        outputs = self.net.head(features)
        anchors = self.net.anchor_generator(ImageList(image, [image.shape[-2:]] * len(image)), features)
        return features, outputs, [a.to(image.dtype) for a in anchors]

    def losses(self, image, targets):
        _, outputs, anchors = self(image)
        found = self.net.compute_loss(targets, outputs, anchors)
        return found["classification"], found["bbox_regression"]

    def boxes(self, image):
        features, outputs, anchors = self(image)
        counts = [f.shape[2] * f.shape[3] * 9 for f in features]
        split = {k: list(v.split(counts, dim=1)) for k, v in outputs.items()}
        return self.net.postprocess_detections(split, [list(a.split(counts)) for a in anchors], [image.shape[-2:]] * len(image))


def our_name(name):
    return name.replace("net.backbone.body.", "").replace("net.backbone.fpn.", "fpn.").replace("net.head.", "head.")


def make_model(image):
    torch.manual_seed(5)
    model = Whole()
    body = model.net.backbone.body
    for m in body.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(m.weight, 0.5, 1.5)
            torch.nn.init.normal_(m.bias, 0, 0.2)
            torch.nn.init.normal_(m.running_mean, 0, 0.2)
            torch.nn.init.uniform_(m.running_var, 0.5, 1.5)
        if isinstance(m, torchvision.models.resnet.BasicBlock):
            m.bn2.weight.data *= 0.3
    body.double()
    margins.place_corners(body, image.double())
    body.float()
    torch.manual_seed(0)
    for m in [*model.net.backbone.fpn.modules(), *model.net.head.modules()]:
        if isinstance(m, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(m.weight)
            torch.nn.init.normal_(m.bias, 0, 0.1)
    model.net.head.classification_head.cls_logits.weight.data *= 0.05
    model.net.head.regression_head.bbox_reg.weight.data *= 0.01
    return model.float()


def least_margin(model, image):
    found = []
    for mode in ("train", "eval"):
        def seen(dtype, channels_last=False):
            return margins.watch(clone(model, dtype, channels_last).train(mode == "train"), image.to(dtype))
        exact = seen(torch.float64)
        with margins.Chains(1):
            chains = seen(torch.float64)
        found.append(margins.margins(exact, [seen(torch.float32), seen(torch.float32, True), chains]))
    return min(found)


def clone(source, dtype, channels_last=False):
    model = Whole()
    model.load_state_dict(source.state_dict())
    model = model.to(dtype)
    return model.to(memory_format=torch.channels_last) if channels_last else model


def one_pass(model, image, targets, mode):
    model.train(mode == "train")
    model.zero_grad(set_to_none=True)
    losses = model.losses(image, targets)
    sum(losses).backward()
    result = {f"{mode}.loss": torch.stack([sum(losses), losses[1], losses[0]])}
    result.update({f"{mode}.grad.{our_name(k)}": p.grad for k, p in model.named_parameters() if p.grad is not None})
    result.update({f"{mode}.state.{our_name(k)}": b for k, b in model.named_buffers() if "running" in k})
    return {k: v.detach().double().numpy().copy() for k, v in result.items()}


def sgd_steps(model, image, targets):
    model.train()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    losses = []
    for _ in range(STEPS):
        optimiser.zero_grad()
        loss = sum(model.losses(image, targets))
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return np.array(losses)


def pytorch(source, image, targets, dtype, channels_last=False, order=None, chains=None):
    if chains is not None:
        with margins.Chains(chains):
            return pytorch(source, image, targets, dtype)
    order = list(range(IMAGES)) if order is None else order
    x, t = image[order].to(dtype), [{"boxes": targets[i]["boxes"].to(dtype), "labels": targets[i]["labels"]} for i in order]
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    result = one_pass(clone(source, dtype, channels_last), x, t, "train")
    result.update(one_pass(clone(source, dtype, channels_last), x, t, "eval"))
    result["losses"] = sgd_steps(clone(source, dtype, channels_last), x, t)
    return result


def draw(generator):
    """Pictures of noise with two or three boxes. Those smaller than an anchor are held whole by several, which overlap them alike."""
    image = torch.randn(IMAGES, 3, SIDE, SIDE, generator=generator)
    targets = []
    for i in range(IMAGES):
        boxes, labels = [], []
        for x, y in ((2, 2), (36, 4), (4, 36))[:3 - i % 2]:
            w, h = (18 + 8 * torch.rand(2, generator=generator)).tolist()
            boxes.append([x, y, x + w, y + h])
            labels.append(int(torch.randint(CLASSES, (1,), generator=generator)))
        targets.append({"boxes": torch.tensor(boxes), "labels": torch.tensor(labels)})
    return image, targets


def same_boxes(ours, theirs):
    """The worst difference in pixels or score of any detection, and how many there are; their list is shorter where ours ends at class -1."""
    worst, count = 0.0, 0
    for rows, found in zip(ours, theirs):
        rows = rows[rows[:, 5] >= 0]
        if len(rows) != len(found["scores"]):
            return np.inf, len(rows)
        expected = torch.cat([found["boxes"], found["scores"][:, None], found["labels"][:, None]], 1).detach().double().numpy()
        worst, count = max([worst, *np.abs(rows - expected).ravel()]), count + len(rows)
    return worst, count


def main():
    tool, folder = sys.argv[1:]
    torch.set_num_threads(2)
    count = failures = 0

    def report(good, title, detail=""):
        nonlocal count, failures
        count += 1
        failures += not good
        print(f"{'ok' if good else 'not ok'} {count} - {title}", flush=True)
        if not good and detail:
            print("# " + detail.replace("\n", "\n# "), flush=True)

    image, targets = draw(torch.Generator().manual_seed(1))
    source = make_model(image)
    least, where = least_margin(source, image)
    report(least >= backbones.SAFE, f"retinanet takes no side by rounding: {least:.1f} times float32's error at least ({where})")
    boxes, kinds = np.zeros((IMAGES, 4, 4), np.float32), np.full((IMAGES, 4), -1, np.int32)
    for i, t in enumerate(targets):
        boxes[i, :len(t["labels"])], kinds[i, :len(t["labels"])] = t["boxes"].numpy(), t["labels"].numpy()
    state = {our_name(k): v.numpy() for k, v in source.state_dict().items() if "num_batches" not in k}
    paths = [f"{folder}/retinanet.{part}.safetensors" for part in ("weights", "batch", "results", "model")]
    plain_safetensors.write(paths[0], state)
    plain_safetensors.write(paths[1], {"image": image.permute(0, 2, 3, 1).contiguous().numpy(), "boxes": boxes, "box_class": kinds,
                                       "classes": np.zeros(CLASSES, np.int32)})
    exact = pytorch(source, image, targets, torch.float64)
    floats = [*(pytorch(source, image, targets, torch.float32, **v) for v in backbones.VARIANTS),
              *(pytorch(source, image, targets, torch.float64, chains=seed) for seed in (1, 2))]
    done = subprocess.run([tool, "resnet18", *paths, str(STEPS), *WORDS], capture_output=True, text=True)
    report(done.returncode == 0, "retinanet runs", done.stderr)
    if done.returncode:
        sys.exit(1)
    ours, _ = plain_safetensors.read(paths[2])
    for mode in ("train", "eval"):
        ours[f"{mode}.loss"] = np.concatenate([ours[f"{mode}.{k}"].ravel() for k in ("loss", "loss_box", "loss_class")])
        for title, names in (("losses", [f"{mode}.loss"]), ("gradients", [k for k in exact if k.startswith(f"{mode}.grad.")]),
                             ("running statistics", [k for k in exact if k.startswith(f"{mode}.state.")])):
            missing = [k for k in names if k not in ours]
            worst, at = (np.inf, f"missing: {missing[:3]}") if missing else backbones.compare(names, ours, exact, floats)
            report(worst <= 2, f"retinanet {mode}: {len(names)} {title}, largest error {worst:.2f}x float32's ({at})")
    worst, at = backbones.compare(["losses"], ours, exact, floats)
    report(worst <= 2, f"retinanet: {STEPS} SGD steps, largest error {worst:.2f}x float32's")
    model = clone(source, torch.float64).eval()
    worst, found = same_boxes(ours["evaluator.logits"], model.boxes(image.double()))
    report(found > 20 and worst <= 1e-3, f"retinanet finds the same {found} boxes, largest difference {worst:.2g}")
    sys.exit(failures > 0)


main()
