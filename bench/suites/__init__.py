"""What asv measures, commit by commit: a module per question.

What is a quantity is a number among the parameters, so that a graph can have it as its axis.
asv reads a higher `track_*` as worse: a regression is what a `time_*` or a `peakmem_*` says.
"""

import sys
from pathlib import Path

# At the end: an installed nbmlp, the commit under test, must win over the one beside this folder.
sys.path.append(str(Path(__file__).resolve().parents[2]))
