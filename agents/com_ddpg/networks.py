"""Actor and critic of Com-DDPG.

From the paper (Gao et al., "Com-DDPG: A Multiagent Reinforcement Learning-based Offloading Strategy
for Mobile Edge Computing", 2020): deterministic actors and critics learnt by DDPG with replay,
target networks and exploration noise; an LSTM that represents each agent's own history; a
bidirectional RNN across agents in both. Its full equations are not public, so these are ours: what
is encoded and how wide; that an LSTM reads the last few decisions; that the RNN has gated units
(GRU); that an agent hears of others only what has had time to arrive, while its own state is fresh,
so that the RNN runs once for each agent; that the critic, which is needed in training alone, sees
all agents as they are and says what each of them will be paid.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

EAGER = 2.0  # logits of frequency and power before training


class Sizes(NamedTuple):
    """What fixes the shapes of the networks."""

    agents: int  # U
    inputs: int  # X, numbers that an agent sees
    actions: int  # A
    width: int  # H
    history: int  # T, 1: no LSTM
    communicates: int  # 1 where actors hear the others
    joint: int  # 1 where the critic takes all at once


class Encoder(nn.Module):
    """An agent's last decisions ``(B, T, U, X)`` to ``(B, U, H)``."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(sizes.inputs, sizes.width), nn.ReLU())
        self.memory = None
        if sizes.history > 1:
            self.memory = nn.LSTM(sizes.width, sizes.width, batch_first=True)

    def forward(self, seen: Tensor) -> Tensor:
        """The oldest decision comes first."""
        rows: Tensor = self.first(seen)
        if self.memory is None:
            return rows[:, -1]
        b, t, u, h = rows.shape
        read, _ = self.memory(rows.transpose(1, 2).reshape(b * u, t, h))
        last: Tensor = read[:, -1].reshape(b, u, h)
        return last


class Actor(nn.Module):
    """Scores of places, frequency and power, each from 0 to 1."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.encoder = Encoder(sizes)
        self.talk = None
        inputs = sizes.width
        if sizes.communicates:
            self.talk = nn.GRU(sizes.width, sizes.width, batch_first=True, bidirectional=True)
            inputs += 2 * sizes.width
        last = nn.Linear(sizes.width, sizes.actions)
        self.head = nn.Sequential(nn.Linear(inputs, sizes.width), nn.ReLU(), last)
        with torch.no_grad():
            last.weight *= 0.1
            last.bias[-2:] = EAGER

    def forward(self, now: Tensor, heard: Tensor) -> Tensor:
        """Actions ``(B, U, A)``.

        Args:
            now: ``(B, T, U, X)`` own decisions up to this one.
            heard: ``(B, T, U, X)`` those of the others up to the last that has arrived.
        """
        own = self.encoder(now)
        if self.talk is None:
            return torch.sigmoid(self.head(own))
        b, u, h = own.shape
        said = self.encoder(heard).unsqueeze(1).expand(b, u, u, h)
        mine = torch.eye(u, dtype=torch.bool).reshape(1, u, u, 1)
        sequence = torch.where(mine, own.unsqueeze(1), said).reshape(b * u, u, h)
        read, _ = self.talk(sequence)
        at = torch.arange(u)
        understood = read.reshape(b, u, u, 2 * h)[:, at, at]
        return torch.sigmoid(self.head(torch.cat((own, understood), 2)))


class RecurrentCritic(nn.Module):
    """The value of all actions, by a bidirectional RNN across agents."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.encoder = Encoder(sizes)
        width = sizes.width
        self.mixed = nn.Sequential(nn.Linear(width + sizes.actions, width), nn.ReLU())
        self.talk = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * width, 1)

    def forward(self, now: Tensor, action: Tensor) -> Tensor:
        """Values ``(B, U)`` of actions ``(B, U, A)``."""
        read, _ = self.talk(self.mixed(torch.cat((self.encoder(now), action), 2)))
        values: Tensor = self.head(read).squeeze(2)
        return values


class JointCritic(nn.Module):
    """The value of all actions from all agents at once (MADDPG, Lowe et al. 2017)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.encoder = Encoder(sizes)
        width = sizes.width
        self.head = nn.Sequential(
            nn.Linear(sizes.agents * (width + sizes.actions), 2 * width),
            nn.ReLU(),
            nn.Linear(2 * width, sizes.agents),
        )

    def forward(self, now: Tensor, action: Tensor) -> Tensor:
        """Values ``(B, U)`` of actions ``(B, U, A)``."""
        values: Tensor = self.head(torch.cat((self.encoder(now), action), 2).flatten(1))
        return values


class Team(nn.Module):
    """Actor and critic, and the targets that follow them.

    Args:
        sizes: of all.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        critic = JointCritic if sizes.joint else RecurrentCritic
        self.actor, self.critic = Actor(sizes), critic(sizes)
        self.actor_target, self.critic_target = Actor(sizes), critic(sizes)
        self.actor_target.load_state_dict(self.actor.state_dict())
        self.critic_target.load_state_dict(self.critic.state_dict())
        for target in (self.actor_target, self.critic_target):
            target.requires_grad_(False)

    @torch.no_grad()
    def follow(self, tau: float) -> None:
        """Moves the targets towards what they follow."""
        for target, source in (
            (self.actor_target, self.actor),
            (self.critic_target, self.critic),
        ):
            for old, new in zip(target.parameters(), source.parameters(), strict=True):
                old.lerp_(new, tau)
