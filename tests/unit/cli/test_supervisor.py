"""The supervisor with real, tiny processes: readiness, restarts, orderly and disorderly ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from sovereign_ext.cli.supervise import guard
from sovereign_ext.cli.supervise.child import (
    MAX_DELAY_S,
    MAX_RAPID_FAILURES,
    Backoff,
    Child,
    ChildSpec,
    rotate,
    tail,
)
from sovereign_ext.cli.supervise.watch import Supervisor
from sovereign_ext.errors import StartError

pytestmark = pytest.mark.services

SERVE = "open(sys.argv[1], 'w').close(); signal.pause()"
"""Announce and live until a signal."""


def spec(tmp_path: Path, name: str, code: str = SERVE, **options) -> ChildSpec:
    ready = tmp_path / f"{name}.ready"
    argv = (
        sys.executable,
        "-I",
        "-S",
        "-c",
        "import os, signal, sys, time\n" + textwrap.dedent(code),
        str(ready),
    )
    return ChildSpec(
        name=name, argv=argv, log=tmp_path / f"{name}.log", announces=ready, first_delay_s=0.01, **options
    )


class Run:
    """One supervised run in this process; ``lines`` is what was said, ``pids`` the newest record."""

    def __init__(self, specs, *, probe=lambda: None, start_s=20.0) -> None:
        self.lines: list[str] = []
        self.pids: dict[str, int | None] = {}
        self.served: list[bool] = []
        self.on_say = lambda line: None
        self._supervisor = Supervisor(specs, probe=probe, say=self._say, record=self._record, start_s=start_s)

    def __call__(self, on_ready=lambda: None) -> None:
        self._supervisor.run(on_ready)

    def _say(self, line: str) -> None:
        self.lines.append(line)
        self.on_say(line)

    def _record(self, children, serving: bool) -> None:
        self.pids = {child.spec.name: child.pid for child in children}
        self.served.append(serving)


def stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_ready_when_all_announced_and_the_probe_agrees(tmp_path):
    """Not before; and after the stop nothing is left."""
    asked = []

    def probe():
        asked.append((tmp_path / "a.ready").exists() and (tmp_path / "b.ready").exists())
        return None if len(asked) > 2 else "not yet"

    run = Run([spec(tmp_path, "a"), spec(tmp_path, "b")], probe=probe)
    seen = {}

    def ready():
        seen.update(run.pids)
        stop()

    run(ready)
    assert asked == [True, True, True]
    assert not any(psutil.pid_exists(pid) for pid in seen.values())
    assert run.pids == {"a": None, "b": None}
    assert run.served[-1] is False


def test_a_child_waits_for_what_it_needs(tmp_path):
    """Envoy starts only once the processor has written its bootstrap file."""
    bootstrap = tmp_path / "bootstrap"
    needs = spec(tmp_path, "envoy", f"assert os.path.exists({str(bootstrap)!r})\n" + SERVE, needs=bootstrap)
    gives = spec(tmp_path, "processor", f"open({str(bootstrap)!r}, 'w').close()\n" + SERVE)
    run = Run([needs, gives])
    run(stop)
    assert (tmp_path / "envoy.log").read_text() == ""


def test_children_stop_in_order(tmp_path):
    """Each has ended before the next is asked to."""
    record = tmp_path / "order"
    code = f"""
        def end(*_):
            with open({str(record)!r}, 'a') as f: f.write(os.path.basename(sys.argv[1]) + '\\n')
            sys.exit()
        signal.signal(signal.SIGTERM, end)
    """
    run = Run(
        [spec(tmp_path, name, textwrap.dedent(code) + SERVE) for name in ("envoy", "processor", "mock")]
    )
    run(stop)
    assert record.read_text().split() == ["envoy.ready", "processor.ready", "mock.ready"]


def test_a_child_that_ends_at_the_start_ends_the_start(tmp_path):
    """The line says how, names the log and shows its end; the others are stopped."""
    bad = spec(
        tmp_path, "processor", "print('sovereign.yaml:3: no such model', file=sys.stderr); sys.exit(1)"
    )
    run = Run([spec(tmp_path, "mock"), bad])
    with pytest.raises(StartError) as error:
        run()
    first, *rest = str(error.value).splitlines()
    assert first == f"processor did not start (exit code 1); {tmp_path / 'processor.log'} ends with:"
    assert rest == ["    sovereign.yaml:3: no such model"]
    assert run.pids == {"mock": None, "processor": None}


def test_a_program_that_does_not_exist_is_named(tmp_path):
    """One line, nothing left running."""
    run = Run([ChildSpec(name="envoy", argv=("/no/such/envoy",), log=tmp_path / "envoy.log")])
    with pytest.raises(StartError, match=r"^cannot start /no/such/envoy: No such file or directory$"):
        run()


def test_the_deadline_blames_the_one_that_is_missing(tmp_path):
    """A child that waits for another's file is not to blame; its log would be empty."""
    envoy = spec(tmp_path, "envoy", needs=tmp_path / "never")
    mute = spec(tmp_path, "processor", "print('loading', flush=True); signal.pause()")
    with pytest.raises(StartError) as error:
        Run([envoy, mute], start_s=1.0)()
    assert str(error.value).startswith("not ready after 1 s: processor has not started; ")
    assert str(error.value).endswith("processor.log ends with:\n    loading")


