"""Case A, 784-45-16: gradients that shrink as the batch grows. Pictures go to case-a/.

python examples/case_a.py [FOLDER]    FOLDER holds the real data sets, if there are any
"""

import sys

from nbmlp.cases import run

run("a", out="case-a", data=sys.argv[1] if len(sys.argv) > 1 else None)
