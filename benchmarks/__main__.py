"""``python -m benchmarks``: the quick table; with ``--against REV``, the regression gate."""

import sys

from benchmarks import gate, quick

if __name__ == "__main__":
    asked = any(word.split("=")[0] == "--against" for word in sys.argv[1:])
    sys.exit(gate.main(sys.argv[1:]) if asked else quick.main(sys.argv[1:]))
