"""`sovereign up` for real: Envoy, the processor and the mocks as processes, called with OpenAI's SDK."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import wire
from demo_world import HELLO, SOVEREIGN, Gateway, assert_gone, sovereign

from sovereign_ext.cli.supervise.probe import free_ports

pytestmark = pytest.mark.dataplane


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[Gateway]:
    """A state directory of its own; whatever a test started on it is stopped."""
    gateway = Gateway(tmp_path / "state", free_ports(1)[0])
    yield gateway
    gateway.down()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One detached gateway for the tests that leave it as it was."""
    gateway = Gateway(tmp_path_factory.mktemp("up") / "state", free_ports(1)[0])
    started = gateway.up()
    assert started.returncode == 0, started.stderr
    yield replace(gateway, banner=started.stdout)
    gateway.down()


def test_the_first_call_is_answered_at_once(tmp_path: Path):
    """At the very first start, once the command has returned, without a retry. `make bench` has the time it takes."""
    gateway = Gateway(tmp_path, free_ports(1)[0])
    started = gateway.up()
    try:
        assert started.returncode == 0, started.stderr
        client = gateway.client().with_options(max_retries=0)
        reply = client.chat.completions.create(model="demo/small", messages=HELLO)
        assert reply.choices[0].message.content
    finally:
        gateway.down()


def test_the_banner_shows_what_demo_env_holds(stopped: Gateway):
    """Base URL and keys are printed once, in full, without colours when nobody looks."""
    started = stopped.up()
    env = stopped.env()
    assert set(env) == {"SF_BASE_URL", "SF_API_KEY", "SF_ADMIN_KEY"}
    assert all(value in started.stdout for value in env.values())
    assert "\x1b" not in started.stdout


@pytest.mark.parametrize("model", ["demo/small", "gpt-4o-mini"])
def test_chat(running: Gateway, model: str):
    """An unmodified SDK, one JSON answer with its attestation."""
    reply = running.client().chat.completions.create(model=model, messages=HELLO)
    assert reply.choices[0].message.content
    index = reply.model_extra["_sf_attestation"]["rekor_index"]
    assert running.receipt(index)


