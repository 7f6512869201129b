"""Runs async work for synchronous callers, in a thread of its own that never outlives the call.

The thread has an event loop of its own, so this works also where a loop runs already, as in a
notebook. Where the wait ends early (Ctrl-C, a generator that is closed), the work is cancelled and
its end awaited.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncGenerator, Coroutine, Generator
from typing import Any, TypeVar

_T = TypeVar("_T")


def wait_for(work: Coroutine[Any, Any, _T]) -> _T:
    """What ``work`` returns, or the error that it raises."""

    async def once() -> AsyncGenerator[_T, None]:
        yield await work

    [found] = iterate(once())
    return found


def iterate(items: AsyncGenerator[_T, None]) -> Generator[_T, None, None]:
    """Each of ``items`` as it comes, then the error that ended them, if one did."""
    found: queue.SimpleQueue[tuple[_T] | BaseException | None] = queue.SimpleQueue()
    begun = threading.Event()
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = []

    async def feed() -> None:
        task = asyncio.current_task()
        assert task is not None
        running.append((asyncio.get_running_loop(), task))
        begun.set()
        async with contextlib.aclosing(items):
            async for item in items:
                found.put((item,))

    def work() -> None:
        try:
            asyncio.run(feed())
        except BaseException as error:
            found.put(error)
        else:
            found.put(None)
        finally:
            begun.set()

    thread = threading.Thread(target=work, name="ttc", daemon=True)
    thread.start()
    try:
        while (each := found.get()) is not None:
            if isinstance(each, BaseException):
                raise each
            yield each[0]
    finally:
        begun.wait()
        for loop, task in running:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the work has ended
                loop.call_soon_threadsafe(task.cancel)
        thread.join()
