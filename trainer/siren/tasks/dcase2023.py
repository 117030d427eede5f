"""DCASE 2023 task 2: first shot: seven machines to evaluate on that were not developed on, one section each."""

from trainer.siren.tasks.dcase import Dcase, sections

DEVELOPMENT = ("bearing", "fan", "gearbox", "slider", "ToyCar", "ToyTrain", "valve")
EVALUATION = ("bandsaw", "grinder", "shaker", "ToyDrone", "ToyNscale", "ToyTank", "Vacuum")

DCASE2023 = Dcase(
    year=2023,
    dev=dict.fromkeys(DEVELOPMENT, (1000, 200)),
    evaluation=dict.fromkeys(EVALUATION, 200),
    eval_train=1000,
    dev_sections=dict.fromkeys(DEVELOPMENT, sections(0)),
    eval_sections=dict.fromkeys(EVALUATION, sections(0)),
    list_sha256="a82969d9a568",
)
