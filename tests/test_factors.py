"""Factors on the learning rate and the decay of parts of a net: names, values, what they stand for.

That updates take them, tests/test_oracle_training.py shows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from engine_twin import FEATURES_ON, all_threads, problem, state_of

from nbmlp import MLP, SpecError
from nbmlp.cli.options import TRAIN, pick
from nbmlp.failures.update import Update
from nbmlp.plan import make_plan
from nbmlp.server.jobs.spec import JobSpec
from nbmlp.spec import ModelSpec, TrainSpec, factor_of
from nbmlp.spec.factors import EMBEDDED, PARTS, as_factors
from nbmlp.train.engine import Engine

NET = ModelSpec(7, 3, (9, 9), **FEATURES_ON)


def test_every_part_of_a_net_can_be_named() -> None:
    parts = [(block.layer < 0, p.name) for block in make_plan(NET, 1).blocks for p in block.parts]
    assert {name for embedded, name in parts if not embedded} == set(PARTS)
    assert {name.rstrip("0123456789") for embedded, name in parts if embedded} == set(EMBEDDED)


def test_all_names_of_a_part_multiply() -> None:
    factors = as_factors("rate_factors", {"bias": 0.5, "layer2": 3, "layer2.bias": 0.1, "alpha": 7})
    found = [factor_of(factors, *at, inputs=4) for at in ((0, "bias"), (1, "bias"), (1, "weight"))]
    assert found == pytest.approx([0.5, 0.15, 3.0], rel=1e-15)
    assert factor_of(None, 0, "bias", 4) == 1.0


def test_embeddings_are_named_apart_from_layers() -> None:
    factors = as_factors("rate_factors", {"bias": 0.5, "embedding": 0.1, "embedding.weight": 2})
    assert as_factors("rate_factors", {"embedding.table12": 2}) == {"embedding.table12": 2}
    assert factor_of(factors, -1, "bias", 1) == 0.1
    assert factor_of(factors, -1, "weight", 1) == pytest.approx(0.2)
    assert factor_of(factors, 0, "weight", 1) == 1.0


def test_words_depend_on_the_inputs_of_the_layer() -> None:
    factors = as_factors("rate_factors", {"weight": "1/sqrt(inputs)", "layer1": "sqrt(inputs)"})
    assert factor_of(factors, 1, "weight", 16) == 0.25
    assert factor_of(factors, 0, "weight", 9) == pytest.approx(1.0)


def test_they_are_read_back_and_can_be_hashed() -> None:
    train = TrainSpec(rate_factors={"bias": 1, "alpha": "sqrt(inputs)"}, decay_factors={})
    again = TrainSpec.from_dict(train.to_dict())
    assert again == train
    assert hash(again) == hash(train)
    assert repr(again.rate_factors) == "{'alpha': 'sqrt(inputs)', 'bias': 1.0}"
    assert again.decay_factors is None
    model = MLP(rate_factors={"bias": 2}).with_(epochs=3)
    assert model.get_params()["rate_factors"] == {"bias": 2} == model.train_spec.rate_factors


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"rate_factors": {"bais": 1}},
            "unknown part in rate_factors 'bais': did you mean 'bias'?",
        ),
        ({"rate_factors": {"layer1.wieght": 1}}, "did you mean 'layer1.weight'?"),
        ({"rate_factors": {"layer0": 1}}, "did you mean 'layer1'?"),
        (
            {"rate_factors": {"xyz": 1}},
            "choose one of alpha, bias, embedding, gain, layer1, layer1.alpha, layer1.bias,",
        ),
        ({"rate_factors": {None: 1}}, "unknown part in rate_factors None"),
        ({"rate_factors": {"embedding.fase": 1}}, "did you mean 'embedding.phase'?"),
        ({"decay_factors": {"bias": 1}}, "unknown part in decay_factors 'bias'"),
        ({"decay_factors": {"embedding.phase": 1}}, "in decay_factors 'embedding.phase'"),
        ({"rate_factors": {"bias": -1}}, "rate_factors['bias']=-1 must be a number in [0, inf)."),
        ({"rate_factors": {"bias": "1/sqrt(input)"}}, "did you mean '1/sqrt(inputs)'?"),
        ({"rate_factors": {"embedding": "sqrt(inputs)"}}, "give embeddings a number."),
        ({"rate_factors": 0.1}, "rate_factors=0.1 must be a dict, name of parts: factor."),
        (
            {"rate_factors": {"layer4": 1}, "hidden": (5, 5)},
            "rate_factors: there is no layer4; this net has layer1 to layer3.",
        ),
        (
            {"decay_factors": {"layer2.weight": 1}, "hidden": ()},
            "decay_factors: there is no layer2; this net has layer1.",
        ),
        ({"rate_factors": {"bias": 1}, "optimizer": "lbfgs"}, "rate_factors does not go with"),
        ({"decay_schedule": "flat_cos", "optimizer": "lbfgs"}, "decay_schedule does not go with"),
        ({"dropout_schedule": "on_plateau"}, "dropout_schedule: on_plateau is for the learning"),
        ({"decay_schedule": "step(gamma=2)"}, "decay_schedule='step(gamma=2)' grows: give a gamma"),
        (
            {"dropout_schedule": "flat_cos", "dropout_scale_at": "predict"},
            "dropout_schedule needs dropout_scale_at='training'",
        ),
    ],
)
def test_mistakes(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SpecError) as caught:
        MLP(**settings)
    assert sentence in str(caught.value)


def test_the_command_line_reads_them() -> None:
    given = {"rate_factors": "bias=0.1, layer1.weight=1/sqrt(inputs)", "decay_factors": "none"}
    assert pick(TRAIN, {"dropout_schedule": "flat_cos"}, given) == {
        "rate_factors": {"bias": 0.1, "layer1.weight": "1/sqrt(inputs)"}, "decay_factors": None,
        "dropout_schedule": "flat_cos",
    }  # fmt: skip
    with pytest.raises(SpecError, match=r"factors: 'bias' has no number: write NAME=NUMBER,..."):
        pick(TRAIN, {}, {"rate_factors": "bias"})


def test_the_server_takes_them() -> None:
    model = {
        "hidden": [5], "rate_factors": {"bias": 0.1, "weight": "1/sqrt(inputs)"}, "ema": 0.99,
        "decay_factors": {"layer2": 0}, "decay_schedule": "flat_cos(0.3)",
    }  # fmt: skip
    job = JobSpec.model_validate({"dataset_id": "0" * 26, "model": model})
    again = JobSpec.model_validate_json(job.model_dump_json())
    assert MLP(**again.model.settings()).train_spec == MLP(**model).train_spec
    with pytest.raises(ValueError, match="did you mean 'bias'"):
        JobSpec.model_validate({"dataset_id": "0" * 26, "model": {"rate_factors": {"bais": 1}}})


def test_a_part_whose_factor_is_0_stays() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 4)), rng.integers(0, 3, 60)
    settings = {"hidden": (5,), "epochs": 2, "weight_decay": 0.5, "input_scale": True}
    first = MLP(**settings).build(X, y)
    model = MLP(**settings, rate_factors={"layer1": 0, "layer1.scale": 9}).fit(X, y)
    before, after = (
        {f"{b.layer}{p.name}": v.copy() for b, p, v in m.net.state.parts()} for m in (first, model)
    )
    assert {name for name in before if np.array_equal(before[name], after[name])} == {
        "0weight", "0bias", "0scale",
    }  # fmt: skip


def test_a_single_update_knows_what_schedules_say_of_it(tmp_path: Any) -> None:
    """One that has failed is repeated alone."""
    spec = ModelSpec(7, 3, (17, 5), "tanh", dropout=0.6)
    given = problem(spec, 40)
    train = TrainSpec(
        batch_size=20, weight_decay=0.5, dropout_schedule="cosine", decay_schedule="cosine"
    )
    with all_threads():
        engine = Engine(spec, train, state_of(spec, given.params, train), given.rows(), 2)
    engine.start_epoch(
        np.full(2, 0.1), decays=np.array([1.0, 0.25]), drops=np.array([1.0, 0.5])
    )  # fmt: skip
    engine.region(20)
    kept = Update.of(engine)
    kept.notes = {"message": "", "digests": {}}
    assert (kept.decay, kept.drop) == (0.25, 0.5)
    kept.save(tmp_path / "u")
    engine.region()
    for update in (kept, Update.load(tmp_path / "u")):
        alone = update.engine(updates=True)
        assert alone.region()
        np.testing.assert_array_equal(alone.state.theta, engine.state.theta)
