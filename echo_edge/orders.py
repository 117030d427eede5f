"""Orders: what a client may ask of the daemon through the control socket, one JSON object each."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from echo_edge.config_model import ID_PATTERN
from echo_edge.enroll_orders import LATEST_NS, EnrollOrder, EnrollWatch
from echo_edge.order_types import Role


class VerbOrder(BaseModel):
    """Do what a verb of ``baseline_orders`` or ``review_orders`` says."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    order: Literal["baseline", "review"]
    verb: str
    args: dict[str, Any]


class AnyOrder(BaseModel):
    """Do what a verb of ``order_verbs`` says."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    order: Literal["verb"]
    verb: str = Field(max_length=64)
    args: dict[str, Any] = Field(default_factory=dict)
    actor: str = Field(default="unknown", min_length=1, max_length=80)
    role: Role | None = None
    """What the actor may, as the client says; the socket says how much of that is believed."""

    dry_run: bool = False
    expect: dict[str, Any] = Field(default_factory=dict, alias="if")
    """What must still be so."""


class WatchOrder(BaseModel):
    """Tell everything that is known, then every change, until the client goes away."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    order: Literal["watch"]


class ReadOrder(BaseModel):
    """Look at something beside the messages: see ``readings``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    order: Literal["read"]
    what: str = Field(max_length=64)
    args: dict[str, Any] = Field(default_factory=dict)
    role: Role | None = None
    """As in ``AnyOrder``."""


class ListenOrder(BaseModel):
    """Send the samples of a point's device until the client goes away."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    order: Literal["listen"]
    point: str
    save_to: str | None = Field(default=None, max_length=4096)
    """Where the client is going to store them: nothing is stored unless asked, and then the log says so."""


class StateOrder(BaseModel):
    """Tell the operating state of a point, take that back, or ask what is in force."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    order: Literal["state"]
    do: Literal["set", "clear", "show"]
    point: str
    name: str | None = Field(default=None, pattern=ID_PATTERN)
    """With ``set``: the state."""

    until: AwareDatetime | None = None
    """With ``set``: when it ends by itself."""

    @model_validator(mode="after")
    def _a_state_is_set(self) -> StateOrder:
        if (self.do == "set") != (self.name is not None) or (self.until is not None and self.do != "set"):
            raise ValueError("'name' goes with 'set' and only there, and so does 'until'")
        if self.until is not None and not 0 <= self.until.timestamp() * 1e9 <= LATEST_NS:
            raise ValueError("'until' is a time between 1970 and 2116")
        return self


Order = EnrollOrder | EnrollWatch | VerbOrder | AnyOrder | WatchOrder | ReadOrder | ListenOrder | StateOrder

ORDER: TypeAdapter[Order] = TypeAdapter(Annotated[Order, Field(discriminator="order")])
