"""What the user reads when everything runs: where it is, the keys, and examples to copy.

Keys are written in full here and in ``demo.env``, nowhere else. Colours only on a terminal that wants them.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from sovereign_ext.cli.supervise.demo import Demo
from sovereign_ext.cli.supervise.layout import Layout
from sovereign_ext.cli.up import DEFAULT_STATE_DIR

Paint = Callable[[str], str]

_EXAMPLES = """\
{h1}
  set -a; . {env_file}; set +a

{h2}
  curl -s $SF_BASE_URL/chat/completions \\
    -H "Authorization: Bearer $SF_API_KEY" -H "Content-Type: application/json" \\
    -d '{{"model": "demo/small", "messages": [{{"role": "user", "content": "Hello!"}}]}}'

{h7}
  curl -s $SF_BASE_URL/chat/completions -H "X-SF-Policy: clinical-strict" \\
    -H "Authorization: Bearer $SF_API_KEY" -H "Content-Type: application/json" \\
    -d '{{"model": "mayo-jhu/meridian-med-13b-v2", "messages": [{{"role": "user", "content": "Hello!"}}]}}'

{h8}
  curl -s $SF_BASE_URL/chat/completions \\
    -H "Authorization: Bearer $SF_API_KEY" -H "Content-Type: application/json" \\
    -d '{{"model": "demo/small", "messages": [{{"role": "user", "content": "Why is '$SF_API_KEY' refused?"}}]}}'

{h3}
  curl -sN $SF_BASE_URL/chat/completions \\
    -H "Authorization: Bearer $SF_API_KEY" -H "Content-Type: application/json" \\
    -d '{{"model": "demo/small", "stream": true, "messages": [{{"role": "user", "content": "Hello!"}}]}}'

{h4}
  import os
  from openai import OpenAI
  client = OpenAI(base_url=os.environ["SF_BASE_URL"], api_key=os.environ["SF_API_KEY"])
  reply = client.chat.completions.create(
      model="gpt-4o-mini", messages=[{{"role": "user", "content": "Hello!"}}])
  print(reply.choices[0].message.content, reply._sf_attestation)

{h5}
  import OpenAI from "openai";
  const client = new OpenAI({{ baseURL: process.env.SF_BASE_URL, apiKey: process.env.SF_API_KEY }});
  const reply = await client.chat.completions.create({{
    model: "gpt-4o-mini", messages: [{{ role: "user", content: "Hello!" }}] }});
  console.log(reply.choices[0].message.content, reply._sf_attestation);

{h6}
  curl -s {root_url}/sf/v1/receipts/INDEX -H "Authorization: Bearer $SF_API_KEY" -o receipt.json
  {verify} receipt.json --keys {keys_file}
"""


def painter(stream: TextIO, code: str) -> Paint:
    """Wraps text in an ANSI attribute if the stream is a terminal (https://no-color.org is obeyed)."""
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return lambda text: text
    return lambda text: f"\x1b[{code}m{text}\x1b[0m"


def ready_text(demo: Demo, layout: Layout, *, took_s: float, detached: bool, stream: TextIO) -> str:
    """The banner. ``took_s`` is the time from the command to the first answer."""
    bold, dim, good = painter(stream, "1"), painter(stream, "2"), painter(stream, "1;32")
    keys = "new keys" if demo.first_start else "keys of the first start"
    status, down = (f"{_command()} {name}{_where(layout)}" for name in ("status", "down"))
    lines = [
        f"{good('SovereignRouter is ready')} {dim(f'({took_s:.1f} s)')}",
        "",
        f"  {bold('base URL  ')}  {demo.base_url}",
        f"  {bold('tenant key')}  {demo.tenant_key.reveal()}",
        f"  {bold('admin key ')}  {demo.admin_key.reveal()}",
        dim(f"  {keys}, also in {layout.env_file}; configuration {layout.config}"),
        "",
        _EXAMPLES.format(
            env_file=shlex.quote(str(layout.env_file)),
            verify=f"{_command()} verify",
            keys_file=shlex.quote(str(layout.root / "log" / "public" / "log-keys.json")),
            root_url=demo.base_url.removesuffix("/v1"),
            h1=bold("the keys into a shell"),
            h2=bold("curl"),
            h8=bold("curl, a key in the prompt") + dim("  the provider never sees it"),
            h3=bold("curl, streaming"),
            h7=bold("curl, trust first") + dim("  answered by the one provider that can prove itself"),
            h4=bold("Python") + dim("  pip install openai"),
            h5=bold("Node") + dim("  npm install openai"),
            h6=bold("the receipt of a call, checked offline")
            + dim("  INDEX is its _sf_attestation.rekor_index"),
        ),
        f"{bold(status)} shows how it is doing, "
        + (f"{bold(down)} stops it." if detached else "Ctrl-C stops all of it."),
    ]
    return "\n".join(lines)


def _command() -> str:
    """How to call this program from the user's shell, where it may not be on PATH."""
    if shutil.which("sovereign"):
        return "sovereign"
    script = Path(sys.argv[0])
    return str(script) if script.name == "sovereign" else f"{sys.executable} -m sovereign_ext.cli.main"


def _where(layout: Layout) -> str:
    return (
        "" if layout.root == DEFAULT_STATE_DIR.absolute() else f" --state-dir {shlex.quote(str(layout.root))}"
    )
