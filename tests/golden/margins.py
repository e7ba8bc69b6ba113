"""Data and yardsticks for comparing networks in float32, by PyTorch's overriding of functions, so that any network will do.

place_corners moves biases until no activation's input is near a corner of its activation (0 of a ReLU; 0 and 6 of a ReLU6), in training
mode and in evaluation mode at once: where a rounding decides on which side an input falls, gradients differ visibly between two right
computations. margins says how far they are, max pooling's first from its second too.

Chains computes what float32 errs at least, in float64 with noise of that size: each sum of a convolution or a linear layer, forward and in both
gradients, as one chain of additions in random order that starts with the bias. No order of sums is better for all inputs, many kernels
are such chains, and what one errs is known in closed form: see chain_error.
"""
import contextlib

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

CORNERS = {"relu": (0,), "relu_": (0,), "leaky_relu": (0,), "leaky_relu_": (0,), "hardtanh": (0, 6), "hardtanh_": (0, 6), "relu6": (0, 6)}
# The root mean square error of rounding x to float32, relative to x: ulp / sqrt(12), with x's mantissa m log-uniform in [1, 2), of which
# the mean of 1 / m^2 is 0.541.
ROUNDING = (0.541 / 12) ** 0.5 * 2.0 ** -23


def by_channel(x):
    """[n, c, ...] as [c, values]."""
    return x.transpose(0, 1).reshape(x.shape[1], -1)


def shifts(x, corners):
    """For each channel the shift of its values that takes the corners farthest from them. The first corner comes within a standard
    deviation of the median, so that values lie on both sides of it; where all are equal, it comes 1 below them."""
    values = by_channel(x).sort(1).values
    middles = (values[:, 1:] + values[:, :-1]) / 2
    distance = (values[:, 1:] - values[:, :-1]) / 2
    for corner in corners[1:]:
        places = (middles + corner - corners[0]).contiguous()
        after = torch.searchsorted(values, places).clamp(1, values.shape[1] - 1)
        nearest = torch.minimum((places - values.gather(1, after - 1)).abs(), (places - values.gather(1, after)).abs())
        distance = torch.minimum(distance, nearest)
    offset = (middles - values.median(1, keepdim=True).values).abs()
    distance[offset > values.std(1, keepdim=True)] = 0
    middle = middles.gather(1, distance.argmax(1, keepdim=True)).squeeze(1)
    equal = values[:, -1] - values[:, 0] < 1e-6
    return corners[0] - torch.where(equal, values[:, 0] - 1, middle)


def distances(name, x, args, kwargs):
    """[c, ...]: how far the elements of an activation's input are from its corners, the windows' first from their second in max pooling."""
    if name in CORNERS:
        return by_channel(torch.stack([(x - corner).abs() for corner in CORNERS[name]]).min(0).values)
    window, *rest = args
    stride = rest[0] if rest else kwargs.get("stride") or window
    padding = rest[1] if len(rest) > 1 else kwargs.get("padding", 0)
    ends = padding + (stride if kwargs.get("ceil_mode") else 0)
    wide = functional.pad(x, (padding, ends, padding, ends), value=-torch.inf)
    most = wide.unfold(2, window, stride).unfold(3, window, stride).reshape(*x.shape[:2], -1, window * window).topk(2, -1).values
    first, second = most[..., 0], most[..., 1]
    # Equal numbers are one number that came through overlapping windows before; and behind a ReLU no gradient goes through a zero.
    counts = (first > second) & ((first > 0) if x.min() >= 0 else torch.isfinite(first))
    return by_channel(torch.where(counts, first - second, torch.inf))


class Redraw(Exception):
    """A filter has been changed: what came of it must be computed again."""


class Corners(TorchFunctionMode):
    """The batch comes twice: its first half is normalised by its own statistics, the second by the running ones. Tensors carry in `filters`,
    for each channel, the convolution's weight and the row of it that they come from, so that a channel in which a window of max pooling has
    two greatest elements gets another filter: its own weights in another order. How close is too close grows with the depth, as rounding
    does."""

    def __init__(self, generator):
        super().__init__()
        self.generator, self.bias, self.depth = generator, None, 0

    def normalise(self, x, mean, variance, weight, bias, training, momentum, eps):
        self.bias, half = bias, len(x) // 2
        return torch.cat((functional.batch_norm(x[:half], None, None, weight, bias, True, 0, eps),
                          functional.batch_norm(x[half:], mean, variance, weight, bias, False, 0, eps)))

    def move(self, x, name):
        moved = (self.bias + shifts(x, CORNERS[name])).float().double()
        x = x + (moved - self.bias).reshape(1, -1, *[1] * (x.dim() - 2))
        self.bias.copy_(moved)
        return x

    def part(self, x, args, kwargs):
        close = 2.0 ** -24 * 400 * (1 + self.depth / 2) * by_channel(x ** 2).mean(1).sqrt()
        bad = (distances("max_pool2d", x, args, kwargs).min(1).values < close).nonzero().ravel().tolist()
        for weight, row in {(id(x.filters[i][0]), x.filters[i][1]): x.filters[i] for i in bad}.values():
            flat = weight[row].ravel()
            weight[row] = flat[torch.randperm(len(flat), generator=self.generator)].reshape(weight[row].shape)
        if bad:
            raise Redraw

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name, x = getattr(function, "__name__", ""), args[0] if args else None
        if name == "batch_norm":
            result = self.normalise(*args, **kwargs)
        elif name in CORNERS:
            result = function(self.move(x, name), *args[1:], **{k: v for k, v in kwargs.items() if k != "inplace"})
        else:
            if name == "max_pool2d":
                self.part(x, args[1:], kwargs)
            result = function(*args, **kwargs)
        if name in ("conv2d", "linear"):
            self.bias, self.depth = args[2] if len(args) > 2 else kwargs.get("bias"), self.depth + 1
            result.filters = [(args[1], row) for row in range(len(args[1]))]
        elif name == "cat":
            result.filters = sum((getattr(t, "filters", []) for t in x), [])
        elif name in CORNERS or name in ("batch_norm", "max_pool2d"):
            result.filters = getattr(x, "filters", [])
        return result


