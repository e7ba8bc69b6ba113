#!/usr/bin/python3
"""Prints what tests/unit/test_train_transfer.c expects of the probe: the optimum of softmax regression by PyTorch in float64, on features
and labels of a closed form. Run it again after changing the form there."""
import torch

n, d, c, l2 = 48, 7, 3, 0.01
i, k = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(d, dtype=torch.float64)[None]
x = torch.sin(0.37 * i + 1.3 * k + 0.11 * i * k) * (1 + k) + 2 * k
label = (torch.arange(n) * 7 // 5) % c
mean = x.mean(0)
each = (x - mean).pow(2).mean(0).sqrt()


def fit(scale):
    z = (x - mean) / scale
    w, b = torch.zeros(c, d, dtype=torch.float64, requires_grad=True), torch.zeros(c, dtype=torch.float64, requires_grad=True)
    opt = torch.optim.LBFGS([w, b], max_iter=2000, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe")

    def closure():
        opt.zero_grad()
        loss = torch.nn.functional.cross_entropy(z @ w.T + b, label) + l2 * w.pow(2).sum()
        loss.backward()
        return loss

    opt.step(closure)
    print("value %.9f, largest gradient %.1e" % (closure(), max(w.grad.abs().max(), b.grad.abs().max())))
    folded = w / scale
    bias = b - folded @ mean
    print("weight", ", ".join("%.6f" % v for v in folded.detach().flatten()))
    print("bias less its mean", ", ".join("%.6f" % v for v in (bias - bias.mean()).detach()))


print("common")
fit(each.pow(2).mean().sqrt())
print("each")
fit(each)
