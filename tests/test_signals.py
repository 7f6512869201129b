from __future__ import annotations

import asyncio
import contextlib
import gc

import pytest

from ttc_cli.signals import Terminated, forgive_termination


async def _end_beside_a_task(kind: type[BaseException]) -> None:
    forgive_termination(asyncio.get_running_loop())

    async def work() -> None:
        raise kind(143)

    task = asyncio.create_task(work())
    while not task.done():
        await asyncio.sleep(0)


@pytest.mark.parametrize(("kind", "told"), [(Terminated, False), (ValueError, True)])
def test_a_termination_in_some_task_is_not_reported_as_an_error(
    kind: type[BaseException], told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with contextlib.suppress(Terminated):
        asyncio.run(_end_beside_a_task(kind))
    gc.collect()
    assert ("never retrieved" in caplog.text) is told
