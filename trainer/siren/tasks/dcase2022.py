"""DCASE 2022 task 2: seven machines, three sections each in either set, domains mixed in the tests."""

from trainer.siren.tasks.dcase import Dcase, sections

MACHINES = ("bearing", "fan", "gearbox", "slider", "ToyCar", "ToyTrain", "valve")

DCASE2022 = Dcase(
    year=2022,
    dev=dict.fromkeys(MACHINES, (3000, 600)),  # a section: 990 source and 10 target clips, 200 tests
    evaluation=dict.fromkeys(MACHINES, 600),
    eval_train=3000,
    dev_sections=dict.fromkeys(MACHINES, sections(0, 1, 2)),
    eval_sections=dict.fromkeys(MACHINES, sections(3, 4, 5)),
    list_sha256="04d0598ec97d",
)
