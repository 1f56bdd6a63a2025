"""The Dockerfile: a linter has nothing to say, and what a linter does not know holds too."""

from __future__ import annotations

import re
import subprocess

import pytest
from compose_image import DOCKERFILE, ROOT, UID, stages
from judging import judges_python

STAGES = stages()


def _hadolint(text: str) -> subprocess.CompletedProcess[str]:
    program = judges_python().with_name("hadolint")
    return subprocess.run([program, "-"], input=text, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.services
def test_the_linter_has_nothing_to_say() -> None:
    """hadolint, with shellcheck in it, and no rule switched off."""
    text = DOCKERFILE.read_text("utf-8")
    done = _hadolint(text)
    assert (done.returncode, done.stdout) == (0, "")
    assert "hadolint" not in text, "no rule is switched off in a comment"
    bad = _hadolint(text.replace("RUN install", "RUN sudo install"))
    assert "DL3004" in bad.stdout, "it does judge"


def test_every_stage_stands_on_one_pinned_image() -> None:
    """One image from outside, named with its digest; the rest is made from it."""
    outside = {stage.base for stage in STAGES.values()} - set(STAGES)
    assert outside == {"python:3.13-slim-trixie@${PYTHON_DIGEST}"}
    assert re.search(r"^ARG PYTHON_DIGEST$", DOCKERFILE.read_text("utf-8"), re.MULTILINE), "without a default"
    assert list(STAGES)[-1] == "router", "the default: the chart's image, with Envoy"


@pytest.mark.parametrize("target", ["processor", "router"])
def test_what_is_shipped_runs_as_nobody_and_holds_one_tree(target: str) -> None:
    """The last stages copy the tree that was built, and nothing else; user and entry point are those of `runtime`."""
    stage = STAGES[target]
    source = {"processor": "without-envoy", "router": "build"}[target]
    assert stage.base == "runtime"
    assert [(each.name, each.rest) for each in stage.instructions] == [
        ("COPY", f"--from={source} /opt/sovereign /opt/sovereign")
    ]
    assert STAGES["runtime"].all("USER") == [f"{UID}:{UID}"]
    assert STAGES["runtime"].all("ENTRYPOINT") == ['["sovereign"]']


def test_only_hashed_wheels_come_from_an_index() -> None:
    """Each `pip install` takes a lock with hashes and wheels only, or the wheel that was just made; no other source."""
    steps = [step for stage in STAGES.values() for step in stage.all("RUN")]
    installs = [part for step in steps for part in step.split("&&") if " install " in part and "pip" in part]
    assert len(installs) == 3
    for each in installs:
        locked = "--require-hashes --only-binary :all:" in each and "-r requirements/" in each
        assert locked or "--no-deps --no-index dist/" in each, each
    assert not re.search(r"\b(apt|apt-get|curl|wget|git|npm)\b", " ".join(steps))
    assert not any(stage.all("ADD") for stage in STAGES.values())


def test_a_build_is_sent_what_it_copies() -> None:
    """And nothing else: .dockerignore lists it."""
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")
    }
    copied = {
        source
        for stage in STAGES.values()
        for rest in stage.all("COPY")
        if not rest.startswith("--from=")
        for source in rest.split()[:-1]
    }
    assert {source.split("/")[0] for source in copied} == allowed
    assert all((ROOT / source).exists() for source in copied)


def test_volumes_begin_with_the_image_s_owner() -> None:
    """Every place that docker-compose.yml mounts a new volume at is made in the image, for its user alone."""
    [made] = STAGES["runtime"].all("RUN")
    assert made.startswith(f"install -d -m 0700 -o {UID} -g {UID} ")
    places = set(re.findall(r"/\S+", made))
    compose = (ROOT / "docker-compose.yml").read_text("utf-8")
    ours = set(re.findall(r"type: volume, source: \w+, target: (/(?:run|var/lib)/sovereign[\w-]*)}", compose))
    assert places == ours
