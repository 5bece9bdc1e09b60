"""`python -m diffsr` is `diffsr`."""

import sys

from diffsr.cli import main

if __name__ == "__main__":
    sys.exit(main())
