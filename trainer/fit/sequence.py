"""Fits the temporal nets: a small GRU and a small transformer over the last ten moments, each forecasting
valence, arousal and congruence of now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.plan import Net
from worker.features.schema import SEQUENCE_LENGTH
from worker.features.sequence import NOW, STEPS, Sequences

Floats = NDArray[np.float64]
OUTPUTS = 3


class Recurrent(nn.Module):
    """GRU (Cho et al. 2014) unrolled over the steps, so that it becomes plain matrix products in any IR;
    masked steps keep the state."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.seen = nn.Linear(len(STEPS), 3 * hidden)
        self.kept = nn.Linear(hidden, 3 * hidden)
        self.out = nn.Linear(hidden + len(NOW), OUTPUTS)
        self.hidden = hidden

    def forward(self, steps: Tensor, mask: Tensor, now: Tensor) -> Tensor:
        """steps [B, 10, F], mask [B, 10], now [B, K] -> [B, 3] in 0-1."""
        size = self.hidden
        seen = self.seen(steps)
        state = torch.zeros_like(seen[:, 0, :size])
        for at in range(SEQUENCE_LENGTH):
            kept = self.kept(state)
            open_ = torch.sigmoid(seen[:, at, : 2 * size] + kept[:, : 2 * size])
            fresh = torch.tanh(seen[:, at, 2 * size :] + open_[:, :size] * kept[:, 2 * size :])
            state = state + mask[:, at : at + 1] * open_[:, size:] * (fresh - state)
        return torch.sigmoid(self.out(torch.cat([state, now], dim=1)))


class Attentive(nn.Module):
    """One transformer layer (Vaswani et al. 2017) of which only the output for now is computed: what is known
    of now asks, the last ten moments answer; masked steps are not heard."""

    HEADS = 4

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.seen = nn.Linear(len(STEPS), 2 * hidden)
        self.place = nn.Parameter(torch.zeros(SEQUENCE_LENGTH, 2 * hidden))
        # To begin with, what is recent is heard best.
        self.recency = nn.Parameter(torch.linspace(-4.0, 0.0, SEQUENCE_LENGTH))
        self.asked = nn.Linear(len(NOW), hidden)
        self.inner = nn.Linear(hidden + len(NOW), hidden)
        self.out = nn.Linear(hidden, OUTPUTS)
        self.hidden = hidden

    def forward(self, steps: Tensor, mask: Tensor, now: Tensor) -> Tensor:
        """steps [B, 10, F], mask [B, 10], now [B, K] -> [B, 3] in 0-1."""
        each = self.hidden // self.HEADS
        told = (self.seen(steps) + self.place).reshape(-1, SEQUENCE_LENGTH, 2, self.HEADS, each)
        key, value = told[:, :, 0].transpose(1, 2), told[:, :, 1].transpose(1, 2)
        query = self.asked(now).reshape(-1, self.HEADS, 1, each)
        unheard = self.recency + (mask - 1.0)[:, None, None, :] * _UNHEARD
        heard = torch.softmax((query * key).sum(dim=3)[:, :, None, :] * each**-0.5 + unheard, dim=3)
        known = (heard @ value).reshape(-1, self.hidden)
        inner = torch.nn.functional.gelu(self.inner(torch.cat([known, now], dim=1)))
        return torch.sigmoid(self.out(inner + known))


_UNHEARD = 1e4
NETS: Mapping[str, type[Recurrent | Attentive]] = {"GRU": Recurrent, "TT": Attentive}
"""By the base's name, in the order of the IR's outputs."""


class Forecasters(nn.Module):
    """The nets of `NETS` as one: their outputs side by side, [B, 3 * len(NETS)]."""

    def __init__(self, nets: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets[name] for name in NETS)

    def forward(self, steps: Tensor, mask: Tensor, now: Tensor) -> Tensor:
        return torch.cat([net(steps, mask, now) for net in self.nets], dim=1)


def fit_all(sequences: Sequences, target: Floats, weight: Floats, *, plan: Net, seed: int) -> Forecasters:
    """Every net of `NETS`, fitted by itself."""
    return Forecasters(
        {name: fit(kind, sequences, target, weight, plan=plan, seed=seed) for name, kind in NETS.items()}
    ).eval()


def fit(
    kind: type[Recurrent | Attentive],
    sequences: Sequences,
    target: Floats,
    weight: Floats,
    *,
    plan: Net,
    seed: int,
) -> nn.Module:
    """Weighted squared error of `target` [n, 3] (NaN: unlabelled) with `weight` [n, 3]; AdamW, one thread,
    fixed order by seed."""
    torch.manual_seed(seed)
    net = kind(plan.hidden)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    optimiser = torch.optim.AdamW(net.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
    labelled = np.isfinite(target)
    goal = torch.from_numpy(np.nan_to_num(target, nan=0.5).astype(np.float32))
    mass = np.where(labelled, weight, 0.0)
    share = torch.from_numpy(
        (mass / np.maximum(mass.sum(axis=0) / labelled.sum(axis=0).clip(1), 1e-12)).astype(np.float32)
    )
    steps, mask, now = (torch.from_numpy(part) for part in (sequences.steps, sequences.mask, sequences.now))
    order = np.random.default_rng(seed)
    total = plan.epochs * -(-len(goal) // plan.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=plan.learning_rate, total_steps=total)
    for _ in range(plan.epochs):
        shuffled = torch.from_numpy(order.permutation(len(goal)))
        for rows in torch.split(shuffled, plan.batch):
            off = net(steps[rows], mask[rows], now[rows]) - goal[rows]
            loss = (share[rows] * off**2).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    torch.set_num_threads(threads)
    return net.eval()


def predict(net: nn.Module, sequences: Sequences) -> Floats:
    """float64 [n, 3]: valence, arousal, congruence; of `Forecasters` three a net."""
    with torch.no_grad():
        parts = (torch.from_numpy(part) for part in (sequences.steps, sequences.mask, sequences.now))
        return cast(Floats, net(*parts).numpy().astype(np.float64))
