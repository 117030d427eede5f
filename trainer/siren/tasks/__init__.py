"""The ten data sets, by the name the command line has for them."""

from trainer.siren.tasks.base import Task
from trainer.siren.tasks.cwru import Cwru
from trainer.siren.tasks.dcase2020 import DCASE2020
from trainer.siren.tasks.dcase2021 import DCASE2021
from trainer.siren.tasks.dcase2022 import DCASE2022
from trainer.siren.tasks.dcase2023 import DCASE2023
from trainer.siren.tasks.dcase2024 import DCASE2024
from trainer.siren.tasks.dcase2025 import DCASE2025
from trainer.siren.tasks.iica import Iica
from trainer.siren.tasks.iiee import Iiee
from trainer.siren.tasks.mafaulda import Mafaulda

YEARS = (DCASE2020, DCASE2021, DCASE2022, DCASE2023, DCASE2024, DCASE2025)
TASKS: dict[str, Task] = {task.key: task for task in (*YEARS, Iiee(), Iica(), Cwru(), Mafaulda())}
