"""Writes networks that Graft does not build as ONNX files, with what PyTorch computes for them: NAME.onnx, NAME.image (prepared, NHWC),
NAME.scores. `odd` is a network of all the forms that exporters write; it is written in several opsets."""
import sys
import warnings

import torch
import torch.nn.functional as F
import torchvision

warnings.filterwarnings("ignore")
torch.set_num_threads(1)
SIDE = 64


class Odd(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.bn = torch.nn.BatchNorm2d(8)
        self.left = torch.nn.Conv2d(4, 8, (3, 5), padding=(0, 2), dilation=(2, 1))
        self.right = torch.nn.Conv2d(4, 8, 3, groups=4, padding=1)
        self.gate = torch.nn.Linear(16, 16)
        self.scale = torch.nn.Parameter(torch.rand(1, 16, 1, 1) + 0.5)
        self.fc1 = torch.nn.Linear(16 * 7 * 4, 24)
        self.fc2 = torch.nn.Linear(24, 10, bias=False)
        self.offset = torch.nn.Parameter(torch.randn(10))

    def forward(self, x):
        x = self.bn(F.leaky_relu(self.stem(x - 0.25), 0.2))               # [n, 8, 32, 32]; a batch-norm that nothing takes in
        a, b = x.chunk(2, 1)
        a = F.interpolate(self.left(a)[:, :, ::2], scale_factor=2.0)      # [n, 8, 28, 64]
        b = F.interpolate(self.right(b), size=(28, 64), mode="bilinear", align_corners=True)
        x = torch.cat([F.hardswish(a), torch.sigmoid(b)], 1)               # [n, 16, 28, 64]
        x = F.pad(x, (0, 0, 0, 2), value=0.5)[:, :, 1:29]
        x = torch.cat([x[:, :, :14], x[:, :, 14:] * 0.5], 2)               # along the height
        g = self.gate(F.adaptive_max_pool2d(x, 1).view(x.size(0), -1))
        x = x * torch.sigmoid(g).unsqueeze(-1).unsqueeze(-1) * self.scale
        x = F.avg_pool2d(x, (3, 3), stride=(2, 4), padding=1, count_include_pad=True)  # [n, 16, 14, 16]
        n, c, h, w = x.size()
        x = x.view(n, 4, c // 4, h, w).transpose(1, 2).reshape(n, c, h, w)  # channel shuffle
        x = F.max_pool2d(x, (2, 3), stride=(2, 5), ceil_mode=True)          # [n, 16, 7, 4]
        x = torch.clamp(F.relu6(self.fc1(F.dropout(torch.flatten(x, 1), training=False))), 0.1, 5.5)
        return torch.softmax(self.fc2(x) + self.offset, 1)                  # the softmax is left out by the import


def build(name):
    torch.manual_seed(3)
    model = Odd() if name == "odd" else getattr(torchvision.models, name)(weights=None, num_classes=10)
    for m in model.eval().modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.running_mean.normal_(0, 0.2)
            m.running_var.uniform_(0.5, 1.5)
            m.weight.data.uniform_(0.5, 1.5)
            m.bias.data.normal_(0, 0.2)
    return model


def write(folder, name, opset, folded):
    model, image = build(name), torch.randn(3, 3, SIDE, SIDE)
    path = f"{folder}/{name}_{opset}"
    mode = torch.onnx.TrainingMode.EVAL if folded else torch.onnx.TrainingMode.PRESERVE
    torch.onnx.export(model, image, f"{path}.onnx", opset_version=opset, input_names=["pixels"], dynamic_axes={"pixels": {0: "n"}},
                      training=mode, do_constant_folding=folded)
    with torch.no_grad():
        scores = model(image)
    if name == "odd":  # Graft gives scores; a softmax forgets a constant, which comparing takes out again
        scores = scores.log()
    image.permute(0, 2, 3, 1).contiguous().numpy().tofile(f"{path}.image")
    scores.numpy().tofile(f"{path}.scores")
    print(path)


folder = sys.argv[1]
for opset in (11, 13, 16):
    write(folder, "odd", opset, opset != 13)
for network in sys.argv[2:]:
    write(folder, network, 13, network != "shufflenet_v2_x0_5")
