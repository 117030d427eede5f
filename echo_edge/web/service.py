"""Service: the page put together from its configuration: link to the daemon, accounts, pages, guard, server."""

from __future__ import annotations

from starlette.types import ASGIApp

from echo_edge.store import page_socket, state_path
from echo_edge.web.accounts import Accounts
from echo_edge.web.app import create_app
from echo_edge.web.config import WebConfig
from echo_edge.web.door import Door
from echo_edge.web.guard import Guard
from echo_edge.web.link import Link
from echo_edge.web.login import Login
from echo_edge.web.sessions import Sessions
from echo_edge.web.texts import Texts


def make_door(config: WebConfig, accounts: Accounts) -> Door:
    """Who may come in.

    Raises:
        AccountsError: their file cannot be used.
    """
    accounts.all()  # told at the start
    return Door(config, accounts, Sessions(accounts))


def make_service(door: Door, link: Link | None = None) -> ASGIApp:
    """The page with everything around it, ready to be served.

    Args:
        link: to the daemon; absent, to that of the configured gateway.
    """
    config = door.config
    link = link or Link(page_socket(state_path(config.gateway)))
    texts = Texts(config.language)
    return Guard(create_app(link, texts, Login(door).routes, config.gateway), door, texts)
