"""Runs several worker processes under one parent, which restarts a worker process that dies."""

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack

from pgjobs.cli.children_health import ChildrenHealth
from pgjobs.cli.health import Probes

log = logging.getLogger("pgjobs.processes")

_FIRST_RESTART_DELAY_S = 0.5
_LONGEST_RESTART_DELAY_S = 30.0
# A process that has run this long did start: its end begins a new row of failures.
_STARTED_WELL_AFTER_S = 30.0


def supervise(count: int, arguments: list[str], parent: int | None, probes: Probes) -> int:
    """Runs ``count`` workers until SIGTERM or SIGINT; returns the exit status.

    ``arguments``: those of the command ``pgjobs worker``, which every worker gets too. ``parent``:
    the process that has started this one, without which this one stops; its number is then the
    first of the arguments. ``probes``: those that this process answers for all workers.
    """
    workers = _Parent(arguments if parent is None else arguments[1:], count)
    if not probes.exist:
        return asyncio.run(workers.run(parent))
    with probes.answered(workers.tell_health().report):
        return asyncio.run(workers.run(parent))


async def start_worker(
    arguments: Sequence[str], *flags: str, pipes: Sequence[int] = ()
) -> asyncio.subprocess.Process:
    """Starts ``pgjobs worker`` as a child of this process, without which the child stops.

    ``pipes``: those of this process that the child gets too.
    """
    return await asyncio.create_subprocess_exec(
        # -P: else a module of this folder that is named like one of Python's would be taken for
        # Python's. `load` finds the folder's modules behind Python's own.
        sys.executable, "-P", *flags, "-m", "pgjobs", "worker", f"--parent={os.getpid()}",
        *arguments,
        # In the parent's session, Ctrl-C would reach the worker twice: from the terminal and from
        # the parent. The second signal ends a worker at once.
        start_new_session=True,
        pass_fds=pipes,
    )


def send(child: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Sends a signal to a child that has not ended."""
    if child.returncode is None:
        child.send_signal(number)


async def orphaned(parent: int) -> None:
    """Waits until the parent process is gone."""
    while os.getppid() == parent:  # noqa: ASYNC110 - there is no event for the end of a parent
        await asyncio.sleep(1)
    log.warning("the parent process is gone: stopping")


class _Parent:
    def __init__(self, arguments: list[str], count: int) -> None:
        self._arguments = arguments
        self._count = count
        self._health: ChildrenHealth | None = None
        self._children: dict[int, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()
        self._last_signal = signal.SIGTERM

    def tell_health(self) -> ChildrenHealth:
        """Lets the workers tell their health; without it, they need not."""
        self._health = ChildrenHealth(self._count, self._stopping.is_set)
        return self._health

    async def run(self, parent: int | None) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(self._stop_if_orphaned(parent)) if parent else None
            slots = range(1, self._count + 1)
            tasks = [group.create_task(self._keep_running(slot)) for slot in slots]
            await asyncio.wait(tasks)
            if watch is not None:
                watch.cancel()
        return int(any(task.result() for task in tasks))

    async def _stop_if_orphaned(self, parent: int) -> None:
        await orphaned(parent)
        self._on_signal(signal.SIGTERM)

    def _on_signal(self, number: signal.Signals) -> None:
        log.info("%s received: sending it to %d workers", number.name, len(self._children))
        self._last_signal = number
        self._stopping.set()
        for child in self._children.values():
            send(child, number)

    async def _keep_running(self, slot: int) -> int:
        """Restarts one worker until a signal arrives; returns the worker's last exit status."""
        delay = _FIRST_RESTART_DELAY_S
        while True:
            began = time.monotonic()
            status = await self._run_once(slot)
            if self._health is not None:
                self._health.ended(slot, status)
            if status == 0 and "--until-empty" in self._arguments:
                return 0
            if self._stopping.is_set():
                # The signal itself ends a worker that had no handler for it yet, and no jobs.
                return 0 if status == -self._last_signal else status
            if time.monotonic() - began > _STARTED_WELL_AFTER_S:
                delay = _FIRST_RESTART_DELAY_S
            log.warning(
                "worker process %d ended with status %d: restarting it in %.1f s",
                slot, status, delay,
            )
            try:
                async with asyncio.timeout(delay):
                    await self._stopping.wait()
                    return 0
            except TimeoutError:
                delay = min(delay * 2, _LONGEST_RESTART_DELAY_S)

    async def _run_once(self, slot: int) -> int:
        with ExitStack() as stack:
            arguments, pipes = [f"--slot={slot}"], []
            if self._health is not None:
                pipes = [stack.enter_context(self._health.heard(slot))]
                arguments.append(f"--health-pipe={pipes[0]}")
            child = await start_worker([*arguments, *self._arguments], pipes=pipes)
            self._children[slot] = child
            if self._stopping.is_set():
                send(child, self._last_signal)
            try:
                return await child.wait()
            finally:
                del self._children[slot]
