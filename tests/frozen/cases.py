"""The sweeps whose numbers are frozen: every method, every decoder, every precision and kind of budget, in small."""

from typing import Any

WORLD = {
    "kind": "synthetic",
    "rows": 240,
    "image_encoders": 3,
    "text_encoders": 2,
    "image_dims": [12, 20],
    "text_dims": [8, 16],
    "seed": 0,
}
TRAINED = {"epochs": 2, "batch_size": 32, "lr": 1e-2}
JOINT = {"epochs": 4, "batch_size": 32, "lr": 1e-2, "pairs_per_step": 3}
SMALL = {**JOINT, "hidden": [16, 8]}
SAMPLE = {"rows": 64}

METHODS: dict[str, dict[str, Any]] = {
    "add_encoder": {**SMALL, "held_out": "image00", "condition_updates": 4},
    "additive": TRAINED,
    "ape": TRAINED,
    "ape_halving": {**TRAINED, "epochs": 4},
    "ape_stacked": TRAINED,
    "cca": {},
    "cka": SAMPLE,
    "cknna": SAMPLE,
    "encoder_layers": JOINT,
    "h_score": SAMPLE,
    "hyma": SMALL,
    "hyper_align": {**SMALL, "batch_size": 64},
    "hyper_align_published": {**SMALL, "batch_size": 64, "pairs_per_step": 2, "precision": "fp32"},
    "joint_polished": {"updates": 4, "batch_size": 32, "pairs_per_step": 3, "space_dim": 8},
    "largest": {},
    "least_squares": {},
    "logme": SAMPLE,
    "low_rank": TRAINED,
    "mutual_knn": SAMPLE,
    "polished": {"updates": 4, "batch_size": 32},
    "procrustes": {},
    "random": {},
    "ridge": {},
    "shared_connector": TRAINED,
    "spectral": {"penalties": [[0.3, 3.0], [1.0, 3.0]]},
    "spectral_sample": SAMPLE,
    "svcca": SAMPLE,
    "unit1": {},
    "winner": {"sample": 64, "updates": 4, "batch_size": 32},
}
"""Name -> settings. ``ape_asha`` is not here: its numbers depend on the order in which trials end."""

PRECISIONS = ("fp32", "bf16", "fp16", "fp64")
BUDGETS = {"epochs": 2, "updates_per_pair": 7, "flops": 4e6}
"""FLOPs are of one pair; a method whose cell has all six pairs gets six times as many. ``seconds`` is not here: where
such a budget ends depends on the machine."""

TRAINED_METHODS = (
    "add_encoder",
    "additive",
    "ape",
    "ape_halving",
    "ape_stacked",
    "encoder_layers",
    "hyma",
    "hyper_align",
    "hyper_align_published",
    "low_rank",
    "shared_connector",
)
"""Those that have a precision and take a budget."""
OF_ONE_PAIR = ("ape", "ape_halving")
WITHOUT_BUDGET = ("joint_polished", "polished", "winner")
"""Those that have a precision, and bring their budget along."""


def _sweep(name: str, methods: dict[str, Any], **more: Any) -> dict[str, Any]:
    world = {**WORLD, **more.pop("data", {})}
    return {"name": name, "data": world, "methods": methods, "seeds": [0], **more}


def _against_ape(name: str, label: str, settings: dict[str, Any], **more: Any) -> dict[str, Any]:
    return _sweep(name, {"grid": {"method": "ape", **TRAINED}, label: settings}, reference="grid", **more)


def _by_method() -> dict[str, dict[str, Any]]:
    found = {}
    for method, settings in METHODS.items():
        own: dict[str, Any] = {"data": {"classes": 4}} if method == "unit1" else {}
        if method == "largest":
            own["data"] = {"image_params": [10, 11, 12], "text_params": [5, 4]}
        found[f"method-{method}"] = _against_ape(f"method-{method}", method, settings, **own)
    return found


def _by_part() -> dict[str, dict[str, Any]]:
    """Decoders, conditionings, scalings and connectors."""
    found = {}
    for decoder in ("mlp", "chunked", "chunked_published", "feather_map"):
        for init in ("hyperfan_in", "published"):
            name = f"decoder-{decoder}-{init}"
            found[name] = _sweep(name, {"hyma": {**SMALL, "decoder": decoder, "init": init}})
    for conditioning in ("pair", "factored", "features"):
        name = f"conditioning-{conditioning}"
        found[name] = _sweep(name, {"hyma": {**SMALL, "conditioning": conditioning}})
    for scaling in ("fan_in", "published"):
        name = f"scaling-{scaling}"
        found[name] = _sweep(name, {"hyma": {**SMALL, "scaling": scaling}})
    trained = {"ape": TRAINED, "ape_stacked": TRAINED, "hyma": SMALL, "encoder_layers": JOINT}
    for depth in (1, 2):
        name = f"mlp-{depth}"
        polished = {"polished": METHODS["polished"]}
        mlp = {"hidden_layers": depth, "width": 40}
        found[name] = _sweep(name, {**trained, "ridge": {}}, connector={"hidden_layers": depth, "width": 24})
        found[f"polished-{name}"] = _sweep(f"polished-{name}", polished, connector=mlp)
    name = "connector-low_rank"
    found[name] = _sweep(name, {**trained, "ridge": {}}, connector={"kind": "low_rank", "rank": 4})
    name = "image-to-text"
    found[name] = _sweep(name, {**trained, "cca": {}}, connector={"direction": "image_to_text"})
    name = "zero-shot"
    found[name] = _sweep(
        name,
        {"ape": TRAINED, "hyma": SMALL},
        data={"classes": 4},
        tasks=["retrieval", "zero_shot"],
        selection={"task": "zero_shot", "metric": "top1"},
    )
    name = "lower-is-better"
    found[name] = _sweep(
        name,
        {"ape": TRAINED, "hyma": SMALL},
        selection={"task": "retrieval", "metric": "median_rank"},
        reference="ape",
    )
    return found


def _by_precision() -> dict[str, dict[str, Any]]:
    found = {}
    for method in TRAINED_METHODS:
        rest = {key: value for key, value in METHODS[method].items() if key != "epochs"}
        methods = {}
        for precision in PRECISIONS:
            for budget, limit in BUDGETS.items():
                limit = limit * 6 if budget == "flops" and method not in OF_ONE_PAIR else limit
                methods[f"{precision}-{budget}"] = {"method": method, **rest, "precision": precision, budget: limit}
        found[f"precision-{method}"] = _sweep(f"precision-{method}", methods)
    for method in WITHOUT_BUDGET:
        methods = {precision: {"method": method, **METHODS[method], "precision": precision} for precision in PRECISIONS}
        found[f"precision-{method}"] = _sweep(f"precision-{method}", methods)
    return found


CASES = {**_by_method(), **_by_part(), **_by_precision()}
