"""Networks that torchvision lacks, written from their papers, with timm's parameter names where timm has the network."""
from torch import nn


class ConvNormAct(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return nn.functional.leaky_relu(self.bn(self.conv(x)), 0.1)


class DarkNet19(nn.Module):
    """Redmon and Farhadi 2017, "YOLO9000: better, faster, stronger", table 6."""

    def __init__(self, classes, width=1.0):
        super().__init__()
        plan = [[32], [64], [128, 64, 128], [256, 128, 256], [512, 256, 512, 256, 512], [1024, 512, 1024, 512, 1024]]
        stages, inputs = [], 3
        for stage in plan:
            layers = []
            for i, outputs in enumerate(stage):
                outputs = int(outputs * width)
                layers.append(ConvNormAct(inputs, outputs, 1 if i % 2 else 3))
                inputs = outputs
            stages.append(nn.Sequential(*layers))
        self.stages = nn.Sequential(*stages)
        self.head = nn.ModuleDict({"conv": nn.Conv2d(inputs, classes, 1)})

    def forward(self, x):
        for i, stage in enumerate(self.stages):
            x = stage(nn.functional.max_pool2d(x, 2, 2, ceil_mode=True) if i else x)
        return self.head["conv"](x).mean((2, 3))


class DarkNet53(nn.Module):
    """Redmon and Farhadi 2018, "YOLOv3: an incremental improvement", table 1."""

    def __init__(self, classes, width=1.0):
        super().__init__()
        channels = int(32 * width)
        self.stem = nn.ModuleDict({"conv1": ConvNormAct(3, channels, 3)})
        stages = []
        for units, outputs in zip((1, 2, 8, 8, 4), (64, 128, 256, 512, 1024)):
            outputs = int(outputs * width)
            blocks = [nn.ModuleDict({"conv1": ConvNormAct(outputs, outputs // 2, 1), "conv2": ConvNormAct(outputs // 2, outputs, 3)})
                      for _ in range(units)]
            stages.append(nn.ModuleDict({"conv_down": ConvNormAct(channels, outputs, 3, 2), "blocks": nn.ModuleList(blocks)}))
            channels = outputs
        self.stages = nn.ModuleList(stages)
        self.head = nn.ModuleDict({"fc": nn.Linear(channels, classes)})

    def forward(self, x):
        x = self.stem["conv1"](x)
        for stage in self.stages:
            x = stage["conv_down"](x)
            for block in stage["blocks"]:
                x = x + block["conv2"](block["conv1"](x))
        return self.head["fc"](x.mean((2, 3)))


class Separable(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv_dw = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv_pw = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return nn.functional.relu6(self.bn2(self.conv_pw(nn.functional.relu6(self.bn1(self.conv_dw(x))))))


class MobileNetV1(nn.Module):
    """Howard and others 2017, "MobileNets", table 1."""

    def __init__(self, classes, width=1.0):
        super().__init__()
        channels = int(32 * width)
        self.conv_stem = nn.Conv2d(3, channels, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        blocks = []
        for stage, (units, outputs) in enumerate(zip((1, 2, 2, 6, 2), (64, 128, 256, 512, 1024))):
            layers = []
            for i in range(units):
                layers.append(Separable(channels, int(outputs * width), 2 if stage and i == 0 else 1))
                channels = int(outputs * width)
            blocks.append(nn.Sequential(*layers))
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x):
        return self.classifier(self.blocks(nn.functional.relu6(self.bn1(self.conv_stem(x)))).mean((2, 3)))


def same_padding(model):
    """TensorFlow's SAME: symmetric pads of strided convolutions become 0 in front and 1 behind where the size is even."""
    def pad(module, inputs):
        x, = inputs
        kernel, stride = module.kernel_size[0], module.stride[0]
        amounts = []
        for size in (x.shape[3], x.shape[2]):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            amounts += [total // 2, total - total // 2]
        return (nn.functional.pad(x, amounts),)

    for m in model.modules():
        if isinstance(m, nn.Conv2d):
            m.padding = (0, 0)
            m.register_forward_pre_hook(pad)
    return model
