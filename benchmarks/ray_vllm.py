#!/usr/bin/env python3
r"""A Ray Serve application of several replicas, each with a ``vllm serve`` of its own.

    ray start --head --num-cpus 1 --port 6380
    ray start --address 127.0.0.1:6380 --num-cpus 1
    build/vllm/bin/python benchmarks/ray_vllm.py --address 127.0.0.1:6380 --port 8000 \
        --log LOGS -- $PWD/build/vllm/bin/vllm serve FOLDER --enforce-eager

It runs in the environment of ``build_vllm.sh``. A replica passes a request on as it came and
streams the reply back. It takes one processor of the cluster, so two raylets with one each stand
for two machines. On GPUs, Ray Serve's own ``build_openai_app`` does this (docs/scaling.md).

LOGS gets a file PID.jsonl a replica: a line when its server is up, and one when a completion begins
and when it ends.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import StreamingResponse


@serve.deployment(ray_actor_options={"num_cpus": 1}, max_ongoing_requests=64)
class Replica:
    """Owns the server that ``command`` starts on a free port, and passes requests on to it."""

    def __init__(self, command: list[str], folder: str) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
        self.log = (Path(folder) / f"{os.getpid()}.jsonl").open("a", encoding="utf-8", buffering=1)
        output = Path(folder) / f"{os.getpid()}.txt"
        with output.open("wb") as file:
            command = [*command, "--host", "127.0.0.1", "--port", str(port)]
            self.server = subprocess.Popen(command, stdout=file, stderr=file)
        self.client = httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=None, trust_env=False
        )
        while not self.answers(port):
            self.check_health()
            time.sleep(0.5)
        self.note("up", server=self.server.pid)

    @staticmethod
    def answers(port: int) -> bool:
        """Whether the server is there."""
        try:
            return httpx2.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200
        except httpx2.HTTPError:
            return False

    def check_health(self) -> None:
        """Raises where the server has ended: Ray Serve then starts another replica."""
        if self.server.poll() is not None:
            raise RuntimeError(f"the server ended with status {self.server.returncode}")

    def note(self, event: str, **more: object) -> None:
        """A line of the log."""
        self.log.write(json.dumps({"event": event, "time": time.time(), **more}) + "\n")

    async def __call__(self, request: Request) -> StreamingResponse:
        """The server's own reply, streamed."""
        body = await request.body()
        asked = self.client.build_request(
            request.method,
            request.url.path,
            content=body,
            headers={"Content-Type": "application/json", "Accept-Encoding": "identity"},
        )
        counts = request.url.path.endswith("/completions")
        if counts:
            found = json.loads(body)
            self.note("begin", n=found.get("n", 1), characters=len(found["prompt"]))
        reply = await self.client.send(asked, stream=True)

        async def pass_on() -> AsyncIterator[bytes]:
            try:
                async for part in reply.aiter_raw():
                    yield part
            finally:
                await reply.aclose()  # a client that has left ends the request of the server too
                if counts:
                    self.note("end")

        return StreamingResponse(
            pass_on(), reply.status_code, media_type=reply.headers.get("Content-Type")
        )


def main() -> None:
    """Deploy what the command line names, until SIGTERM."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--address", required=True, help="of the head node, as 127.0.0.1:6380")
    options.add_argument("--port", type=int, default=8000, help="to serve on")
    options.add_argument("--replicas", type=int, default=2)
    options.add_argument("--log", type=Path, required=True, help="a folder that is there")
    options.add_argument("command", nargs="+", help="what each replica starts, without a port")
    given = options.parse_args()
    ray.init(address=given.address, namespace="serve", log_to_driver=False)
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": given.port})
    replicas = Replica.options(num_replicas=given.replicas)  # type: ignore[attr-defined]
    serve.run(replicas.bind(given.command, str(given.log.resolve())), route_prefix="/")
    signal.pause()


if __name__ == "__main__":
    main()
