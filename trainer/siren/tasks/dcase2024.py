"""DCASE 2024 task 2: first shot, that is: nine machines to evaluate on that were not developed on, one section each."""

from trainer.siren.tasks.dcase import Dcase, sections

DEVELOPMENT = ("bearing", "fan", "gearbox", "slider", "ToyCar", "ToyTrain", "valve")
EVALUATION = (
    "3DPrinter", "AirCompressor", "Scanner", "ToyCircuit", "HoveringDrone", "HairDryer", "ToothBrush", "RoboticArm",
    "BrushlessMotor",
)  # fmt: skip

DCASE2024 = Dcase(
    year=2024,
    dev=dict.fromkeys(DEVELOPMENT, (1000, 200)),
    evaluation=dict.fromkeys(EVALUATION, 200),
    eval_train=1000,
    dev_sections=dict.fromkeys(DEVELOPMENT, sections(0)),
    eval_sections=dict.fromkeys(EVALUATION, sections(0)),
    list_sha256="7ffa1554b085",
)