def test_the_deadline_says_what_the_probe_missed(tmp_path):
    """All run, but the gateway answers 503."""
    with pytest.raises(
        StartError, match=r"not ready after 0.3 s: GET /v1/models answers 503; .*envoy.log is empty"
    ):
        Run([spec(tmp_path, "envoy")], probe=lambda: "GET /v1/models answers 503", start_s=0.3)()


def test_a_stop_during_the_start_is_orderly(tmp_path):
    """Ctrl-C does not wait for readiness."""
    run = Run([spec(tmp_path, "a")], probe=lambda: stop() or "never")
    run(lambda: pytest.fail("it was never ready"))
    assert run.pids == {"a": None}


def test_a_killed_child_is_started_again(tmp_path):
    """One line says so, another that it serves again; meanwhile the record says that it does not."""
    run = Run([spec(tmp_path, "processor"), spec(tmp_path, "mock")])
    first = {}

    def ready():
        first.update(run.pids)
        os.kill(run.pids["processor"], signal.SIGKILL)

    run.on_say = lambda line: stop() if "serving again" in line else None
    run(ready)
    assert run.lines[0] == (
        "processor ended (killed by SIGKILL); starting it again in 0.01 s, "
        f"its log is {tmp_path / 'processor.log'}"
    )
    assert run.lines[1].startswith("serving again after ")
    assert run.served.count(True) == 2


def test_it_gives_up_on_a_child_that_ends_again_and_again(tmp_path):
    """The rest is stopped and the error names the log."""
    once = tmp_path / "once"
    code = f"""
        if os.path.exists({str(once)!r}): sys.exit('out of luck')
        open({str(once)!r}, 'w').close()
    """
    run = Run([spec(tmp_path, "mock"), spec(tmp_path, "processor", textwrap.dedent(code) + SERVE)])
    with pytest.raises(
        StartError, match=r"^processor ends again and again \(exit code 1\); giving up; .* ends with:"
    ):
        run(lambda: os.kill(run.pids["processor"], signal.SIGKILL))
    assert len(run.lines) == MAX_RAPID_FAILURES
    assert run.pids == {"mock": None, "processor": None}


def test_a_second_signal_kills(tmp_path):
    """A child that ignores SIGTERM does not hold up a user who asks twice."""
    stubborn = "signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getppid(), signal.SIGINT))\nwhile True: "
    run = Run(
        [
            spec(
                tmp_path,
                "stubborn",
                "open(sys.argv[1], 'w').close()\n" + stubborn + "signal.pause()",
                grace_s=60,
            )
        ]
    )
    # The child itself sends the second one, so it comes after the supervisor has begun to stop.
    run(stop)
    assert run.pids == {"stubborn": None}


