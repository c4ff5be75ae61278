"""Settings over the API of a real node."""

import pytest

from api_client import log_in, register, users_of_each_role
from nodes import Node
from test_api import UNLIMITED

SETTINGS = "/api/v1/settings"
NOTHING = {"time_zone": None, "theme": None, "default_account": None, "alert_mail": None}


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    folder = tmp_path_factory.mktemp("settings")
    with Node(folder / "logs", "--demo", "--data", folder / "data", environment=UNLIMITED) as node:
        yield node.up()


@pytest.fixture(scope="module")
def users(node):
    return users_of_each_role(node.address())


def test_settings_are_ones_own_before_those_for_all(node, users):
    viewer, admin = users["viewer"], users["administrator"]
    assert viewer.ok("GET", SETTINGS) == {"effective": NOTHING, "own": NOTHING, "global": NOTHING}
    own = {**NOTHING, "time_zone": "Europe/Berlin", "theme": "dark"}
    given = {"time_zone": "Europe/Berlin", "theme": "dark"}
    assert viewer.ok("PUT", SETTINGS, given) == {"effective": own, "own": own, "global": NOTHING}
    everyone = {"time_zone": "America/New_York", "alert_mail": False, "default_account": "paper"}
    admin.ok("PUT", f"{SETTINGS}/global", everyone)
    shown = viewer.ok("GET", SETTINGS)
    assert shown["own"] == own and shown["global"] == {**NOTHING, **everyone}
    assert shown["effective"] == {**everyone, **given}
    fresh = log_in(node.address(), register(node.address())["email"])
    assert fresh.ok("GET", SETTINGS)["effective"] == {**NOTHING, **everyone}
    # What is not given is set no more.
    assert viewer.ok("PUT", SETTINGS, {"theme": "light"})["own"] == {**NOTHING, "theme": "light"}
    assert admin.ok("PUT", f"{SETTINGS}/global", {})["effective"] == NOTHING


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"colour": "red"}, "colour"),
        ({"theme": "pink"}, "theme"),
        ({"time_zone": "Europe/Nowhere"}, "time_zone"),
        ({"time_zone": "../../etc/passwd"}, "time_zone"),
        ({"alert_mail": "yes"}, "alert_mail"),
        ({"default_account": "no-such-account"}, "default_account"),
        ({"default_account": "paper"}, "default_account"),  # it is not his
    ],
)
def test_a_setting_that_does_not_fit_is_refused_by_its_name(users, body, field):
    before = users["trader"].ok("GET", SETTINGS)
    problem = users["trader"].refused(422, "PUT", SETTINGS, {"theme": "dark", **body})
    assert [error["field"] for error in problem["errors"]] == [field]
    assert users["trader"].ok("GET", SETTINGS) == before


def test_those_for_all_take_an_administrator(users):
    for role in ("viewer", "trader", "manager"):
        users[role].refused(403, "PUT", f"{SETTINGS}/global", {"theme": "dark"})
