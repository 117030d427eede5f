"""DCASE 2021 task 2: seven machines, three sections each in either set, tests apart by domain."""

from trainer.siren.tasks.dcase import Dcase, sections

EVALUATION = {
    "fan": 1200, "gearbox": 1428, "pump": 1200, "slider": 1207, "ToyCar": 1200, "ToyTrain": 1200, "valve": 1200,
}  # fmt: skip

DCASE2021 = Dcase(
    year=2021,
    dev=dict.fromkeys(EVALUATION, (3009, None)),  # a section: 1000 source and 3 target clips
    evaluation=EVALUATION,
    eval_train=3009,
    dev_sections=dict.fromkeys(EVALUATION, sections(0, 1, 2)),
    eval_sections=dict.fromkeys(EVALUATION, sections(3, 4, 5)),
    list_sha256="683a96352275",
    split_tests=True,
)
