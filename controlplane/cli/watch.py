"""Live progress of one rollout: drawn again and again on a terminal, lines elsewhere."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from controlplane.client import WATCH_INTERVAL_S, ControlClient
from controlplane.domain.model import Release, State
from controlplane.wire import HostView, InstanceView, RolloutView, Why

MARKS = {"healthy": "●", "ready": "●", "starting": "◌", "unready": "◍", "failed": "✗"}
COLOURS = {
    State.SUCCEEDED: "green",
    State.ROLLED_BACK: "yellow",
    State.ROLLING_BACK: "yellow",
    State.PAUSED: "yellow",
    State.FAILED: "red",
    State.ABORTED: "red",
    State.SUPERSEDED: "red",
}


@dataclass(frozen=True, slots=True)
class Scene:
    """One look at a rollout and the hosts that it changes."""

    rollout: RolloutView
    why: Why
    hosts: tuple[HostView, ...]
    elapsed_s: float

    @property
    def goal(self) -> Release:
        """Where it moves to now; a rollout that turned round moves to its source."""
        turned = self.rollout.state in (State.ROLLING_BACK, State.ROLLED_BACK)
        return (self.rollout.source or self.rollout.target) if turned else self.rollout.target

    @property
    def desired(self) -> int:
        return self.rollout.policy.instances_per_host * len(self.hosts)

    @property
    def moved(self) -> int:
        """Instances of the goal that serve."""
        there = [i for h in self.hosts for i in h.instances if i.digest == self.goal.digest]
        return min(self.desired, sum(i.available for i in there))


async def watch(
    client: ControlClient, rollout: str, timeout_s: float, *, quiet: bool
) -> RolloutView:
    """Show a rollout until it is over. Raises WaitedTooLong; the rollout goes on without us."""
    console = Console()
    if quiet:
        return await _see_through(client, rollout, timeout_s, lambda _: None)
    if not console.is_terminal:
        return await _see_through(client, rollout, timeout_s, Lines())
    with Live(console=console, transient=True, auto_refresh=False) as live:
        return await _see_through(
            client, rollout, timeout_s, lambda scene: live.update(picture(scene), refresh=True)
        )


async def _see_through(
    client: ControlClient, rollout: str, timeout_s: float, show: Callable[[Scene], None]
) -> RolloutView:
    begun = time.monotonic()
    while True:
        view = await client.rollout(rollout)
        why, hosts = await asyncio.gather(client.why(rollout), client.hosts(view.environment))
        elapsed_s = time.monotonic() - begun
        show(Scene(view, why, tuple(hosts), elapsed_s))
        if not view.active:
            return view
        if elapsed_s >= timeout_s:
            raise await client.too_long(rollout, timeout_s)
        await asyncio.sleep(min(WATCH_INTERVAL_S, max(0.05, timeout_s - elapsed_s)))


class Lines:
    """A line whenever something changed: for logs and pipes."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, scene: Scene) -> None:
        text = line(scene)
        if text != self._last:
            self._last = text
            print(f"{scene.elapsed_s:7.1f} s  {text}")
            sys.stdout.flush()


def line(scene: Scene) -> str:
    """State, how far, and what is waited for."""
    text = f"{scene.rollout.state}  {scene.moved}/{scene.desired} on {scene.goal.version}"
    return f"{text}  {scene.why.blocker.told}" if scene.why.blocker else text


def picture(scene: Scene) -> Group:
    """The same for a terminal: a bar, a line a host, the sentence."""
    state = scene.rollout.state
    head = Text.assemble(
        (scene.rollout.environment, "bold"),
        f" to {scene.goal.version}  ",
        (str(state), COLOURS.get(state, "cyan")),
        f"  {scene.moved}/{scene.desired} instances  {scene.elapsed_s:.0f} s",
    )
    bar = ProgressBar(total=max(1, scene.desired), completed=scene.moved, width=50)
    # A bar does not end its line; a row of a grid does.
    progress = Table.grid()
    progress.add_row(bar)
    hosts = Table.grid(padding=(0, 2))
    for host in scene.hosts:
        name = Text(host.name, "red" if host.silent else "")
        hosts.add_row(name, Text("  ").join(_mark(i, scene.goal) for i in host.instances))
    return Group(head, progress, hosts, Text(scene.why.sentence, "dim"))


def _mark(instance: InstanceView, goal: Release) -> Text:
    """Glyph and colour say the same, so that neither is needed."""
    glyph = MARKS.get(instance.phase or "", "·")
    admitted = "" if instance.admitted else " out"
    colour = "green" if instance.digest == goal.digest else "blue"
    style = "red" if instance.phase == "failed" else colour
    return Text(f"{glyph} {instance.version}{admitted}", style)
