"""A model hub on the loopback interface: what huggingface-hub asks for, and every way to fail."""

import hashlib
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

COMMIT = "c" * 40


@dataclass
class FakeHub:
    """Serves ``files`` ("user/repo", "name.gguf") → bytes.

    ``status``: what every file request is answered with, if not None. ``cut``: bytes after which
    each body breaks off. ``pause``: seconds between chunks of 64 kB. ``damage``: byte that is
    changed on its way. ``ranges``: whether parts can be asked for. ``elsewhere``: another server
    that file requests are sent on to. ``lie``: bytes by which the stated size is wrong. ``page``:
    what every request of all is answered with, as a page for a browser. ``loop``: file requests
    are sent on to themselves. ``stall``: seconds before the first byte of a body. ``refusal``: the
    body beside ``status``.
    """

    files: dict[tuple[str, str], bytes] = field(default_factory=dict)
    status: int | None = None
    failures: int = 0
    cut: int | None = None
    pause: float = 0.0
    damage: int | None = None
    ranges: bool = True
    elsewhere: str | None = None
    lie: int = 0
    page: bytes | None = None
    loop: bool = False
    stall: float = 0.0
    refusal: bytes = b"no"
    log: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    def gets(self) -> list[dict[str, Any]]:
        """The requests for a file's bytes."""
        return [r for r in self.log if r["method"] == "GET" and "/resolve/" in r["path"]]

    def start(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._server.handle_error = lambda *request: None  # type: ignore[method-assign]  # killed
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                pass

            def do_HEAD(self) -> None:
                self.answer()

            def do_GET(self) -> None:
                self.answer()

            def answer(self) -> None:
                path = unquote(self.path.partition("?")[0])
                hub.log.append(
                    {
                        "method": self.command,
                        "path": path,
                        "range": self.headers.get("Range"),
                        "token": self.headers.get("Authorization"),
                    }
                )
                if hub.page is not None:
                    self.reply(200, hub.page, Content_Type="text/html")
                elif "/resolve/" in path and hub.loop:
                    self.reply(302, b"", Location=self.path)
                elif "/resolve/" in path:
                    self.send_file(path)
                elif path.startswith("/api/models/") and "/tree/" in path:
                    self.send_tree(path)
                else:
                    self.reply(200, b"{}")

            def reply(self, status: int, body: bytes, **headers: str) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def send_tree(self, path: str) -> None:
                repo = path.removeprefix("/api/models/").partition("/tree/")[0]
                found = [
                    {
                        "type": "file",
                        "path": name,
                        "size": len(content),
                        "oid": "0" * 40,
                        "lfs": {
                            "oid": hashlib.sha256(content).hexdigest(),
                            "size": len(content),
                            "pointerSize": 130,
                        },
                    }
                    for (owner, name), content in hub.files.items()
                    if owner == repo
                ]
                if not found:
                    self.reply(404, b"{}", X_Error_Code="RepoNotFound")
                    return
                self.reply(200, json.dumps(found).encode(), Content_Type="application/json")

            def send_file(self, path: str) -> None:
                repo, _, rest = path[1:].partition("/resolve/")
                content = hub.files.get((repo, rest.partition("/")[2]))
                status = 404 if content is None else hub.status
                if hub.failures > 0 and self.command == "GET":
                    hub.failures -= 1
                    status = 503
                if status is not None or content is None:
                    missing = {"X_Error_Code": "EntryNotFound"} if content is None else {}
                    self.reply(status or 404, hub.refusal, Retry_After="0", **missing)
                    return
                digest = hashlib.sha256(content).hexdigest()
                linked = {
                    "ETag": f'"{digest}"',
                    "X_Repo_Commit": COMMIT,
                    "X_Linked_Etag": f'"{digest}"',
                    "X_Linked_Size": str(len(content) + hub.lie),
                    "Accept_Ranges": "bytes",
                }
                if hub.elsewhere:
                    self.reply(302, b"", Location=hub.elsewhere + self.path, **linked)
                    return
                self.send_bytes(content, linked)

            def send_bytes(self, content: bytes, headers: dict[str, str]) -> None:
                start = 0
                asked = self.headers.get("Range")
                if asked and hub.ranges:
                    start = int(asked.removeprefix("bytes=").rstrip("-"))
                    if start >= len(content):
                        self.reply(416, b"")
                        return
                    self.send_response(206)
                    last = len(content) - 1
                    self.send_header("Content-Range", f"bytes {start}-{last}/{len(content)}")
                else:
                    self.send_response(200)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                if self.command == "HEAD":
                    return
                if hub.damage is not None:
                    at = hub.damage
                    content = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
                end = len(content) if hub.cut is None else min(len(content), start + hub.cut)
                try:
                    time.sleep(hub.stall)
                    for at in range(start, end, 1 << 16):
                        self.wfile.write(content[at : min(at + (1 << 16), end)])
                        time.sleep(hub.pause)
                    self.wfile.flush()
                except OSError:
                    pass  # the client was killed
                if end < len(content):
                    self.close_connection = True

        return Handler
