"""Several worker processes under one parent, which starts those again that die."""

import asyncio
import logging
import os
import signal
import sys
import time

log = logging.getLogger("pgjobs.processes")

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
# Whoever lived for so long has started well: its end is not the next failure in a row.
_LIVED_S = 30.0


def supervise(count: int, name: str | None, arguments: list[str]) -> int:
    """Runs ``count`` workers until SIGTERM or SIGINT; the exit status."""
    return asyncio.run(_Parent(name, arguments).run(count))


class _Parent:
    def __init__(self, name: str | None, arguments: list[str]) -> None:
        self._name = name
        self._arguments = arguments
        self._children: dict[int, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()
        self._last_signal = signal.SIGTERM

    async def run(self, count: int) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        async with asyncio.TaskGroup() as slots:
            tasks = [slots.create_task(self._keep(slot)) for slot in range(1, count + 1)]
        return int(any(task.result() for task in tasks))

    def _signalled(self, number: signal.Signals) -> None:
        log.info("%s: passing it on to %d workers", number.name, len(self._children))
        self._last_signal = number
        self._stopping.set()
        for child in self._children.values():
            _send(child, number)

    async def _keep(self, slot: int) -> int:
        """Keeps one worker running; its exit status after a signal."""
        pause = _FIRST_PAUSE_S
        while True:
            began = time.monotonic()
            status = await self._run_once(slot)
            if self._stopping.is_set():
                # One that did not listen for signals yet held nothing, and ended as it was asked.
                return 0 if status == -self._last_signal else status
            pause = _FIRST_PAUSE_S if time.monotonic() - began > _LIVED_S else pause
            log.warning(
                "worker process %d has ended with status %d: again in %.1f s", slot, status, pause
            )
            try:
                async with asyncio.timeout(pause):
                    await self._stopping.wait()
                    return 0
            except TimeoutError:
                pause = min(pause * 2, _LONGEST_PAUSE_S)

    async def _run_once(self, slot: int) -> int:
        own = [f"--parent={os.getpid()}"]
        if self._name is not None:
            own.append(f"--name={self._name}-{slot}")
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pgjobs", "worker", *own, *self._arguments,
            # Else Ctrl-C would reach it from the terminal and from us, and two mean at once.
            start_new_session=True,
        )
        self._children[slot] = child
        if self._stopping.is_set():
            _send(child, self._last_signal)
        try:
            return await child.wait()
        finally:
            del self._children[slot]


def _send(child: asyncio.subprocess.Process, number: signal.Signals) -> None:
    if child.returncode is None:
        child.send_signal(number)
