"""Settings: what is accepted, what is refused in which words, and that they survive JSON."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbmlp import errors
from nbmlp.names import (
    ACTIVATIONS,
    INITIALISERS,
    LOSSES,
    OUTPUTS,
    Call,
    Function,
    parse_call,
    resolve,
)
from nbmlp.optimizers import (
    LBFGS,
    OPTIMIZERS,
    SGD,
    Adam,
    AdamW,
    Optimizer,
    RMSpropGains,
    Rprop,
    as_optimizer,
)
from nbmlp.schedules import Constant, Cosine, Step
from nbmlp.spec import ModelSpec, TrainSpec


def model(**settings: object) -> ModelSpec:
    return ModelSpec(**{"n_inputs": 5, "n_outputs": 3, **settings})


def refusal(call, *args, **kwargs) -> str:
    """The sentence with which a call is refused."""
    with pytest.raises(errors.SpecError) as caught:
        call(*args, **kwargs)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith((".", "?"))
    return sentence


class TestGrammar:
    @pytest.mark.parametrize(
        ("text", "call"),
        [
            ("huber", Call("huber", (), {})),
            ("huber(1.5)", Call("huber", (1.5,), {})),
            (" uniform( -1 , 1 ) ", Call("uniform", (-1, 1), {})),
            ("adam(1e-3, beta2=0.99)", Call("adam", (1e-3,), {"beta2": 0.99})),
            (
                "f(True, key='a', none=None)",
                Call("f", (True,), {"key": "a", "none": None}),
            ),
        ],
    )
    def test_reads(self, text, call):
        assert parse_call(text, "thing") == call

    @pytest.mark.parametrize(
        "text",
        [
            "", " ", "1", "None", "relu(", "relu)", "a.b(1)", "f(x)", "f(1)(2)", "f([1])",
            "f((1, 2))", "f({[]: 1})", "f(*[1])", "f(**{'a': 1})", "f(1j)", "f(b'a')",
            "f(a=1, a=2)", "relu; tanh", "__import__('os').system('true')",
            "f(__import__('os'))", "a\0b", "-" * 9999 + "1",
        ],
    )  # fmt: skip
    def test_refuses(self, text):
        assert refusal(parse_call, text, "thing").startswith("thing ")

    @given(st.text())
    def test_any_text_is_read_or_refused(self, text):
        try:
            assert parse_call(text, "thing").name.isidentifier()
        except errors.SpecError as error:
            assert "cannot be read" in str(error)  # noqa: PT017

    @pytest.mark.parametrize(
        ("alias", "name", "table"),
        [
            ("sigmoid", "logistic", ACTIVATIONS),
            ("linear", "identity", OUTPUTS),
            ("swish", "silu", ACTIVATIONS),
            ("mse", "squared_error", LOSSES),
            ("mae", "absolute_error", LOSSES),
            ("bce", "binary_cross_entropy", LOSSES),
            ("log_loss", "cross_entropy", LOSSES),
            ("tanh", "tanh", ACTIVATIONS),
        ],
    )
    def test_aliases(self, alias, name, table):
        assert resolve(alias, table, "thing") == name

    def test_an_alias_of_another_table_is_unknown(self):
        assert "unknown activation 'mse'" in refusal(resolve, "mse", ACTIVATIONS, "activation")


class TestErrors:
    def test_nearest_name(self):
        error = errors.unknown_name("activation", "Rleu", ACTIVATIONS)
        assert str(error) == "unknown activation 'Rleu': did you mean 'relu'?"

    def test_all_names_when_none_is_near(self):
        error = errors.unknown_name("reduction", "xyzzy", ["sum", "mean"])
        assert str(error) == "unknown reduction 'xyzzy': choose one of mean, sum."

    def test_missing_package(self):
        error = errors.missing_package("a learning curve", "matplotlib", "plot")
        assert str(error) == 'a learning curve needs matplotlib: pip install "nbmlp[plot]".'
        assert isinstance(error, ImportError)

    def test_non_finite_carries_its_place(self):
        error = errors.NonFiniteError("row 3 holds a NaN.", step=7, row=3, column=1)
        assert (error.step, error.row, error.column, error.layer) == (7, 3, 1, None)

    def test_every_exception_is_ours_and_builtin(self):
        builtin = {
            "DataError": ValueError,
            "MissingPackageError": ImportError,
            "ModelFileError": ValueError,
            "NonFiniteError": ArithmeticError,
            "NotFittedError": RuntimeError,
            "SpecError": ValueError,
        }
        for name, base in builtin.items():
            assert issubclass(getattr(errors, name), (errors.NbmlpError, base))
            assert issubclass(getattr(errors, name), base)
            assert issubclass(getattr(errors, name), errors.NbmlpError)


class TestModelSpec:
    def test_one_value_serves_all_layers(self):
        spec = model(hidden=(4, 6), activation="sigmoid", dropout=0.25)
        assert spec.activation == ("logistic", "logistic")
        assert spec.dropout == (0.25, 0.25)
        assert spec.layer_sizes == (5, 4, 6, 3)

    @pytest.mark.parametrize(
        ("hidden", "bias", "count"),
        [((), True, 18), ((), False, 15), ((4, 6), True, 24 + 30 + 21), ((4,), False, 32)],
    )
    def test_number_of_parameters(self, hidden, bias, count):
        assert model(hidden=hidden, bias=bias).n_parameters == count

    @pytest.mark.parametrize("hidden", [7, np.int64(7), [7], (7,), np.array([7])])
    def test_kinds_of_hidden(self, hidden):
        assert model(hidden=hidden) == model(hidden=(7,))
        assert type(model(hidden=hidden).hidden[0]) is int

    @pytest.mark.parametrize(
        ("setting", "text", "canonical", "name", "value"),
        [
            ("loss", "huber", "huber", "huber", 1.0),
            ("loss", "huber(2)", "huber(2.0)", "huber", 2.0),
            ("loss", "huber(delta=2)", "huber(2.0)", "huber", 2.0),
            ("loss", "quantile(.9)", "quantile(0.9)", "quantile", 0.9),
            ("output", "leaky_relu", "leaky_relu", "leaky_relu", 0.01),
            ("output", "leaky_relu(slope=0.2)", "leaky_relu(0.2)", "leaky_relu", 0.2),
            ("output", "elu(0)", "elu(0.0)", "elu", 0.0),
            ("output", "swish", "silu", "silu", 0.0),
        ],
    )
    def test_parameters_of_functions(self, setting, text, canonical, name, value):
        spec = model(**{setting: text})
        function = spec.loss_function if setting == "loss" else spec.functions[-1]
        assert getattr(spec, setting) == str(function) == canonical
        assert (function.name, function.parameter) == (name, value)

    @pytest.mark.parametrize("init", ["auto", "uniform(-1, 1)", *INITIALISERS])
    def test_every_init(self, init):
        lacking = {"uniform": "uniform(0, 0.5)", "normal": "normal(0.1)"}
        spec = model(init=lacking.get(init, init))
        assert ModelSpec.from_dict(spec.to_dict()) == spec

    @pytest.mark.parametrize("activation", ACTIVATIONS)
    def test_every_activation_in_every_place(self, activation):
        spec = model(activation=activation, output=activation)
        assert spec.activation == (activation,)
        assert spec.output == activation

    @pytest.mark.parametrize("loss", LOSSES)
    def test_every_loss_with_its_output(self, loss):
        assert model(loss=loss, output=LOSSES[loss].canonical or "identity").loss == loss

    @pytest.mark.parametrize(
        ("settings", "sentence"),
        [
            ({"n_inputs": 0}, "n_inputs=0 must be a whole number, 1 or more."),
            ({"n_outputs": 2.0}, "n_outputs=2.0 must be a whole number, 1 or more."),
            ({"hidden": (3, 0)}, "hidden=0 must be a whole number, 1 or more."),
            ({"hidden": "100"}, "hidden='100' must be a whole number, 1 or more."),
            ({"hidden": None}, "hidden=None must be a whole number, 1 or more."),
            ({"hidden": True}, "hidden=True must be a whole number, 1 or more."),
            ({"hidden": 1.5}, "hidden=1.5 must be a whole number, 1 or more."),
            ({"activation": "rleu"}, "unknown activation 'rleu': did you mean 'relu'?"),
            ({"activation": "sigmod"}, "unknown activation 'sigmod': did you mean 'sigmoid'?"),
            ({"activation": "softmax"}, "unknown activation 'softmax'"),
            ({"activation": None}, "activation None cannot be read"),
            ({"activation": 5}, "activation 5 cannot be read"),
            ({"activation": ("relu", "tanh")}, "activation has 2 entries for 1 hidden layers"),
            ({"activation": "bad", "hidden": ()}, "unknown activation 'bad'"),
            ({"activation": "relu(1)"}, "activation 'relu(1)': relu takes no number."),
            (
                {"activation": "elu(beta=2)"},
                "activation 'elu(beta=2)': elu takes one number, its alpha.",
            ),
            (
                {"activation": "leaky_relu(-1)"},
                "activation leaky_relu: slope=-1 must be a number in [0, inf).",
            ),
            ({"output": "sofmax"}, "unknown output 'sofmax': did you mean 'softmax'?"),
            ({"output": "softmax(2)"}, "output 'softmax(2)': softmax takes no number."),
            (
                {"loss": "squared_eror"},
                "unknown loss 'squared_eror': did you mean 'squared_error'?",
            ),
            ({"loss": "huber(0)"}, "loss huber: delta=0 must be a number in (0, inf)."),
            ({"loss": "huber(1e999)"}, "loss huber: delta=inf must be a number in (0, inf)."),
            ({"loss": "huber('a')"}, "loss huber: delta='a' must be a number in (0, inf)."),
            (
                {"loss": "huber(gamma=1)"},
                "loss 'huber(gamma=1)': huber takes one number, its delta.",
            ),
            ({"loss": "quantile(1)"}, "loss quantile: q=1 must be a number in (0, 1)."),
            (
                {"loss": "cross_entropy"},
                "loss 'cross_entropy' is computed from the logits and needs output='softmax', not"
                " 'identity'.",
            ),
            ({"bias": "no"}, "bias='no' must be True or False."),
            ({"bias": 1}, "bias=1 must be True or False."),
            ({"init": "he_unifrom"}, "unknown init 'he_unifrom': did you mean 'he_uniform'?"),
            ({"init": "uniform"}, "init 'uniform': uniform takes 2 plain number(s), 0 given."),
            ({"init": "uniform(1, -1)"}, "write the lower end of the range first."),
            ({"init": "uniform(low=0, high=1)"}, "takes 2 plain number(s), 0 given."),
            ({"init": "normal(-1)"}, "value=-1 must be a number in [0, inf)."),
            ({"init": "normal('a')"}, "value='a' must be a number in [0, inf)."),
            ({"init": "zeros(1)"}, "zeros takes no plain number(s), 1 given."),
            ({"init": "auto(1)"}, "auto takes no plain number(s), 1 given."),
            ({"dtype": "float16"}, "dtype='float16': choose float32 or float64."),
            ({"dropout": 1}, "dropout=1 must be a number in [0, 1)."),
            ({"dropout": -0.1}, "dropout=-0.1 must be a number in [0, 1)."),
            ({"dropout": "half"}, "dropout='half' must be a number in [0, 1)."),
            ({"dropout": True}, "dropout=True must be a number in [0, 1)."),
            ({"dropout": (0.1, 0.2)}, "dropout has 2 entries for 1 hidden layers"),
            ({"input_dropout": math.nan}, "input_dropout=nan must be a number in [0, 1)."),
            ({"dropout_scale_at": "test"}, "dropout_scale_at='test': choose training or predict."),
            ({"label_smoothing": 1.0}, "label_smoothing=1.0 must be a number in [0, 1)."),
            (
                {"label_smoothing": 0.1},
                "label_smoothing works with cross-entropies only, not 'squared_error'.",
            ),
        ],
    )
    def test_one_sentence(self, settings, sentence):
        assert sentence in refusal(model, **settings)

    def test_from_dict_names_what_is_unknown_or_missing(self):
        assert refusal(ModelSpec.from_dict, {"n_input": 3}) == (
            "unknown setting 'n_input': did you mean 'n_inputs'?"
        )
        assert refusal(ModelSpec.from_dict, {"n_inputs": 3}) == "setting n_outputs is missing."


class TestTrainSpec:
    def test_written_optimizer_and_schedule(self):
        spec = TrainSpec(optimizer="adam(beta2=0.99)", schedule="step(5)")
        assert spec.optimizer == Adam(beta2=0.99)
        assert spec.schedule == Step(5.0)

    @pytest.mark.parametrize(
        ("optimizer", "own", "decay"),
        [("adam", 0.0, 0.0), ("adamw", 0.0, 0.01), ("adamw(weight_decay=0.1)", 0.2, 0.3)],
    )
    def test_decay_of_both_places(self, optimizer, own, decay):
        assert TrainSpec(optimizer=optimizer, weight_decay=own).decay == pytest.approx(decay)

    def test_with(self):
        spec = TrainSpec(seed=3)
        assert spec.with_(epochs=5) == TrainSpec(seed=3, epochs=5)
        assert refusal(spec.with_, epoch=5) == "unknown setting 'epoch': did you mean 'epochs'?"

    @pytest.mark.parametrize(
        ("settings", "sentence"),
        [
            ({"optimizer": "adma"}, "unknown optimizer 'adma': did you mean 'adam'?"),
            ({"schedule": "cosin"}, "unknown schedule 'cosin': did you mean 'cosine'?"),
            ({"warmup": -1}, "warmup=-1 must be a number in [0, inf)."),
            ({"batch_size": 0}, "batch_size=0 must be a whole number, 1 or more."),
            ({"batch_size": 2.5}, "batch_size=2.5 must be a whole number, 1 or more."),
            ({"batch_size": "all"}, "batch_size='all' must be a whole number, 1 or more."),
            ({"epochs": 0}, "epochs=0 must be a whole number, 1 or more."),
            ({"epochs": None}, "epochs=None must be a whole number, 1 or more."),
            ({"shuffle": "no"}, "shuffle='no' must be True, False or 'blocks'."),
            ({"gradient_norms": 2}, "gradient_norms=2 must be True or False."),
            ({"l1": math.inf}, "l1=inf must be a number in [0, inf)."),
            ({"l2": -1e-9}, "l2=-1e-09 must be a number in [0, inf)."),
            ({"weight_decay": "a"}, "weight_decay='a' must be a number in [0, inf)."),
            ({"l1": 10**400}, "must be a number in [0, inf)."),
            ({"max_norm": 0}, "max_norm=0 must be a number in (0, inf)."),
            ({"clip_norm": -1}, "clip_norm=-1 must be a number in (0, inf)."),
            ({"clip_value": "a"}, "clip_value='a' must be a number in (0, inf)."),
            ({"reduction": "avg"}, "reduction='avg': choose mean or sum."),
            ({"seed": -1}, "seed=-1 must be a whole number, 0 or more."),
            ({"seed": 2**63}, "seed=9223372036854775808 must be a whole number, 92"),
            ({"threads": 0}, "threads=0 must be a whole number, 1 or more."),
            ({"optimizer": "lbfgs", "clip_norm": 1}, "clip_norm does not go with lbfgs"),
            ({"optimizer": "lbfgs", "max_norm": 1}, "max_norm does not go with lbfgs"),
            ({"optimizer": "lbfgs", "weight_decay": 1}, "weight_decay does not go with lbfgs"),
        ],
    )
    def test_one_sentence(self, settings, sentence):
        assert sentence in refusal(TrainSpec, **settings)


OPTIMIZER_SLOTS = {
    "sgd": {},
    "rmsprop": {"mean_square": 0.0},
    "rmsprop_gains": {"mean_square": 0.0, "gain": 1.0, "previous": 0.0},
    "rprop": {"step": 0.01, "previous": 0.0},
    "adagrad": {"sum_square": 0.0},
    "adam": {"mean": 0.0, "mean_square": 0.0},
    "adamw": {"mean": 0.0, "mean_square": 0.0},
    "lamb": {"mean": 0.0, "mean_square": 0.0},
    "lbfgs": {},
}


class TestOptimizers:
    @pytest.mark.parametrize("name", OPTIMIZERS)
    def test_slots(self, name):
        assert dict(OPTIMIZERS[name]().slots) == OPTIMIZER_SLOTS[name]

    def test_momentum_needs_a_slot(self):
        assert SGD(momentum=0.9).slots == (("velocity", 0.0),)

    @pytest.mark.parametrize(
        ("value", "optimizer"),
        [
            ("sgd(0.5, momentum=0.9, nesterov=True)", SGD(0.5, 0.9, True)),
            ("rmsprop_gains(max_gain=10)", RMSpropGains(max_gain=10.0)),
            ({"name": "adam", "beta1": 0.8}, Adam(beta1=0.8)),
            (AdamW(), AdamW()),
        ],
    )
    def test_written(self, value, optimizer):
        assert as_optimizer(value) == optimizer

    @pytest.mark.parametrize("name", OPTIMIZERS)
    def test_learning_rate_alone_is_changed(self, name):
        other = OPTIMIZERS[name]().with_learning_rate(0.5)
        assert other == dataclasses.replace(OPTIMIZERS[name](), learning_rate=0.5)
        assert "learning_rate=-1" in refusal(other.with_learning_rate, -1)

    @pytest.mark.parametrize(
        ("value", "sentence"),
        [
            ({}, "unknown optimizer '': choose one of adagrad, adam,"),
            ({"name": ["adam"]}, "unknown optimizer ['adam']"),
            (None, "optimizer 'None' cannot be read"),
            (Adam, "cannot be read: write a name"),
            ("adam(beta3=1)", "unknown setting of adam 'beta3': did you mean 'beta"),
            (
                "adam(1, 2)",
                "optimizer adam takes learning_rate, the others as name=value: 2 given.",
            ),
            ("adam(1, learning_rate=1)", "optimizer adam: learning_rate is given twice."),
            ("adam(0)", "adam: learning_rate=0.0 must be a number in (0, inf)."),
            ("adam('a')", "adam: learning_rate='a' must be a number in [0, inf)."),
            ("adam(None)", "adam: learning_rate=None must be a number in [0, inf)."),
            ("adam(True)", "adam: learning_rate=True must be a number in [0, inf)."),
            ({"name": "adam", "epsilon": [1]}, "adam: epsilon=[1] must be a number in [0, inf)."),
            ("adam(beta1=1)", "adam: beta1=1.0 must be a number in [0, 1)."),
            ("adam(epsilon=0)", "adam: epsilon=0.0 must be a number in [1e-30, inf)."),
            ("adamw(weight_decay=-1)", "adamw: weight_decay=-1 must be a number in [0, inf)."),
            ("sgd(nesterov=True)", "sgd: nesterov=True needs momentum above 0, e.g. momentum=0.9."),
            ("sgd(nesterov=1)", "sgd: nesterov=1 must be True or False."),
            ("sgd(momentum=1)", "sgd: momentum=1.0 must be a number in [0, 1)."),
            ("rmsprop(rho=-0.1)", "rmsprop: rho=-0.1 must be a number in [0, inf)."),
            ("rmsprop_gains(increase=0.5)", "increase=0.5 must be a number in [1, inf)."),
            ("rmsprop_gains(decrease=1.5)", "decrease=1.5 must be a number in (0, 1]."),
            (
                "rmsprop_gains(min_gain=2, max_gain=1)",
                "rmsprop_gains: min_gain=2.0 must not exceed max_gain=1.0.",
            ),
            ("rprop(min_step=0)", "rprop: min_step=0.0 must be a number in (0, inf)."),
            ("rprop(min_step=99)", "rprop: min_step=99.0 must not exceed max_step=50.0."),
            ("lbfgs(history=0)", "lbfgs: history=0 must be a number in (0, inf)."),
            ("lbfgs(history=2.5)", "lbfgs: history=2.5 must be a whole number, 0 or more."),
        ],
    )
    def test_one_sentence(self, value, sentence):
        assert sentence in refusal(as_optimizer, value)


SPECS = [
    model(),
    model(hidden=(), bias=False, dtype="float64"),
    model(hidden=(2, 3), activation=("elu(2)", "tanh"), dropout=(0.1, 0.2), init="uniform(-1, 1)"),
    model(output="softmax", loss="log_loss", label_smoothing=0.1),
    TrainSpec(),
    TrainSpec(optimizer=RMSpropGains(), schedule=Constant(), batch_size=None, threads=2, seed=9),
    TrainSpec(optimizer=LBFGS(history=5), gradient_norms=True, shuffle=False),
    TrainSpec(optimizer=Rprop(), clip_norm=1, max_norm=3, reduction="sum", schedule=Cosine(0.1)),
    TrainSpec(rate_factors={"layer1.bias": 2, "weight": "sqrt(inputs)"}),
    TrainSpec(dropout_schedule=Cosine(0.1), decay_factors={"layer1": 0}, ema=0.99),
    *(kind() for kind in OPTIMIZERS.values()),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: type(s).__name__)
class TestEverySpec:
    def test_round_trip_through_json(self, spec):
        read = json.loads(json.dumps(spec.to_dict(), allow_nan=False))
        back = as_optimizer(read) if isinstance(spec, Optimizer) else type(spec).from_dict(read)
        assert back == spec
        assert repr(back) == repr(spec)
        assert hash(back) == hash(spec)

    def test_frozen(self, spec):
        for field in dataclasses.fields(spec):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(spec, field.name, 1)

    def test_prints_what_evaluates_to_it(self, spec):
        names = {kind.__name__: kind for kind in (*OPTIMIZERS.values(), Constant, Cosine)}
        scope = {**names, "ModelSpec": ModelSpec, "TrainSpec": TrainSpec}
        assert eval(repr(spec), scope) == spec

    def test_differs_from_the_others(self, spec):
        assert sum(spec == other for other in SPECS) == 1


def test_numpy_numbers_become_plain():
    spec = TrainSpec(
        optimizer=Adam(np.float32(0.5)),
        epochs=np.int32(3),
        l2=np.float32(0.25),
        clip_norm=np.int64(2),
        shuffle=np.bool_(False),
        threads=np.uint8(2),
    )
    assert repr(spec) == repr(
        TrainSpec(optimizer=Adam(0.5), epochs=3, l2=0.25, clip_norm=2.0, shuffle=False, threads=2)
    )
    assert json.loads(json.dumps(spec.to_dict()))["l2"] == 0.25
    net = ModelSpec(np.int64(3), np.int64(2), dropout=np.float32(0.5), bias=np.True_)
    assert json.loads(json.dumps(net.to_dict()))["dropout"] == [0.5]


@given(
    hidden=st.lists(st.integers(1, 600), max_size=5),
    slope=st.floats(0, 1e6),
    rate=st.floats(1e-12, 1e3),
)
def test_any_valid_numbers_round_trip(hidden, slope, rate):
    net = model(hidden=hidden, activation=f"leaky_relu({slope!r})")
    assert ModelSpec.from_dict(json.loads(json.dumps(net.to_dict()))) == net
    assert net.functions[:-1] == (Function(ACTIVATIONS["leaky_relu"], slope),) * len(hidden)
    train = TrainSpec(optimizer=f"sgd({rate!r})")
    assert TrainSpec.from_dict(json.loads(json.dumps(train.to_dict()))) == train
    assert train.optimizer.learning_rate == rate
