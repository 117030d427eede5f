"""DCASE 2020 task 2: six machines, several specimens (ids) of each, one domain."""

from trainer.siren.tasks.dcase import Dcase

MIMII, TOY_CAR, TOY_CONVEYOR = ("fan", "pump", "slider", "valve"), "ToyCar", "ToyConveyor"


def _ids(mimii: tuple[int, ...], car: tuple[int, ...], conveyor: tuple[int, ...]) -> dict[str, tuple[str, ...]]:
    numbers = {**dict.fromkeys(MIMII, mimii), TOY_CAR: car, TOY_CONVEYOR: conveyor}
    return {machine: tuple(f"id_{number:02}" for number in ids) for machine, ids in numbers.items()}


DCASE2020 = Dcase(
    year=2020,
    dev={
        "fan": (3675, 1875),
        "pump": (3349, 856),
        "slider": (2804, 1290),
        "valve": (3291, 879),
        TOY_CAR: (4000, 2459),
        TOY_CONVEYOR: (3000, 3509),
    },
    evaluation={"fan": 1342, "pump": 777, "slider": 834, "valve": 940, TOY_CAR: 1545, TOY_CONVEYOR: 1665},
    eval_train=None,
    dev_sections=_ids((0, 2, 4, 6), (1, 2, 3, 4), (1, 2, 3)),
    eval_sections=_ids((1, 3, 5), (5, 6, 7), (4, 5, 6)),
    list_sha256="a179d4dde799",
    domains=False,
)
