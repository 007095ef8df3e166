"""``python -m numbragg`` is ``numbragg``."""

import sys

from numbragg.cli import main

sys.exit(main())
