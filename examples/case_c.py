"""Case C, 5-50-1: the loss becomes NaN when the batch is large. Pictures go to case-c/.

python examples/case_c.py [FOLDER]    FOLDER holds the real data sets, if there are any
"""

import sys

from nbmlp.cases import run

run("c", out="case-c", data=sys.argv[1] if len(sys.argv) > 1 else None)
