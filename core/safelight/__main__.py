"""Where the program starts: ``safelight``, or ``python -m safelight``."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> int:
    """Run the command line; Ctrl-C while it is still being loaded ends it like later ones."""
    try:
        from .cli import main as run

        return run()
    except KeyboardInterrupt:
        print("safelight: stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
