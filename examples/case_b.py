"""Case B, 784-300-10: 7 % error, and a gradient that fails its check. The picture goes to case-b/.

python examples/case_b.py [FOLDER]    FOLDER holds MNIST's files, or a folder mnist with them
"""

import sys

from nbmlp.cases import run

run("b", out="case-b", data=sys.argv[1] if len(sys.argv) > 1 else None)
