"""``python -m posterity``: the command line."""

import os
import sys

from .worker import ADDRESS, call

if __name__ == "__main__":
    status = call(sys.argv[1:]) if ADDRESS in os.environ else None
    if status is None:
        from .cli import main

        main()
    sys.exit(status)
