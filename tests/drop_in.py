"""A pytest plugin: scikit-learn's own tests of its MLPs are run against ours.

With this folder in PYTHONPATH:

``pytest -p drop_in --pyargs sklearn.neural_network.tests.test_mlp``
"""

import sklearn.neural_network
from sklearn.neural_network import _multilayer_perceptron

import nbmlp

for _name in ("MLPClassifier", "MLPRegressor"):
    for _module in (sklearn.neural_network, _multilayer_perceptron):
        setattr(_module, _name, getattr(nbmlp, _name))
