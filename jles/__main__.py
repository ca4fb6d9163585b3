"""`python -m jles` is the program `jles`."""

import sys

from jles.cli.main import main

sys.exit(main())