def place_corners(model, image):
    """Moves the biases and permutes filters of a float64 model, whose parameters are float32 numbers; so they are afterwards. A rounding of
    the image changes nothing that matters."""
    generator = torch.Generator().manual_seed(1)
    model.train()
    with torch.no_grad():
        for _ in range(400):
            try:
                with Corners(generator):
                    return model(torch.cat((image, image)))
            except Redraw:
                pass
    raise RuntimeError("max pooling: no filters found whose greatest elements lie apart")


class Watch(TorchFunctionMode):
    """Records the inputs of activations and of max pooling."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        if name in CORNERS or name == "max_pool2d":
            self.calls.append((name, args[0].double().clone(), args[1:], kwargs or {}))
        return function(*args, **(kwargs or {}))


def watch(model, image):
    with torch.no_grad(), Watch() as seen:
        model(image)
    return seen.calls


def margins(exact, others):
    """The least distance from a corner, in units of the largest error of float32 in the same channel, and where it is.
    exact: what `watch` has seen in float64; others: a list of what it has seen in float32."""
    worst, where = float("inf"), "-"
    for i, (name, x, args, kwargs) in enumerate(exact):
        error = torch.stack([by_channel(other[i][1] - x).abs().max(1).values for other in others]).max(0).values
        # Channels without error are constant.
        ratio = float((distances(name, x, args, kwargs).min(1).values / error.clamp(min=1e-30)).min())
        if ratio < worst:
            worst, where = ratio, f"{name} {i + 1} of {len(exact)}"
    return worst, where


def chain_error(terms, total, squares, first):
    """The root mean square error of sums of `terms` products, in one chain of float32 additions in random order that begins with `first`.
    The partial sum after a fraction t of the terms has the mean square (first + t total)^2 + t (1 - t) squares, where squares are summed
    over the products (a Brownian bridge); over all t that is what stands in brackets. Each product is rounded too."""
    mean_square = first ** 2 + first * total + total ** 2 / 3 + squares / 6
    return ROUNDING * torch.sqrt(terms * mean_square + squares)


class Product(torch.autograd.Function):
    """y = product(x, w) + bias, bilinear in x and w, as float32 chains would compute it and both gradients."""

    @staticmethod
    def forward(context, x, w, bias, product, generator):
        context.save_for_backward(x, w)
        context.product, context.generator, context.has_bias = product, generator, bias is not None
        first = bias.reshape(1, -1, *[1] * (x.dim() - 2)) if bias is not None else torch.zeros((), dtype=x.dtype)
        return rounded(product(x, w), product(x ** 2, w ** 2), w[0].numel(), first, generator) + first

    @staticmethod
    def backward(context, g):
        x, w = context.saved_tensors
        zero = torch.zeros((), dtype=x.dtype)
        dx, dw = gradients(context.product, x, w, g)
        dx2, dw2 = gradients(context.product, x ** 2, w ** 2, g ** 2)
        pixels = g.numel() // g.shape[1]
        products = g.numel() * w[0].numel()
        dx = rounded(dx, dx2, products / x.numel(), zero, context.generator)
        dw = rounded(dw, dw2, pixels, zero, context.generator)
        if not context.has_bias:
            return dx, dw, None, None, None
        over = [i for i in range(g.dim()) if i != 1]
        return dx, dw, rounded(g.sum(over), (g ** 2).sum(over), pixels, zero, context.generator), None, None


def gradients(product, x, w, g):
    with torch.enable_grad():
        x, w = x.detach().requires_grad_(), w.detach().requires_grad_()
        return torch.autograd.grad(product(x, w), (x, w), g)


def rounded(total, squares, terms, first, generator):
    noise = torch.randn(total.shape, generator=generator, dtype=total.dtype)
    return total + noise * chain_error(terms, total, squares, first)


class Chains(TorchFunctionMode):
    """Convolutions and linear layers as float32 chains. Use it around whole steps of a float64 model, backward too."""

    def __init__(self, seed):
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "")
        if name == "linear":
            x, w, bias = (*args, kwargs.get("bias"))[:3]
            return Product.apply(x, w, bias, functional.linear, self.generator)
        if name == "conv2d":
            x, w, bias = args[:3]
            rest = args[3:]
            return Product.apply(x, w, bias, lambda x, w: torch.conv2d(x, w, None, *rest, **kwargs), self.generator)
        return function(*args, **kwargs)
