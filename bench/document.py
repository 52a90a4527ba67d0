"""docs/performance.md: the report, with what a reader must know to believe it."""

from pathlib import Path
from string import Template

from bench.checking import EVENTS
from bench.goals import goals
from bench.report import SECTIONS
from bench.results import Results
from bench.store_size import SLICE_S
from bench.tables import table

TEMPLATE = Template(Path(__file__).with_name("performance.template.md").read_text())
BOUNDS = Template(Path(__file__).with_name("bounds.template.md").read_text())
PRELIMINARY = """\
**Preliminary: other programs kept the machine busy during this run** (load average {load:.1f} when
it began). Its rates and latencies say little; run `make bench` on an idle machine.

"""


def write_document(results: Results, path: Path) -> None:
    """Write the document."""
    plan = results.plan
    tables = {section.__name__: "\n".join(section(results)) for section in SECTIONS.values()}
    load = results.machine.load_before
    path.write_text(
        TEMPLATE.substitute(
            tables,
            preliminary=PRELIMINARY.format(load=load) if results.is_preliminary else "",
            rounds=plan.rounds,
            store_rounds=plan.store_rounds,
            store_s=plan.store_s,
            slice_s=SLICE_S,
            seconds=f"{plan.seconds:g}",
            latency_per_s=f"{plan.latency_per_s:g}",
            latency_s=f"{plan.latency_s:g}",
            cores=results.machine.cores,
            checked=EVENTS,
            item_bytes=f"{results.memory[-1].in_all:,.0f}",
            machine="\n".join(_machine(results)),
        )
    )


def write_bounds(results: Results, path: Path) -> None:
    """Write what is aimed at, and what bounds it."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(BOUNDS.substitute(goals="\n".join(goals(results))))


def _machine(results: Results) -> list[str]:
    machine = results.machine
    rows = [
        ["date", machine.date],
        ["processor", f"{machine.processor}, {machine.cores} cores"],
        ["memory", f"{machine.memory_gb:.0f} GB"],
        ["system", machine.system],
        *([name, version] for name, version in machine.versions.items()),
    ]
    return table(["", ""], rows)
