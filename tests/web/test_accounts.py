"""Accounts: what is on the disk, what a password and a code are good for, and what it costs to try."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from echo_edge.web.accounts import AccountError, Accounts, AccountsError
from echo_edge.web.passwords import BusyError, scrypt
from tests.web.pages_served import PASSWORD, cheap


def made(folder: Path, *names: str) -> Accounts:
    """With a password each; the first is an admin."""
    accounts = Accounts(folder, cheap)
    for name in names:
        code = accounts.add(name, "viewer" if accounts.all() else "admin")
        asyncio.run(accounts.set_password(name, PASSWORD, PASSWORD, code))
    return accounts


def test_the_file_is_its_owners_alone_and_holds_neither_password_nor_code(tmp_path: Path) -> None:
    accounts = made(tmp_path, "boss")
    code = accounts.add("new.one", "viewer")
    file = tmp_path / "accounts.json"
    assert file.stat().st_mode & 0o777 == 0o600
    text = file.read_text()
    assert PASSWORD not in text
    assert code not in text
    assert code.replace("-", "") not in text
    assert set(json.loads(text)["accounts"]) == {"boss", "new.one"}


def test_a_password_is_hashed_by_scrypt_with_32_mib_however_its_umlauts_are_typed() -> None:
    known = hashlib.scrypt("Zwölf Prüfstände".encode(), salt=b"salt", n=32768, r=8, p=1, maxmem=1 << 26, dklen=32)
    assert scrypt("Zwo\u0308lf Pru\u0308fsta\u0308nde", b"salt") == known.hex(), (
        "phones and desktops type it differently"
    )


def test_only_the_right_password_is_right(tmp_path: Path) -> None:
    accounts = made(tmp_path, "boss")
    assert asyncio.run(accounts.check("boss", PASSWORD)) is not None
    for wrong in ("", PASSWORD + "x", PASSWORD.upper(), "\ud800"):
        assert asyncio.run(accounts.check("boss", wrong)) is None
    accounts.new_code("boss")
    assert asyncio.run(accounts.check("boss", PASSWORD)) is None, "a new code takes the password away"


def test_a_name_that_nobody_has_costs_as_many_hashes_as_one_that_somebody_has(tmp_path: Path) -> None:
    made(tmp_path, "boss").add("has.code", "viewer")
    hashed: list[str] = []

    def counting(password: str, salt: bytes) -> str:
        hashed.append(password)
        return cheap(password, salt)

    accounts = Accounts(tmp_path, counting)
    for name in ("boss", "nobody", "has.code"):
        hashed.clear()
        assert asyncio.run(accounts.check(name, "not the password")) is None
        assert len(hashed) == 1, name


def test_a_code_is_good_once_and_for_a_day_however_it_is_typed(tmp_path: Path) -> None:
    now = datetime(2026, 3, 1, 6, 0, tzinfo=timezone.utc)
    accounts = Accounts(tmp_path, cheap, lambda: now)
    code = accounts.add("boss", "admin")
    now += timedelta(hours=23, minutes=59)
    assert accounts.check_code("boss", f" {code.upper().replace('-', ' ')} ")
    assert not accounts.check_code("boss", code[:-1])
    assert not accounts.check_code("nobody", code)
    asyncio.run(accounts.set_password("boss", PASSWORD, PASSWORD, code))
    assert not accounts.check_code("boss", code)
    late = accounts.new_code("boss")
    now += timedelta(hours=24)
    assert not accounts.check_code("boss", late)


def test_a_code_is_used_by_one_of_two_who_use_it_at_once(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path, cheap)
    code = accounts.add("boss", "admin")

    async def both() -> list[BaseException | None]:
        tries = [accounts.set_password("boss", p, p, code) for p in ("the first of two", "the second of two")]
        return await asyncio.gather(*tries, return_exceptions=True)

    outcome = asyncio.run(both())
    assert sorted(type(one).__name__ for one in outcome) == ["AccountError", "NoneType"]


@pytest.mark.parametrize(
    ("password", "repeat", "field"), [("eleven char", "eleven char", "password"), (PASSWORD, PASSWORD + "x", "repeat")]
)
def test_a_password_that_is_refused_leaves_the_code_good(
    tmp_path: Path, password: str, repeat: str, field: str
) -> None:
    accounts = Accounts(tmp_path, cheap)
    code = accounts.add("boss", "admin")
    with pytest.raises(AccountError) as error:
        asyncio.run(accounts.set_password("boss", password, repeat, code))
    assert error.value.field == field
    assert accounts.check_code("boss", code)


def test_there_is_always_somebody_who_can_let_others_in(tmp_path: Path) -> None:
    accounts = made(tmp_path, "boss", "ann")
    with pytest.raises(AccountError, match="last admin"):
        accounts.set_role("boss", "engineer")
    with pytest.raises(AccountError, match="last admin"):
        accounts.remove("boss")
    accounts.set_role("ann", "admin")
    accounts.remove("boss")
    assert set(accounts.all()) == {"ann"}


@pytest.mark.parametrize("name", ["", "Boss", "a b", "a/b", "../x", "-x", "x" * 49, "<b>", "m.lang\n", "müller"])
def test_a_name_is_plain(tmp_path: Path, name: str) -> None:
    with pytest.raises(AccountError) as error:
        Accounts(tmp_path, cheap).add(name, "viewer")
    assert error.value.key == "bad_name"


def test_a_name_is_given_once(tmp_path: Path) -> None:
    accounts = made(tmp_path, "boss")
    with pytest.raises(AccountError) as error:
        accounts.add("boss", "viewer")
    assert error.value.key == "name_taken"


def test_what_one_program_changes_the_other_sees_at_once(tmp_path: Path) -> None:
    service, command = Accounts(tmp_path, cheap), Accounts(tmp_path, cheap)
    command.add("boss", "admin")
    stamp = service.all()["boss"].stamp
    command.new_code("boss")
    assert service.all()["boss"].stamp != stamp
    (tmp_path / "accounts.json").unlink()
    assert service.all() == {}


def test_many_changes_at_once_lose_none(tmp_path: Path) -> None:
    def add(first: int) -> None:
        accounts = Accounts(tmp_path, cheap)
        for n in range(first, first + 5):
            accounts.add(f"p{n}", "viewer")

    threads = [threading.Thread(target=add, args=(5 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Accounts(tmp_path).all()) == 20


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 2}', '{"accounts": {"a": {"role": "god", "stamp": ""}}}'])
def test_a_damaged_file_lets_nobody_in(tmp_path: Path, text: str) -> None:
    accounts = made(tmp_path, "boss")
    (tmp_path / "accounts.json").write_text(text)
    with pytest.raises(AccountsError, match="is damaged"):
        accounts.all()
    with pytest.raises(AccountsError, match="is damaged"):
        accounts.add("intruder", "admin")


def test_a_file_that_others_can_read_is_refused_with_its_mend(tmp_path: Path) -> None:
    accounts = made(tmp_path, "boss")
    (tmp_path / "accounts.json").chmod(0o640)
    with pytest.raises(AccountsError, match=r"chmod 600 .*accounts.json"):
        accounts.all()


def test_two_hashes_run_at_a_time_and_no_more_than_sixteen_are_taken_on(tmp_path: Path) -> None:
    made(tmp_path, "boss")
    running, most = 0, 0
    lock = threading.Lock()

    def slow(password: str, salt: bytes) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1
        return cheap(password, salt)

    accounts = Accounts(tmp_path, slow)

    async def crowd() -> list[object]:
        return list(
            await asyncio.gather(*(accounts.check("boss", PASSWORD) for _ in range(40)), return_exceptions=True)
        )

    outcome = asyncio.run(crowd())
    assert most == 2
    assert sum(isinstance(one, BusyError) for one in outcome) == 24
