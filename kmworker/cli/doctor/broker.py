"""What ``kmworker doctor`` looks at on the broker."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from shlex import quote

from kmworker.bus.amqp.link import Link
from kmworker.bus.amqp.tls import virtual_host
from kmworker.bus.inspection import Inspection
from kmworker.bus.management import Management
from kmworker.bus.policies import (
    SHIPPED_FOR_AUDIT,
    Fault,
    audit_faults,
    faults,
    half_full,
    limits_deliveries,
    request_faults,
)
from kmworker.cli.doctor.checks import FAILED, NOT_CHECKED, WARNED, Check, checked, not_checked
from kmworker.cli.terminal.output import plural
from kmworker.errors import NotCounted, SetupError
from kmworker.settings import BrokerSettings, Settings
from kmworker.settings.urls import STREAM_SCHEMES, redacted_url
from kmworker.store.client import connect_to
from kmworker.store.inspection import Views
from kmworker.store.names import Names
from kmworker.wire.topology import Topology

__all__ = ["check_broker"]

COLUMNS = "name policy arguments"
OF_BROKER = "queues", "permissions", "policies", "audit", "requests"
AUDIT_HINT = (
    "is kmworker auditor running, and has its disk room? When it is full, no key is delivered"
)


def check_broker(settings: Settings) -> Iterator[Check]:
    """Look at each broker that is configured, and at what is on the first that answers."""
    url = settings.broker.url
    if url is not None and url.partition(":")[0] in STREAM_SCHEMES:
        yield checked("broker", lambda: _streams(settings, url))
        return
    with ExitStack() as stack:
        inspections: list[Inspection] = []
        brokers = [settings.broker.at(it) for it in settings.broker.addresses] or [settings.broker]
        found = [checked("broker", partial(_inspected, it, inspections, stack)) for it in brokers]
        if not inspections:
            yield from found
            yield from not_checked("the broker", *OF_BROKER)
            return
        # Those that answer are enough for a worker.
        yield from (replace(it, status=WARNED) if it.status == FAILED else it for it in found)
        inspection = inspections[0]
        # The next question may be its last.
        version = inspection.version()
        queues = checked("queues", lambda: _queues(inspection, settings))
        yield queues
        if queues.status == FAILED:
            yield from not_checked("the queues", *OF_BROKER[1:])
            return
        yield checked("permissions", lambda: _permissions(inspection))
        yield _policies(version, settings.broker)
        yield _audit(inspection, settings.broker)
        yield _requests(inspection, settings.broker)


def _inspected(settings: BrokerSettings, inspections: list[Inspection], stack: ExitStack) -> str:
    link = Link(settings, "kmworker doctor")
    link.open()
    stack.callback(link.close)
    inspection = Inspection(link, Topology(settings.namespace))
    inspections.append(inspection)
    return f"{inspection.server()} at {redacted_url(settings.url or '')}"


def _streams(settings: Settings, url: str) -> str:
    client = connect_to(url, settings.broker.connect_timeout_s)
    server = Views(client, Names(settings.store.prefix)).server()
    return f"streams in {server.name} {server.version} at {redacted_url(url)}"


def _queues(inspection: Inspection, settings: Settings) -> str:
    missing = inspection.missing_names()
    if missing:
        hint = "start a worker that may declare them, or import config/rabbitmq/definitions.json"
        raise SetupError(f"missing: {', '.join(missing)}", hint)
    others = inspection.other_queues()
    if others:
        hint = "delete them, or choose another broker.namespace"
        raise SetupError(f"no durable quorum queues: {', '.join(others)}", hint)
    return f"all of {settings.broker.namespace}.* is there"


def _permissions(inspection: Inspection) -> str:
    missing, who = list(inspection.missing_rights()), f"user {inspection.user}"
    if missing:
        hint = "use the account worker, or grant its rights: see config/rabbitmq/"
        raise SetupError(f"{who} may not {' nor '.join(missing)}", hint)
    if inspection.may_anchor():
        return f"{who} may consume and publish"
    # A worker does without, and says so.
    return f"{who} may consume and publish; no anchor is kept (see config/rabbitmq/)"


def _policies(version: str, settings: BrokerSettings) -> Check:
    """Ask the management API; an AMQP connection cannot see a policy."""
    vhost = virtual_host(settings.addresses[0])
    if settings.management_url is None:
        return _unseen("not to be seen from here", "set broker.management_url, or ", vhost, version)
    found: list[Fault] = []
    look = partial(_governed, settings, vhost, version, found)
    try:
        result = checked("policies", look)
    except NotCounted as unknown:
        return _unseen(str(unknown), "try again, or ", vhost, version)
    if not found:
        return result
    status = FAILED if any(fault.loses for fault in found) else WARNED
    hint = " && ".join(dict.fromkeys(fault.remedy for fault in found))
    return Check("policies", status, "; ".join(fault.what for fault in found), hint)


def _unseen(why: str, what: str, vhost: str, version: str) -> Check:
    hint = f"{what}look: rabbitmqctl list_queues -p {quote(vhost)} {COLUMNS}"
    if limits_deliveries(version):
        hint += " effective_policy_definition"
        why += "; without the shipped ones, events are lost that came back 20 times"
        return Check("policies", WARNED, why, hint)
    return Check("policies", NOT_CHECKED, why, hint)


def _audit(inspection: Inspection, settings: BrokerSettings) -> Check:
    """Look whether records would get into the audit trail, and are taken off their queue."""
    try:
        return checked("audit", lambda: _audited(inspection, Topology(settings.namespace).audit))
    except NotCounted as unknown:
        return Check("audit", NOT_CHECKED, str(unknown), "the account auditor may")


def _audited(inspection: Inspection, name: str) -> str | tuple[str, str]:
    found = inspection.audit_queue()
    if found is None:
        return (
            f"no {name}: nothing can be recorded in the audit trail",
            "import config/rabbitmq/definitions.json",
        )
    if not inspection.may_record():
        who = f"user {inspection.user} may not write {name}"
        return who, "grant it: see config/rabbitmq/"
    waiting, auditors = found
    said = f"{plural(waiting, 'record')} on the way to the auditor"
    if waiting * 2 >= SHIPPED_FOR_AUDIT["max-length"]:
        return f"{said}: half of what its queue takes", AUDIT_HINT
    if waiting and not auditors:
        return f"{said}, and none runs", "start it: kmworker auditor"
    return said


def _requests(inspection: Inspection, settings: BrokerSettings) -> Check:
    """Look whether clients' requests have a queue, and whether anybody takes them off it."""
    try:
        return checked("requests", lambda: _asked(inspection, Topology(settings.namespace)))
    except NotCounted as unknown:
        return Check("requests", NOT_CHECKED, str(unknown), "the account keyserver may")


