"""What servers refuse to a user, as commands tell it."""

from typing import Any

import pytest
from amqp.exceptions import AccessRefused, NotAllowed, PreconditionFailed
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError

from kmworker.cli.frame.refusals import as_refused
from kmworker.errors import BrokerUnavailable, KMWorkerError, SetupError, StoreUnavailable

EXCHANGE = "ACCESS_REFUSED - access to exchange 'kmworker.events' in vhost 'v' refused for user 'x'"
USERS = {"store": "dashboard", "broker": "x"}


def caused(error: KMWorkerError, cause: BaseException) -> KMWorkerError:
    error.__cause__ = cause
    return error


def refused(*given: Any) -> SetupError:
    found = as_refused(*given)
    assert found is not None
    return found


def store_says(cause: BaseException) -> KMWorkerError:
    return caused(StoreUnavailable("the store refuses: no"), cause)


def broker_says(cause: BaseException) -> KMWorkerError:
    return caused(BrokerUnavailable(f"amqp://x@host: {cause}"), cause)


@pytest.mark.parametrize(
    "cause",
    [NoPermissionError("no"), ResponseError("ERR NOPERM in the middle of a script")],
    ids=["a command", "a script"],
)
def test_what_the_store_refuses_names_its_user_and_the_account_that_may(
    cause: BaseException,
) -> None:
    found = refused(store_says(cause), "verify", {"repair": True}, USERS)
    assert str(found) == "as user dashboard: the store refuses: no"
    needs = "kmworker verify --repair needs the store's account repairer, or one with its rights"
    assert found.hint == f"{needs}: see config/redis/"


@pytest.mark.parametrize(
    "cause", [AccessRefused(EXCHANGE), NotAllowed("access to vhost 'v' refused for user 'x'")]
)
def test_what_the_broker_refuses_names_the_account_that_may(cause: BaseException) -> None:
    found = refused(broker_says(cause), "dead replay", {}, USERS)
    assert "refused for user 'x'" in str(found)
    needs = "kmworker dead replay needs the broker's account operator, or one with its rights"
    assert found.hint == f"{needs}: see config/rabbitmq/"


def test_a_user_whom_the_refusal_does_not_name_is_named() -> None:
    error = store_says(NoPermissionError("no"))
    assert str(as_refused(error, "status", {}, {})) == "the store refuses: no"
    named = caused(StoreUnavailable("User dashboard may not"), NoPermissionError("no"))
    assert str(as_refused(named, "status", {}, USERS)) == "User dashboard may not"


def test_what_a_setup_error_knows_beyond_is_said_last() -> None:
    error = caused(SetupError("it may not look", "or upgrade"), AccessRefused(EXCHANGE))
    found = refused(error, "dead list", {}, USERS)
    assert found.hint.endswith("see config/rabbitmq/; or upgrade")


@pytest.mark.parametrize(
    "error",
    [
        store_says(AuthenticationError("invalid username-password pair or user is disabled.")),
        broker_says(AccessRefused("ACCESS_REFUSED - Login was refused using PLAIN")),
    ],
    ids=["store", "broker"],
)
def test_a_login_that_is_refused_is_about_the_password(error: KMWorkerError) -> None:
    found = refused(error, "status", {}, USERS)
    assert found.hint.startswith("is the password right?")


def test_whoever_named_nobody_is_told_which_account_and_not_asked_for_a_password() -> None:
    error = store_says(AuthenticationError("HELLO must be called", status_code="NOAUTH"))
    found = refused(error, "status", {}, {"store": "", "broker": ""})
    assert found.hint.startswith("kmworker status needs the store's account dashboard")


@pytest.mark.parametrize(
    "error",
    [
        store_says(ResponseError("OOM command not allowed when used memory > 'maxmemory'.")),
        StoreUnavailable("the store is gone"),
        broker_says(PreconditionFailed("PRECONDITION_FAILED - unknown delivery tag")),
        broker_says(NotAllowed("NOT_ALLOWED - vhost v not found")),
        BrokerUnavailable("gone"),
    ],
)
def test_any_other_trouble_is_no_refusal(error: KMWorkerError) -> None:
    assert as_refused(error, "status", {}, USERS) is None