def test_what_is_open_is_settled_before_the_end(tmp_path):
    """While the child still runs, with lines for the user; only then it gets SIGTERM."""
    seen = []

    def settle(impatient, say):
        say("waiting for 1 open call")
        seen.append((impatient(), psutil.pid_exists(run.pids["envoy"])))

    run = Run([spec(tmp_path, "envoy", settle=settle)])
    run(stop)
    assert seen == [(False, True)]
    assert run.lines == ["waiting for 1 open call"]
    assert run.pids == {"envoy": None}


def test_a_second_signal_ends_the_settling(tmp_path):
    """Whoever waits is told, and the child is killed at once."""
    stubborn = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"

    def settle(impatient, say):
        stop()
        assert impatient()

    run = Run([spec(tmp_path, "envoy", stubborn + SERVE, settle=settle, grace_s=60)])
    run(stop)
    assert run.pids == {"envoy": None}


def test_a_start_that_fails_settles_nothing(tmp_path):
    """Nobody was served."""
    run = Run(
        [spec(tmp_path, "envoy", settle=lambda *_: pytest.fail("settled"))], probe=lambda: "no", start_s=0.1
    )
    with pytest.raises(StartError):
        run()


def test_a_child_that_does_not_stop_is_killed(tmp_path):
    """After its grace period."""
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SERVE
    run = Run([spec(tmp_path, "deaf", deaf, grace_s=0.05)])
    run(stop)
    assert run.pids == {"deaf": None}


def test_what_a_child_left_behind_is_killed(tmp_path):
    """Workers of a killed processor do not live on beside those of the new one."""
    pids = tmp_path / "pids"
    worker = f"""
        import subprocess
        worker = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])
        with open({str(pids)!r}, 'a') as f: f.write(f'{{worker.pid}}\\n')
    """
    run = Run([spec(tmp_path, "processor", textwrap.dedent(worker) + SERVE)])
    run.on_say = lambda line: stop() if "serving again" in line else None
    run(lambda: os.kill(run.pids["processor"], signal.SIGKILL))
    workers = [int(pid) for pid in pids.read_text().split()]
    assert len(workers) == 2
    _gone(workers)