def _asked(inspection: Inspection, topology: Topology) -> str | tuple[str, str]:
    found = inspection.request_queue()
    if found is None:
        return f"no {topology.requests}: no client can ask for a key"
    waiting, servers = found
    said = f"{plural(waiting, 'request')} for {plural(servers, 'key server')}"
    if waiting and not servers:
        return f"{said}: they are lost after 30 s", "start one: kmworker keyserver"
    return said


def _governed(settings: BrokerSettings, vhost: str, version: str, found: list[Fault]) -> str:
    topology = Topology(settings.namespace)
    management = Management(str(settings.management_url), vhost, settings.connect_timeout_s)
    queues = 0
    for name in (topology.work, topology.dead, topology.anchor):
        governed = management.governed(name)
        if governed is not None:
            queues += 1
            found += faults(governed, version, topology, vhost)
        elif name != topology.anchor:
            hint = "broker.management_url must be of the broker that broker.url names"
            raise SetupError(f"the management API knows no queue {name} in vhost {vhost}", hint)
    audit = management.governed(topology.audit)
    if audit is not None:
        queues += 1
        found += audit_faults(audit, version, topology, vhost)
        if full := half_full(audit):
            said = f"{audit.queue} is half full or more: {full}"
            found.append(Fault(said, AUDIT_HINT, loses=False))
    requests = management.governed(topology.requests)
    if requests is not None:
        queues += 1
        found += request_faults(requests, topology, vhost)
    return f"nothing throws events away from {plural(queues, 'queue')} in vhost {vhost}"
