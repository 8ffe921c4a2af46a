"""A generative adversarial network on a ring of eight Gaussians.

A generator turns noise into points; a discriminator tells them from real ones; each learns from the other (Goodfellow
et al. 2014). Left to themselves they end on few of the eight modes. What helps here: noise on all that the
discriminator sees, less and less of it (Sonderby et al. 2017), and samples from a running average of the generator's
weights.
"""

# %%
import time
from itertools import pairwise

import numpy as np
from experiment import settings
from matplotlib import pyplot as plt

import fastnn
from fastnn import nn, optim, schedules

size = settings(__doc__, steps=(24000, 30), seeds=(3, 1), batch=(256, 64))
modes, radius, sigma = 8, 2.0, 0.1
angles = 2 * np.pi * np.arange(modes) / modes
centres = radius * np.column_stack([np.cos(angles), np.sin(angles)])


def network(*widths, rng):
    """Return linear layers of these widths with leaky ReLUs between them."""
    layers = [nn.Linear(n, m, rng=rng) for n, m in pairwise(widths)]
    between = [layer for linear in layers for layer in (linear, nn.Activation("leaky_relu", negative_slope=0.2))]
    return nn.Sequential(*between[:-1])


def train(seed):
    """Return the generator, its weights averaged over the last thousand steps or so."""
    rng = np.random.default_rng(seed)
    generator, discriminator = network(4, 64, 64, 2, rng=rng), network(2, 64, 64, 1, rng=rng)
    average = generator.astype(np.float32)
    optimizers = [optim.Adam(net.parameters(), lr=1e-3, betas=(0.0, 0.99)) for net in (generator, discriminator)]
    rate = schedules.cosine(1e-3, size.steps, final=1e-5)
    spread = schedules.polynomial(1.0, size.steps * 2 // 5, power=1.5)  # of the noise: none in the last three fifths
    real_first = np.repeat(np.float32([[1], [0]]), size.batch, axis=0)

    def noisy(points, step):
        return points + np.float32(spread(step)) * rng.standard_normal(points.shape, np.float32)

    for step in range(size.steps):
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = rate(step)
            optimizer.zero_grad()
        real = centres[rng.integers(modes, size=size.batch)] + sigma * rng.standard_normal((size.batch, 2))
        fake, back_generator = generator.vjp(rng.standard_normal((size.batch, 4), np.float32))

        # the discriminator: 1 for real points, 0 for made ones
        logits, back = discriminator.vjp(noisy(np.concatenate([real.astype(np.float32), fake]), step))
        back(fastnn.sigmoid_cross_entropy(logits, real_first)[1])
        optimizers[1].step()

        # the generator: what makes the discriminator say 1
        logits, back = discriminator.vjp(noisy(fake, step))
        back_generator(back(fastnn.sigmoid_cross_entropy(logits, np.ones_like(logits))[1]))
        optimizers[0].step()
        for mean, now in zip(average.parameters(), generator.parameters(), strict=True):
            mean.value += 0.002 * (now.value - mean.value)
    return average


# %% [markdown]
# Of 10,000 samples, how many are within three sigma of a centre, and which share of them each mode gets.

# %%
samples, within, shares = [], [], []
for seed in range(size.seeds):
    began = time.perf_counter()
    generator = train(seed)
    points = generator(np.random.default_rng(1000 + seed).standard_normal((10_000, 4)))
    distances = np.linalg.norm(points[:, None] - centres, axis=2)
    near = distances.min(axis=1) < 3 * sigma
    samples.append(points)
    within.append(near.mean())
    shares.append(np.bincount(distances.argmin(axis=1)[near], minlength=modes) / max(1, near.sum()))
    print(
        f"seed {seed}: {within[-1]:.1%} within three sigma, {(shares[-1] > 0.02).sum()} of 8 modes,",
        f"shares from {shares[-1].min():.1%} to {shares[-1].max():.1%}, {time.perf_counter() - began:.0f} s",
    )

# %%
figure, axes = plt.subplots(1, size.seeds, figsize=(4 * size.seeds, 4), layout="constrained", squeeze=False)
for ax, points, share in zip(axes[0], samples, within, strict=True):
    ax.scatter(*points[:2000].T, s=2, alpha=0.5, color="#0072B2", label="samples")
    ax.scatter(*centres.T, marker="+", color="#D55E00", label="centres")
    ax.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal", title=f"{share:.1%} within three sigma")
    ax.legend(frameon=False, loc="center")
figure.savefig("gan.png")
