"""The benchmark: the worker, what it competes with, and the limit, in turn on the same servers.

make bench                    about twenty minutes; prints the tables, writes docs/performance.md
make bench ARGS=--full        with a million items and a million events: longer
make bench ARGS="--smoke"     everything once and tiny, to see that it runs; writes nothing

--before FOLDER has the worker of another checkout take its turns, too: what a change is worth.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench import checking, latency, soak, starting, store_size, throughput
from bench.before import contestant_of
from bench.contestants import CONTESTANTS, ECHO, LIMIT, PEERS, WORKER, Contestant
from bench.document import write_bounds, write_document
from bench.events import comings_and_goings
from bench.goals import goals
from bench.plot import write_plot
from bench.report import report_lines
from bench.results import BEFORE, Plan, Results, look_at_machine
from bench.scaling import write_scaling
from bench.servers import Servers, private_servers
from bench.stage import rotated
from bench.store_size import Content, SizedStore, StoreCost, mixed_items, snapshots, tenants
from tests.kit.servers import valkey_store

DOCS = Path(__file__).parent.parent / "docs"
FULL = Plan(store_items=(1_000, 100_000, 1_000_000), soak_events=1_000_000, projects=(10, 100_000))
SMOKE = Plan(
    rounds=1,
    store_rounds=1,
    store_s=0.5,
    seconds=0.5,
    latency_s=1.0,
    offers=(200, 400),
    offer_s=1.0,
    store_items=(300, 3_000),
    valkey_items=3_000,
    volume_snapshots=(0, 1_000),
    projects=(10, 100),
    soak_events=10_000,
    starts=1,
    backlog_share=0.4,
)


def main() -> None:
    """Measure, print, write."""
    arguments = _parsed()
    plan = FULL if arguments.full else SMOKE if arguments.smoke else Plan()
    with private_servers() as servers:
        results = Results(plan, look_at_machine(servers))
        _run(servers, results, arguments.before)
    print("\n".join([*report_lines(results), "", *goals(results)]))
    if arguments.json:
        arguments.json.write_text(results.to_json())
    docs: Path | None = arguments.docs or (None if arguments.smoke else DOCS)
    if docs is not None:
        write_document(results, docs / "performance.md")
        write_plot(results, docs / "performance.png")
        write_scaling(results, docs / "scaling.md")
        write_bounds(results, docs / "decisions" / "what-bounds-its-speed.md")
        _say(f"wrote performance.md, scaling.md and what they refer to in {docs}")


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="with a million items and events")
    parser.add_argument("--smoke", action="store_true", help="tiny: does it run at all?")
    parser.add_argument("--before", type=Path, help="a checkout of another commit, to compare with")
    parser.add_argument("--json", type=Path, help="write the raw figures to this file")
    parser.add_argument("--docs", type=Path, help="write the documents to this folder, not docs/")
    return parser.parse_args()


def _run(servers: Servers, results: Results, before: Path | None) -> None:
    for contestant in (WORKER, *PEERS):
        _say(f"checking the work of {contestant.name}")
        checking.check(servers, contestant)
    contestants = [*CONTESTANTS, *([contestant_of(before, BEFORE)] if before else [])]
    for number in range(results.plan.rounds):
        _round(servers, results, rotated(contestants, number), number)
    _offers(servers, results)
    _alone(servers, results)
    _stores(servers, results)
    for sample in (
        soak.measure(servers, results.plan.soak_events) if results.plan.soak_events else ()
    ):
        _say(f"{sample.events:,} events, {sample.resident_mb:.0f} MB resident")
        results.soak.append(sample)


def _round(
    servers: Servers, results: Results, contestants: Sequence[Contestant], number: int
) -> None:
    """Give everybody a turn, each round in another order."""
    plan = results.plan
    for contestant in contestants:
        turn = throughput.measure(servers, _shared(contestant, plan), plan.seconds)
        results.throughput.setdefault(contestant.name, []).append(turn)
        said = f"{turn.events_per_s:,.0f} events/s, {turn.cpu_us:,.0f} µs CPU"
        offer = (plan.latency_per_s, plan.latency_s)
        (slow,) = latency.sweep(servers, ECHO if contestant is LIMIT else contestant, [offer])
        results.latency.setdefault(contestant.name, []).append(slow)
        said += f"; at {offer[0]:g}/s {slow.median_ms:.1f} ms, p99 {slow.p99_ms:.1f} ms"
        _say(f"round {number + 1}: {contestant.name}: {said}")


def _offers(servers: Servers, results: Results) -> None:
    plan = results.plan
    offers = [(rate, plan.offer_s) for rate in plan.offers]
    for contestant in (WORKER, *PEERS):
        found = results.offered.setdefault(contestant.name, [])
        for step in latency.sweep(servers, contestant, offers):
            found.append(step)
            _say(
                f"{contestant.name}: of {step.offered_per_s:,.0f}/s {step.events_per_s:,.0f},"
                f" {step.median_ms:.1f} ms, p99 {step.p99_ms:.1f} ms"
            )


def _alone(servers: Servers, results: Results) -> None:
    """Measure the worker by itself: its start, and two of it."""
    plan = results.plan
    for _ in range(plan.starts):
        results.starts_s.append(starting.measure(servers, WORKER))
    _say(f"starts: {', '.join(f'{seconds:.2f} s' for seconds in results.starts_s)}")
    for _ in range(plan.rounds):
        worker = _shared(WORKER, plan)
        turn = throughput.measure(servers, worker, plan.seconds, load=comings_and_goings)
        results.mixed.append(turn)
        _say(f"a third released: {turn.events_per_s:,.0f} events/s, {turn.cpu_us:,.0f} µs CPU")
        for number in (1, 2):
            turn = throughput.measure(servers, _shared(WORKER, plan), plan.seconds, number)
            results.processes.setdefault(number, []).append(turn)
            _say(f"worker processes: {number}: {turn.events_per_s:,.0f} events/s")


def _stores(servers: Servers, results: Results) -> None:
    plan = results.plan
    worker = _shared(WORKER, plan)

    def progress(done: int) -> None:
        if sys.stderr.isatty():
            print(f"\r  {done:,} items", end="\r", file=sys.stderr, flush=True)

    sizes: dict[int, list[Content]] = {number: [mixed_items()] for number in plan.store_items}
    sizes[max(sizes)].append(mixed_items(drawn=min(sizes)))
    with store_size.sized_stores(servers, worker, sizes, progress) as stores:
        for store in stores:
            memory = store.fill()
            results.memory.append(memory)
            _say(f"{store.number:,} items: {memory.in_all:,.0f} bytes each")
        _turns(stores, plan, results.stores)
    sized = {plan.valkey_items: [mixed_items()]}
    with store_size.sized_stores(servers, worker, sized, progress, valkey_store) as (store,):
        results.valkey = memory = store.fill()
        _say(f"{memory.items:,} items in {memory.server}: {memory.in_all:,.0f} bytes each")
    volumes = {number: [snapshots()] for number in plan.volume_snapshots}
    with store_size.sized_stores(servers, worker, volumes, progress) as stores:
        _turns(stores, plan, results.volumes)
    tenancies = {number: [tenants()] for number in plan.projects}
    with store_size.sized_stores(servers, worker, tenancies, progress) as stores:
        _turns(stores, plan, results.projects)


def _turns(stores: list[SizedStore], plan: Plan, costs: dict[str, list[StoreCost]]) -> None:
    for number in range(plan.store_rounds):
        for title, cost in store_size.one_round(stores, plan.store_s).items():
            costs.setdefault(title, []).append(cost)
            _say(f"round {number + 1}: {title}: {cost.together_us:.0f} µs CPU")


def _shared(contestant: Contestant, plan: Plan) -> Contestant:
    return replace(contestant, backlog=int(contestant.backlog * plan.backlog_share))


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
