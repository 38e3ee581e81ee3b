"""The time of an optimizer's step in PyTorch, on the shapes that `step` and `models` have.

Beside SGD and AdamW stands MAC in two forms, each of which goes before a step of SGD: with the inverse of its curvature as a
rank-one formula, and as a dense matrix, the product with which is what the authors' code does.

    python3 peers.py [--rounds 20] [--in-a-row 20] [--device cuda]
"""

import argparse
import statistics
import time

import torch

LEARNING_RATE = 1e-3
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
DAMPING = 1.0


def linear(inputs, outputs):
    return [(outputs, inputs)]


def resnet50():
    """Rows and columns of the kernels as matrices. Each has a bias here, in place of the weights of its norm."""
    layers = [(64, 3 * 49)]
    inputs = 64
    for blocks, width in [(3, 64), (4, 128), (6, 256), (3, 512)]:
        for block in range(blocks):
            layers += [(width, inputs), (width, width * 9), (4 * width, width)]
            if block == 0:
                layers.append((4 * width, inputs))
            inputs = 4 * width
    return layers + [(1000, 2048)]


def deit_small():
    block = [(3 * 384, 384), (384, 384), (1536, 384), (384, 1536)]
    return [(384, 3 * 256)] + 12 * block + [(1000, 384)]


class Layers:
    """Weights and biases with gradients, and means of inputs."""

    def __init__(self, shapes, device):
        def random(*shape):
            return torch.randn(*shape, device=device)

        self.weights = [random(*shape).requires_grad_() for shape in shapes]
        self.biases = [random(rows).requires_grad_() for rows, _ in shapes]
        for parameter in self.parameters():
            parameter.grad = torch.randn_like(parameter)
        # With the 1 that a bias stands for.
        self.means = [
            torch.cat([torch.rand(columns, device=device), torch.ones(1, device=device)]) for _, columns in shapes
        ]

    def parameters(self):
        return self.weights + self.biases

    def set_gradients(self, gradients):
        for parameter, gradient in zip(self.parameters(), gradients):
            parameter.grad = gradient


class RankOne:
    """G - (G a) a' / (damping + |a|^2), in place."""

    def __init__(self, layers):
        self.layers = layers
        self.scales = [1 / (DAMPING + mean.square().sum()) for mean in layers.means]
        self.directions = [mean[:-1] for mean in layers.means]

    def __call__(self):
        layers = self.layers
        for weight, bias, mean, scale in zip(layers.weights, layers.biases, self.directions, self.scales):
            step = torch.addmv(bias.grad, weight.grad, mean) * scale
            weight.grad.addr_(step, mean, alpha=-1)
            bias.grad.sub_(step)


class Dense:
    """[G g] times the inverse of the damped curvature, up to a factor."""

    def __init__(self, layers):
        self.layers = layers
        self.inverses = []
        for mean in layers.means:
            inverse = -torch.outer(mean, mean) / (DAMPING + mean.square().sum())
            inverse.diagonal().add_(1)
            self.inverses.append(inverse)

    def __call__(self):
        layers = self.layers
        for weight, bias, inverse in zip(layers.weights, layers.biases, self.inverses):
            product = torch.cat([weight.grad, bias.grad[:, None]], 1) @ inverse
            weight.grad, bias.grad = product[:, :-1].contiguous(), product[:, -1].contiguous()


def assert_forms_agree(device):
    """Both forms of MAC make the same gradients, up to rounding."""
    results = []
    for precondition in [RankOne, Dense]:
        torch.manual_seed(1)
        layers = Layers([(8, 12), (5, 8)], device)
        precondition(layers)()
        results.append([parameter.grad for parameter in layers.parameters()])
    for rank_one, dense in zip(*results):
        torch.testing.assert_close(rank_one, dense)


class Contender:
    def __init__(self, name, shapes, device, optimizer, precondition=None):
        self.name = name
        self.layers = Layers(shapes, device)
        self.optimizer = optimizer(self.layers.parameters())
        self.precondition = precondition(self.layers) if precondition else None
        self.gradients = [parameter.grad for parameter in self.layers.parameters()]
        self.times = []

    def visit(self, in_a_row, synchronize):
        copies = [[gradient.clone() for gradient in self.gradients] for _ in range(in_a_row)]
        synchronize()
        start = time.perf_counter()
        for gradients in copies:
            self.layers.set_gradients(gradients)
            if self.precondition:
                self.precondition()
            self.optimizer.step()
        synchronize()
        return (time.perf_counter() - start) * 1e3 / in_a_row


def contenders(shapes, device):
    def sgd(**form):
        return lambda parameters: torch.optim.SGD(
            parameters, LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, **form
        )

    def adamw(**form):
        return lambda parameters: torch.optim.AdamW(parameters, LEARNING_RATE, weight_decay=WEIGHT_DECAY, **form)

    return [
        Contender("SGD, foreach", shapes, device, sgd(foreach=True)),
        Contender("SGD, fused", shapes, device, sgd(fused=True)),
        Contender("AdamW, foreach", shapes, device, adamw(foreach=True)),
        Contender("AdamW, fused", shapes, device, adamw(fused=True)),
        Contender("MAC, rank one, with fused SGD", shapes, device, sgd(fused=True), RankOne),
        Contender("MAC, dense product, with fused SGD", shapes, device, sgd(fused=True), Dense),
    ]


def table(name, shapes, in_a_row, options, synchronize):
    found = contenders(shapes, options.device)
    for round_ in range(options.rounds):
        for turn in range(len(found)):
            contender = found[(round_ + turn) % len(found)]
            times = [contender.visit(in_a_row, synchronize) for _ in range(4)]
            # The first is without what the others leave in the caches.
            contender.times.append(statistics.median(times[1:]))
    rows = "" if in_a_row == 1 else f", {in_a_row} steps in a row"
    print(f"{name}{rows}\n\n| step | median ms | x {found[0].name} |\n|---|---:|---:|")
    for contender in found:
        ratios = [time / base for time, base in zip(contender.times, found[0].times)]
        print(f"| {contender.name} | {statistics.median(contender.times):.3f} | {statistics.median(ratios):.3f} |")
    print(flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--in-a-row", type=int, default=20)
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    on_gpu = options.device.startswith("cuda")
    if on_gpu and not torch.cuda.is_available():
        raise SystemExit("PyTorch finds no CUDA device")
    synchronize = torch.cuda.synchronize if on_gpu else lambda: None
    device = torch.cuda.get_device_name() if on_gpu else "the processor"
    assert_forms_agree(options.device)
    print(f"# The optimizer's step in PyTorch {torch.__version__} on {device}\n")
    cases = [
        ("linear 1024x4096", linear(1024, 4096)),
        ("linear 4096x4096", linear(4096, 4096)),
        ("ResNet-50", resnet50()),
        ("DeiT-S", deit_small()),
    ]
    for name, shapes in cases:
        for in_a_row in dict.fromkeys([1, options.in_a_row]):
            table(name, shapes, in_a_row, options, synchronize)


main()
