"""Run by .ci/run where only nbmlp's wheel and its required dependencies are installed."""

import subprocess
import sys
from importlib import resources
from pathlib import Path

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import nbmlp

assert "site-packages" in nbmlp.__file__, nbmlp.__file__
assert resources.files("nbmlp").joinpath("py.typed").is_file()

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, test_size=400, random_state=0)
net = nbmlp.MLP(hidden=(32,), epochs=20, seed=0).fit(X_train, y_train)
accuracy = net.evaluate(X_test, y_test)["accuracy"]
assert accuracy > 0.9, accuracy

done = subprocess.run(
    [Path(sys.executable).with_name("nbmlp"), "info", "no.safetensors"],
    capture_output=True,
    text=True,
    check=False,
)
assert done.returncode == 2, done
assert done.stderr.count("\n") == 1, done.stderr
assert 'pip install "nbmlp[cli]"' in done.stderr, done.stderr
print(f"trained from the wheel: accuracy {accuracy:.3f}; the command says: {done.stderr.strip()}")
