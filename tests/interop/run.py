"""Two implementations of the np protocol against each other, and both against the vectors.

`cargo xtask interop` runs this; by hand: NP_PROGRAM=target/debug/np python3 tests/interop/run.py [WORD ...], where words
choose the cases whose line holds one of them.
"""

import sys

import client_cases  # noqa: F401 - registers its cases
import harness
import server_cases  # noqa: F401 - registers its cases
import vector_cases  # noqa: F401 - registers its cases


def main():
    failed = harness.run_cases(sys.argv[1:])
    harness.stop_shared()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
