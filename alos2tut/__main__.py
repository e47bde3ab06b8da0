"""``python -m alos2tut``."""

import sys

from .cli import main

sys.exit(main())
