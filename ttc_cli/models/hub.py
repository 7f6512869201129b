"""The model hub: what is there, whether it answers, and a stream of bytes from any offset.

huggingface-hub gives addresses, authorisation, metadata and the place of the user's cache; its
variables HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE, HF_ENDPOINT and HF_TOKEN are honoured. The bytes
are streamed here, because its own downloads cannot go on where they were cut off, take 23 s to
notice that nobody answers, and check sizes instead of hashes.
"""

from __future__ import annotations

import glob
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ttc_cli.errors import (
    AccessDenied,
    ModelMissing,
    NetworkError,
    Unreachable,
    UsageError,
)
from ttc_cli.models.registry import HubSource

if TYPE_CHECKING:
    import httpx2

PROBE_SECONDS = 2.0
"""How long the hub may take to answer at all before the next source is tried."""

_CONNECT_SECONDS = 10.0
_READ_SECONDS = 30.0
_ATTEMPTS = 3
RETRY_STATUS = frozenset({408, 429, 500, 502, 503, 504})
_SHA256 = re.compile(r"[0-9a-f]{64}")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file on the hub. ``sha256`` is None where the hub does not state it (not LFS)."""

    name: str
    url: str
    size: int | None
    sha256: str | None
    commit: str | None


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file of a repository's listing; sizes in bytes."""

    name: str
    size: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Hub:
    """A hub at ``endpoint``, with the user's download cache at ``cache``.

    ``patience``: the seconds it may take to answer at all.
    """

    endpoint: str
    cache: Path
    offline: bool = False
    patience: float = PROBE_SECONDS

    @classmethod
    def from_environment(cls) -> Hub:
        """The hub that the user's HF_* variables name (read by huggingface-hub at its import)."""
        from huggingface_hub import constants

        return cls(constants.ENDPOINT, Path(constants.HF_HUB_CACHE), bool(constants.HF_HUB_OFFLINE))

    def find_cached(self, source: HubSource, sha256: str | None) -> Path | None:
        """The file in the user's hub cache: the pinned bytes of any revision, else ``revision``.

        Blobs are named by their sha256 there and snapshots link to them; the caller must still
        hash what it gets.
        """
        if sha256 is None:
            snapshots = [self._snapshot(source.repo, source.revision) / source.file]
        else:
            folder = self._folder(source.repo)
            snapshots = sorted(folder.glob(f"snapshots/*/{glob.escape(source.file)}"))
            # A matching blob first; where links are not supported, any copy may be the one.
            snapshots.sort(key=lambda path: path.resolve().name != sha256)
        return next((path for path in snapshots if path.is_file()), None)

    def list_cached(self, repo: str, revision: str) -> list[str]:
        """The GGUF files of ``repo`` at ``revision`` that lie in the user's hub cache."""
        snapshot = self._snapshot(repo, revision)
        return sorted(str(path.relative_to(snapshot)) for path in snapshot.rglob("*.gguf"))

    def _folder(self, repo: str) -> Path:
        return self.cache / f"models--{repo.replace('/', '--')}"

    def _snapshot(self, repo: str, revision: str) -> Path:
        folder = self._folder(repo)
        reference = folder / "refs" / revision
        if reference.is_file():  # a branch: the commit it stood at
            revision = reference.read_text(encoding="utf-8").strip()
        return folder / "snapshots" / revision

    def answers(self) -> bool:
        """Whether ``probe`` finds it."""
        try:
            self.probe()
        except Unreachable:
            return False
        return True

    def probe(self) -> None:
        """Find out within ``patience`` whether the hub answers, whatever it says.

        Raises:
            Unreachable: it does not, or HF_HUB_OFFLINE forbids to ask.
        """
        if self.offline:
            raise Unreachable("The hub is switched off by HF_HUB_OFFLINE.", "unset HF_HUB_OFFLINE")
        from huggingface_hub import get_session

        session = get_session()  # imports and certificates come before the clock starts
        failures: list[str] = []
        answered = threading.Event()

        def ask() -> None:
            try:
                session.head(self.endpoint, timeout=self.patience, follow_redirects=False)
            except Exception as error:  # whatever it was: no answer
                failures.append(str(error))
            answered.set()

        # A thread, because no timeout of the client covers a name server that is silent.
        threading.Thread(target=ask, daemon=True).start()
        if not answered.wait(self.patience) or failures:
            reason = failures[0] if failures else f"no answer within {self.patience:g} s"
            raise Unreachable(
                f"The model hub {self.endpoint} cannot be reached ({reason}).",
                "check the network, HTTPS_PROXY and HF_ENDPOINT, then repeat the command",
            )

    def locate(self, source: HubSource) -> RemoteFile:
        """Address, size and hash of a file.

        Raises:
            AccessDenied: the hub wants a token, or its licence accepted.
            ModelMissing: no such repository, revision or file.
            NetworkError: the hub failed, asks to slow down, or is not a hub.
        """
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        url = hf_hub_url(source.repo, source.file, revision=source.revision, endpoint=self.endpoint)
        found = self._ask(
            source.repo,
            lambda: get_hf_file_metadata(
                url, timeout=_CONNECT_SECONDS, library_name="ttc", endpoint=self.endpoint
            ),
        )
        etag = (found.etag or "").lower()
        sha256 = etag if _SHA256.fullmatch(etag) else None
        return RemoteFile(source.file, url, found.size, sha256, found.commit_hash)

    def list_files(self, repo: str, revision: str) -> list[ListedFile]:
        """All files of a repository.

        Raises:
            AccessDenied, ModelMissing, NetworkError: as ``locate``.
        """
        from huggingface_hub import HfApi
        from huggingface_hub.hf_api import RepoFile

        api = HfApi(endpoint=self.endpoint, library_name="ttc")
        listed = self._ask(
            repo, lambda: list(api.list_repo_tree(repo, recursive=True, revision=revision))
        )
        return [
            ListedFile(item.path, item.size, item.lfs.sha256 if item.lfs else None)
            for item in listed
            if isinstance(item, RepoFile)
        ]

    @contextmanager
    def stream(self, remote: RemoteFile, offset: int) -> Iterator[httpx2.Response]:
        """The response whose body is ``remote`` from byte ``offset``: check its status.

        The client drops the token when it follows a redirect to another host.
        """
        import httpx2
        from huggingface_hub import get_session
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        headers = build_hf_headers(library_name="ttc")
        headers["Accept-Encoding"] = "identity"
        if offset:
            headers["Range"] = f"bytes={offset}-"
        timeout = httpx2.Timeout(_READ_SECONDS, connect=_CONNECT_SECONDS)
        with get_session().stream(
            "GET", remote.url, headers=headers, timeout=timeout, follow_redirects=True
        ) as response:
            yield response

    def _ask(self, repo: str, question: Callable[[], _T]) -> _T:
        import httpx2
        from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError

        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return question()
            except HfHubHTTPError as error:
                status = error.response.status_code
                if status not in RETRY_STATUS or attempt == _ATTEMPTS:
                    denied = isinstance(error, GatedRepoError)
                    raise refusal(self.endpoint, repo, 401 if denied else status) from error
                time.sleep(read_wait(error.response, 0.5 * attempt, most=5.0))
            except (httpx2.HTTPError, OSError) as error:
                if attempt == _ATTEMPTS:
                    raise Unreachable(
                        f"The model hub {self.endpoint} stopped answering ({error}).",
                        "repeat the command",
                    ) from error
                time.sleep(0.5 * attempt)
            except HFValidationError as error:
                raise UsageError(
                    f"{repo} is not the name of a repository on the hub.",
                    "write it as user/repo:Q4_K_M",
                ) from error
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                raise NetworkError(
                    f"{self.endpoint} answers, but not as a model hub does: something between "
                    "here and the hub, such as a network's login page, answers in its place.",
                    "open a browser and log in to the network, or check HF_ENDPOINT",
                ) from error
        raise AssertionError("unreachable")


def refusal(endpoint: str, repo: str, status: int) -> NetworkError | ModelMissing:
    """What a hub's status code means to the user."""
    page = f"{endpoint}/{repo}"
    if status in (401, 403):
        return AccessDenied(
            f"The hub does not give {repo} to everyone: it needs a token or its licence "
            "accepted, or there is no such repository.",
            f"accept the licence at {page}, then: hf auth login (or set HF_TOKEN)",
        )
    if status == 404:
        return ModelMissing(
            f"The hub has no such repository, revision or file: {repo}.",
            f"look at {page}/tree/main",
        )
    if status == 429:
        return NetworkError(
            "The hub asks to slow down (429 Too Many Requests).",
            "repeat the command in some minutes; with a token (hf auth login) the limit is higher",
        )
    return NetworkError(f"The hub failed (HTTP {status}).", "repeat the command later")


def read_wait(response: httpx2.Response, otherwise: float, *, most: float) -> float:
    """Seconds until the hub wants to be asked again, at most ``most``; else ``otherwise``."""
    stated = response.headers.get("Retry-After", "")
    return min(float(stated), most) if stated.isdigit() else otherwise
