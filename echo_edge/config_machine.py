"""Configuration of what turns in a machine: its bearings, and the class its vibration is compared by."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from echo_edge.bearing_lines import Bearing
from echo_edge.config_model import Model

VibrationClass = Literal["small", "medium", "large_rigid", "large_flexible"]

GEOMETRY = ("rolling_elements", "ball_diameter_mm", "pitch_diameter_mm")
PER_TURN = ("bpfo_per_turn", "bpfi_per_turn", "bsf_per_turn", "ftf_per_turn")
TOLERANCE = 0.02  # of a frequency: catalogues round
WHOLE = 0.1  # how far from a whole number two rounded frequencies may add up


class BearingConfig(Model):
    """The rolling bearing under a point, by its geometry or by its frequencies per turn; one of the two, complete."""

    rolling_elements: int | None = Field(default=None, ge=3, le=500)
    """Balls or rollers in one row."""

    ball_diameter_mm: float | None = Field(default=None, gt=0)
    """Diameter of a ball or roller."""

    pitch_diameter_mm: float | None = Field(default=None, gt=0)
    """Diameter of the circle through their centres; about the mean of bore and outer diameter."""

    contact_angle_deg: float = Field(default=0.0, ge=0, lt=90)
    """Angle between the load on a ball and the bearing's plane; 0 for deep groove bearings."""

    bpfo_per_turn: float | None = Field(default=None, gt=0)
    """Balls that pass a spot of the outer race in one turn of the shaft."""

    bpfi_per_turn: float | None = Field(default=None, gt=0)
    """Balls that pass a spot of the inner race."""

    bsf_per_turn: float | None = Field(default=None, gt=0)
    """Turns of a ball about itself. Some catalogues give its strikes, twice as many: halve them."""

    ftf_per_turn: float | None = Field(default=None, gt=0, lt=1)
    """Turns of the cage."""

    @model_validator(mode="after")
    def _one_way_complete_and_possible(self) -> BearingConfig:
        given = self.model_fields_set
        by_geometry, by_ratios = given & {*GEOMETRY, "contact_angle_deg"}, given & {*PER_TURN}
        if bool(by_geometry) == bool(by_ratios):
            raise ValueError(f"give either {', '.join(GEOMETRY)} (and contact_angle_deg), or {', '.join(PER_TURN)}")
        if missing := [key for key in (GEOMETRY if by_geometry else PER_TURN) if getattr(self, key) is None]:
            raise ValueError(f"{', '.join(missing)} is missing; one without the others says nothing")
        if by_geometry:
            self._balls_fit()
        else:
            self._frequencies_belong_together()
        return self

    def _balls_fit(self) -> None:
        count, ball_mm, pitch_mm = (getattr(self, key) for key in GEOMETRY)
        if ball_mm > pitch_mm * math.sin(math.pi / count):
            raise ValueError(
                f"{count} balls of {ball_mm:g} mm do not fit on a circle of {pitch_mm:g} mm; "
                "pitch_diameter_mm is of the circle through their centres"
            )

    def _frequencies_belong_together(self) -> None:
        bearing = self.per_turn
        count = bearing.bpfo + bearing.bpfi  # by the formulas of ``Bearing.of_geometry``, slip or not
        if abs(count - round(count)) > WHOLE or bearing.bpfi <= bearing.bpfo:
            raise ValueError(
                f"bpfo_per_turn {bearing.bpfo:g} and bpfi_per_turn {bearing.bpfi:g} are of no bearing: together they "
                "are the number of balls, a whole one, and bpfi is the larger"
            )
        cages = (bearing.bpfo / count, bearing.bpfi / count)  # the inner ring turns, or the outer one
        if min(abs(bearing.ftf / cage - 1) for cage in cages) > TOLERANCE:
            raise ValueError(
                f"ftf_per_turn {bearing.ftf:g} does not belong to the others; it should be {cages[0]:.4g}, "
                f"or {cages[1]:.4g} where the outer ring turns"
            )
        r = (bearing.bpfi - bearing.bpfo) / count
        spin = (1 - r * r) / (2 * r)  # of a bearing without contact angle; an angle makes it less
        if bearing.bsf > (1 + TOLERANCE) * spin:
            raise ValueError(
                f"bsf_per_turn {bearing.bsf:g} is faster than a ball of this bearing can turn ({spin:.4g}); "
                "if the catalogue gives strikes of a ball (twice the spin), halve it"
            )

    @property
    def per_turn(self) -> Bearing:
        """How often its parts meet."""
        if self.rolling_elements is None:
            return Bearing(*(getattr(self, key) for key in PER_TURN))
        return Bearing.of_geometry(*(getattr(self, key) for key in (*GEOMETRY, "contact_angle_deg")))