def test_no_child_survives_a_killed_supervisor(tmp_path):
    """SIGKILL leaves it no chance to stop anybody; the guard does."""
    program = f"""
        import sys
        from pathlib import Path
        from sovereign_ext.cli.supervise.child import ChildSpec
        from sovereign_ext.cli.supervise.watch import Supervisor
        code = "import signal, sys; open(sys.argv[1], 'w').close(); signal.pause()"
        ready = Path({str(tmp_path)!r}) / "ready"
        spec = ChildSpec(name="a", argv=(sys.executable, "-c", code, str(ready)), log=ready.with_name("log"),
                         announces=ready)
        record = lambda children, serving: serving and print(children[0].pid, flush=True)
        Supervisor([spec], probe=lambda: None, say=print, record=record).run(lambda: None)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    ) as supervisor:
        pid = int(supervisor.stdout.readline())
        helpers = [process.pid for process in psutil.Process(supervisor.pid).children(recursive=True)]
        assert pid in helpers
        assert len(helpers) == 2, "the child and the guard"
        supervisor.kill()
    _gone(helpers)


def _guards() -> set[psutil.Process]:
    return {each for each in psutil.Process().children() if "guard.py" in " ".join(each.cmdline())}


def test_a_killed_guard_is_replaced(tmp_path):
    """At the latest when the next child starts; nothing breaks without it."""
    run = Run([spec(tmp_path, "a")])
    others = _guards()  # of gateways that other tests keep

    def ready():
        (guard,) = _guards() - others
        guard.kill()
        os.kill(run.pids["a"], signal.SIGKILL)

    run.on_say = lambda line: stop() if "serving again" in line else None
    run(ready)
    assert run.pids == {"a": None}


def test_backoff_doubles_and_gives_up():
    """Ends soon after a start count; a long life makes the next one the first again."""
    backoff = Backoff(0.2)
    assert [backoff.after(1.0) for _ in range(MAX_RAPID_FAILURES)] == [0.2, 0.4, 0.8, 1.6, 3.2]
    assert backoff.after(1.0) is None
    backoff = Backoff(2.0)
    assert [backoff.after(1.0) for _ in range(3)] == [2.0, 4.0, MAX_DELAY_S]
    assert backoff.after(3600.0) == 2.0


def test_secrets_stay_out_of_argument_lists_and_reprs(tmp_path):
    """They are given by the environment, which ``repr`` does not show."""
    assert "hush" not in repr(ChildSpec(name="a", argv=("a",), log=tmp_path / "a.log", env={"KEY": "hush"}))


@pytest.mark.parametrize("keeps_keys", [True, False])
def test_keys_in_the_environment_reach_who_needs_them(tmp_path, monkeypatch, keeps_keys):
    """The processor gets all of it; Envoy and the others what any program needs."""
    monkeypatch.setenv("SOVEREIGN_KEY__ACME__ONE", "hush")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    argv = (sys.executable, "-I", "-S", "-c", "import os; print(dict(os.environ), flush=True)")
    log = tmp_path / "a.log"
    child = Child(ChildSpec(name="a", argv=argv, log=log, keeps_keys=keeps_keys))
    os.waitid(os.P_PID, child.start(0.0), os.WEXITED | os.WNOWAIT)
    assert child.ended() == "exit code 0"
    environ = log.read_text()
    assert ("hush" in environ) == keeps_keys
    assert "C.UTF-8" in environ
    assert os.environ["PATH"] in environ


def test_logs_are_rotated_and_shown_clean(tmp_path):
    """The last run's log is kept; a log cannot draw on the user's terminal."""
    log = tmp_path / "a.log"
    rotate(log)
    assert tail(log) == ""
    log.write_bytes(b"one\n\x1b[31mtwo\x07\n\xff\n" * 100)
    assert tail(log, 3) == "one\n[31mtwo\n\N{REPLACEMENT CHARACTER}"
    rotate(log)
    assert not log.exists()
    assert (tmp_path / "a.log.1").exists()


def test_the_guard_kills_what_does_not_listen():
    """SIGTERM first; SIGKILL for what is left after the grace; groups that are gone already are no matter."""
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
    argv = [sys.executable, "-I", "-S", "-c", deaf]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, process_group=0) as child:
        assert child.stdout.readline() == b"\n"
        guard.end({child.pid}, 0.1)
        assert child.wait(20) == -signal.SIGKILL
    guard.end({child.pid}, 0.1)


def test_the_guard_forgets_what_has_ended():
    """Only groups that were added and not dropped are ended."""
    assert guard.groups_left([b"+1\n", b"+2\n", b"-1\n", b"+3\n", b"-9\n"]) == {2, 3}


def _gone(pids: list[int]) -> None:
    """Wait until none of them runs; a zombie that a container's init has not reaped yet has ended too."""
    deadline = time.monotonic() + 20
    for pid in pids:
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_those_that_go_together_stop_at_once(tmp_path):
    """The first is still there when the second is told, so they wait for their calls side by side."""
    lives = "signal.signal(signal.SIGTERM, lambda *_: None); open(sys.argv[1], 'w').close(); signal.pause()\n"
    waits = "while not os.path.exists({!r}): time.sleep(0.01)\n"
    told_first, told_second = str(tmp_path / "first"), str(tmp_path / "second")
    first = spec(
        tmp_path, "one", lives + f"open({told_first!r}, 'w')\n" + waits.format(told_second), with_next=True
    )
    second = spec(tmp_path, "two", lives + f"open({told_second!r}, 'w')\n" + waits.format(told_first))
    run = Run([first, second])
    began = time.monotonic()
    run(stop)
    assert run.pids == {"one": None, "two": None}
    assert time.monotonic() - began < first.grace_s


def test_a_child_may_write_where_we_write(tmp_path, capfd):
    """Without a log of its own; how it ended is said all the same."""
    code = "print('the last words', flush=True); sys.exit(3)"
    loud = replace(spec(tmp_path, "loud", code), log=None)
    with pytest.raises(StartError, match=r"^loud did not start \(exit code 3\)$"):
        Run([loud])()
    assert capfd.readouterr().out == "the last words\n"