def test_chat_streamed(running: Gateway):
    """The same as a stream, read by the naive loop that examples show."""
    stream = running.client().chat.completions.create(model="demo/small", messages=HELLO, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text


@pytest.mark.parametrize("model", ["demo/embed", "text-embedding-3-small"])
def test_embeddings(running: Gateway, model: str):
    """The demo's embedding models answer with vectors."""
    reply = running.client().embeddings.create(model=model, input=["one", "two"])
    assert [len(each.embedding) > 0 for each in reply.data] == [True, True]


@pytest.mark.parametrize("policy", ["default", "local-only", "one-try"])
def test_each_policy_of_the_demo_answers(running: Gateway, policy: str):
    """A policy in the file that could answer nothing would be a bad example."""
    client = running.client()
    reply = client.chat.completions.create(
        model="demo/small", messages=HELLO, extra_headers={"X-SF-Policy": policy}
    )
    assert reply.choices[0].message.content


def test_the_curl_examples_run(running: Gateway):
    """What the banner shows is run as it stands, in a shell."""
    curls = re.findall(r"^  (curl .*\\\n(?:    .*\n)+)", running.banner, re.MULTILINE)
    assert len(curls) == 4
    answers = ""
    for curl in curls:
        shell = f"set -a; . {running.state_dir}/demo.env; set +a\n{curl}"
        shown = subprocess.run(
            ["/bin/sh", "-c", shell], capture_output=True, text=True, timeout=30, check=True
        )
        assert '"_sf_attestation"' in shown.stdout
        answers += shown.stdout
    assert "Why is [REDACTED:router-key:1] refused?" in answers
    assert running.env()["SF_API_KEY"] not in answers


def test_status(running: Gateway):
    """Processes, log and providers as the management API tells them."""
    running.client().chat.completions.create(model="demo/small", messages=HELLO)
    status = running.status()
    assert (status["running"], status["serving"], status["problems"]) == (True, True, [])
    assert {each["name"] for each in status["processes"]} == {
        *("supervisor", "envoy", "processor", "mirror", "mock")
    }
    assert all(psutil.pid_exists(each["pid"]) for each in status["processes"])
    assert status["log"]["size"] >= 1
    assert {each["name"] for each in status["providers"]} == {
        f"providers/{name}" for name in ("cloud-a", "cloud-b", "gpu", "laptop", "canned", "mayo-internal")
    }
    text = sovereign("status", "--state-dir", running.state_dir)
    assert text.returncode == 0
    assert "is serving" in text.stdout
    assert "sk-" not in text.stdout


def test_a_fallback_can_be_watched(stopped: Gateway):
    """A failing mock is passed over, named in the attestation, and after three failures left alone."""
    assert stopped.up().returncode == 0
    port = json.loads((stopped.state_dir / "demo-ports.json").read_text())["cloud-a"]
    fault = urllib.request.Request(f"http://127.0.0.1:{port}/_mock/fault", b'{"fault": {"status": 503}}')
    urllib.request.urlopen(fault, timeout=10).close()
    for _ in range(3):
        reply = stopped.client().chat.completions.create(model="demo/small", messages=HELLO)
        attempts = reply.model_extra["_sf_attestation"]["attempts"]
        assert attempts[0]["provider"] == "cloud-a"
        assert len(attempts) == 2
    (cloud_a,) = [each for each in stopped.status()["providers"] if each["name"] == "providers/cloud-a"]
    (health,) = [each["health"] for each in cloud_a["deployments"] if each["model"] == "demo/small"]
    assert health["state"] in ("COOLING", "HALF_OPEN")
    assert health["window"]["failures"] == 3


def test_a_second_up_is_refused(running: Gateway):
    """One line, and the first one goes on."""
    again = running.up()
    assert again.returncode == 1
    assert re.fullmatch(
        r"sovereign: already running on \S+ \(process \d+\): `sovereign down` stops it\n", again.stderr
    )
    running.client().models.list()


def test_a_taken_port_is_refused(running: Gateway, tmp_path: Path):
    """One line that names the port; nothing is left running."""
    other = Gateway(tmp_path / "other", running.port)
    refused = other.up()
    assert refused.returncode == 1
    assert refused.stderr == f"sovereign: port {running.port} is taken: choose another one with --port\n"
    assert sovereign("status", "--state-dir", other.state_dir).returncode == 3


def test_secrets_stay_out_of_argument_lists_and_logs(running: Gateway):
    """Keys are in demo.env and were on the terminal, nowhere else."""
    running.client().chat.completions.create(model="demo/small", messages=HELLO)
    keys = [value for name, value in running.env().items() if name.endswith("_KEY")]
    for process in running.processes():
        assert not any(key in word for key in keys for word in process.cmdline())
    for path in running.state_dir.rglob("*"):
        if path.is_file() and path.name != "demo.env":
            assert not any(key.encode() in path.read_bytes() for key in keys), path
            assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize("name", ["processor", "envoy", "mock", "mirror"])
def test_a_killed_process_is_started_again(stopped: Gateway, name: str):
    """SIGKILL any of them: it comes back by itself and calls are answered again."""
    assert stopped.up().returncode == 0
    victim = stopped.pid(name)
    os.kill(victim, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while True:
        status = stopped.status()
        now = next(each for each in status["processes"] if each["name"] == name)
        if status["serving"] and now["pid"] not in (None, victim):
            break
        assert time.monotonic() < deadline, status
        time.sleep(0.05)
    assert now["starts"] == 2
    assert stopped.client().chat.completions.create(model="demo/small", messages=HELLO).choices
    assert "serving again after" in (stopped.state_dir / "logs" / "supervisor.log").read_text()


def test_a_restart_keeps_keys_and_log(stopped: Gateway):
    """The entries of the first run are there and verifiable in the second; down leaves no process."""
    assert stopped.up().returncode == 0
    reply = stopped.client().chat.completions.create(model="demo/small", messages=HELLO)
    index = reply.model_extra["_sf_attestation"]["rekor_index"]
    env, size, processes = stopped.env(), stopped.status()["log"]["size"], stopped.processes()
    assert len(processes) >= 5, "supervisor, guard, Envoy, processor, mocks"
    assert stopped.down().returncode == 0
    assert_gone(processes)
    assert sovereign("status", "--state-dir", stopped.state_dir).returncode == 3

    again = stopped.up()
    assert again.returncode == 0, again.stderr
    assert stopped.env() == env
    assert stopped.status()["log"]["size"] >= size
    assert stopped.receipt(index)


def test_a_killed_supervisor_leaves_nobody(stopped: Gateway):
    """Even SIGKILL: its children end, the directory is free, and the next start works."""
    assert stopped.up().returncode == 0
    processes = stopped.processes()
    processes[0].kill()
    assert_gone(processes)
    assert sovereign("status", "--state-dir", stopped.state_dir).returncode == 3
    again = stopped.up()
    assert again.returncode == 0, again.stderr


@contextmanager
def foreground(gateway: Gateway) -> Iterator[subprocess.Popen[str]]:
    """`sovereign up` as on a terminal, when it is ready."""
    argv = [*SOVEREIGN, "up", "--state-dir", str(gateway.state_dir), "--port", str(gateway.port)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stdout:
                if "Ctrl-C stops all of it" in line:
                    break
            yield process
        finally:
            process.kill()  # unless it has ended, which is for the test to see


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_foreground_ends_in_order(stopped: Gateway, number: signal.Signals):
    """Ctrl-C, a service manager or a closed terminal: exit code 0, nothing to wait for, nothing left."""
    with foreground(stopped) as process:
        processes = stopped.processes()
        assert processes[0].pid == process.pid
        process.send_signal(number)
        assert process.wait(30) == 0
        assert process.stderr.read() == ""
    assert_gone(processes)
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{stopped.port}/v1/models", timeout=5)


def opened(gateway: Gateway, fault: dict[str, object]) -> wire.Running:
    """A stream that has begun, of a provider with the fault."""
    port = json.loads((gateway.state_dir / "demo-ports.json").read_text())["cloud-a"]
    body = json.dumps({"fault": fault}).encode()
    urllib.request.urlopen(f"http://127.0.0.1:{port}/_mock/fault", body, timeout=10).close()
    call = {"model": "demo/small", "messages": HELLO, "stream": True}
    running = wire.open_call(gateway.port, key=gateway.env()["SF_API_KEY"], body=call)
    running.read_until(b'"content":"')
    return running


def test_ctrl_c_lets_an_open_stream_end(stopped: Gateway):
    """One line says what it waits for; nobody else is let in; the stream ends as it should, and then everything."""
    with foreground(stopped) as process, opened(stopped, {"pace_ms": 500}) as running:
        processes = stopped.processes()
        process.send_signal(signal.SIGINT)
        said = process.stderr.readline()
        assert said == "sovereign: waiting for 1 open call, 5 s at most; Ctrl-C again stops at once\n"
        with pytest.raises(ConnectionRefusedError):
            wire.call(stopped.port, "/v1/models", method="GET")
        reply = running.finish()
        assert (reply.status, reply.complete, reply.done) == (200, True, True)
        assert process.wait(30) == 0
        assert process.stderr.read() == ""
    assert_gone(processes)


@pytest.mark.parametrize("twice", [False, True])
def test_ctrl_c_does_not_wait_for_ever(stopped: Gateway, twice: bool):
    """A stream that does not end is cut off after five seconds, or when the user asks again."""
    with foreground(stopped) as process, opened(stopped, {"stall": {"at": 2}}) as running:
        processes = stopped.processes()
        process.send_signal(signal.SIGINT)
        assert "waiting for 1 open call" in process.stderr.readline()
        if twice:
            process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stderr.read() == ("" if twice else "sovereign: stopping with 1 open call\n")
        assert not running.finish().done
    assert_gone(processes)


def test_a_long_state_directory_works(tmp_path: Path):
    """Sockets go to a private temporary directory, which is gone afterwards."""
    gateway = Gateway(tmp_path / ("long" * 30), free_ports(1)[0])
    try:
        started = gateway.up()
        assert started.returncode == 0, started.stderr
        run_dir = (gateway.state_dir / "run").resolve()
        assert run_dir.stat().st_mode & 0o077 == 0
        assert gateway.client().chat.completions.create(model="demo/small", messages=HELLO).choices
    finally:
        gateway.down()
    assert not run_dir.exists()


def test_a_broken_configuration_is_shown(stopped: Gateway):
    """The fault, its file and line are on the terminal; nothing is left running."""
    assert stopped.up().returncode == 0
    stopped.down()
    config = stopped.state_dir / "sovereign.yaml"
    config.write_text(config.read_text().replace("provider: gpu", "provider: gpux", 1))
    refused = stopped.up()
    assert refused.returncode == 1
    assert "processor did not start" in refused.stderr
    assert "gpux" in refused.stderr
    assert sovereign("status", "--state-dir", stopped.state_dir).returncode == 3
