"""Case D, 784-250-1: a loss that does not change at all. Pictures go to case-d/.

python examples/case_d.py [FOLDER]    FOLDER holds the real data sets, if there are any
"""

import sys

from nbmlp.cases import run

run("d", out="case-d", data=sys.argv[1] if len(sys.argv) > 1 else None)
