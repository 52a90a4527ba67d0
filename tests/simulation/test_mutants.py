"""The promises bite: each planted fault is caught, and says which promise caught it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

import pytest

from tests.kit.simulator import (
    mutants,
    mutants_of_grants,
    mutants_of_keks,
    mutants_of_lives,
    mutants_of_manners,
    mutants_of_memory,
)
from tests.kit.simulator.baton import Preempting
from tests.kit.simulator.explore import Case, others, quietly, singles, stops
from tests.kit.simulator.invariants import Invariant, Violation
from tests.kit.unmeasured import unmeasured

CHAIN: Final = "a chain of five in reverse"
DELETED: Final = "a record that someone deleted"
EARLY: Final = "a snapshot before its volume"
ELSEWHERE: Final = "a record of another installation"
FLOOD: Final = "a flood that waits for another project's volumes"
FULL: Final = "a full waiting room"
NO_ROOM: Final = "no room for dead letters"
PRODUCERS: Final = "producers that may not say everything"
UNREADABLE: Final = "two projects, and what nobody can read"
LAST: Final = "the last release, and the end of its key"
CLONED: Final = "a clone as its source's key falls due"
TURNED: Final = "a KEK is turned over as items come"
ASKED: Final = "a key is asked for"
DETACHED: Final = "asked for as it is detached"
REVOKED: Final = "asked for as its client is revoked"
TWICE: Final = "attached twice to one node, and to another"
LATE_NEWS: Final = "a life that nobody ended, and late news of it"


@dataclass(frozen=True, slots=True)
class Mutant:
    """A planted fault: the runs that it shows in, and the promises that it breaks."""

    plant: mutants.Plant
    runs: "Runs"
    history: str
    caught_by: frozenset[Invariant]


Runs = Callable[[str], Iterator[Case]]


def plain(history: str) -> Iterator[Case]:
    """One worker, and nothing else that goes wrong."""
    yield Case(history)


def struck(history: str) -> Iterator[Case]:
    """One worker, struck at each of its steps."""
    yield from singles(history)


def struck_beside(history: str) -> Iterator[Case]:
    """One worker, and who does something beside it, who is struck at each of his steps."""
    yield from (case for case in singles(history) if case.beside)


def refused(history: str) -> Iterator[Case]:
    """One worker, and a broker that has troubles of its own."""
    yield from others(history)


def awkward(history: str) -> Iterator[Case]:
    """A broker that confirms as it likes."""
    yield from (Case(history, seed=seed) for seed in range(20))


def raced(history: str) -> Iterator[Case]:
    """Two workers, one of which stands still while the other does everything."""
    yield from (Case(history, schedule=Preempting(first, 100)) for first in range(30))


def stopped(history: str) -> Iterator[Case]:
    """A worker stands still until all is done that is done beside it."""
    yield from stops(history)


def _mutant(plant: mutants.Plant, runs: Runs, history: str, *caught_by: Invariant) -> Mutant:
    return Mutant(plant, runs, history, frozenset(caught_by))


MUTANTS: Final = (
    _mutant(mutants.acknowledge_before_commit, struck, EARLY, Invariant.ACKNOWLEDGED_LAST,
        Invariant.ACCOUNTED),
    _mutant(mutants.announce_before_commit, plain, "create", Invariant.STORED_FIRST),
    _mutant(mutants.acknowledge_before_confirm, plain, "create", Invariant.ACKNOWLEDGED_LAST),
    _mutant(mutants.take_a_nack_for_a_confirm, refused, "create", Invariant.ACKNOWLEDGED_LAST),
    _mutant(mutants.acknowledge_what_had_no_room, refused, "create",
        Invariant.ACKNOWLEDGED_LAST),
    _mutant(mutants.acknowledge_what_had_no_room, refused, UNREADABLE,
        Invariant.ACKNOWLEDGED_LAST),
    _mutant(mutants.forget_a_dead_letter_that_had_no_room, refused, UNREADABLE,
        Invariant.AT_REST),
    _mutant(mutants.put_nothing_aside, struck, NO_ROOM, Invariant.GOES_ON),
    _mutant(mutants.match_a_confirm_to_the_wrong_messages, awkward, "duplicates",
        Invariant.ACKNOWLEDGED_LAST),
    _mutant(mutants.remove_a_waiting_event_when_it_is_taken, plain, EARLY,
        Invariant.KEPT_WAITING),
    _mutant(mutants.mint_over_an_orphaned_scope, plain, DELETED,
        Invariant.ONE_KEY, Invariant.IMMUTABLE),
    _mutant(mutants.mint_over_an_existing_item, raced, "duplicates", Invariant.ONE_KEY,
        Invariant.IMMUTABLE),
    _mutant(mutants_of_memory.compare_no_source, plain, DELETED, Invariant.STORED_FIRST,
        Invariant.SCOPES),
    _mutant(mutants_of_memory.believe_what_is_recalled, struck, DELETED, Invariant.STORED_FIRST,
        Invariant.IMMUTABLE),
    _mutant(mutants_of_memory.take_a_repeat_for_new, plain, "duplicates", Invariant.EXPECTED,
        Invariant.JUSTIFIED),
    _mutant(mutants_of_memory.take_a_conflict_for_a_repeat, plain,
        "another encryption, and another node", Invariant.ACCOUNTED),
    _mutant(mutants.mint_where_the_source_is_absent, plain, EARLY, Invariant.EXPECTED),
    _mutant(mutants.drop_dead_letters, plain, "two projects, and what nobody can read",
        Invariant.ACKNOWLEDGED_LAST, Invariant.ACCOUNTED),
    _mutant(mutants.forget_channel_generations, struck, "an event that raises amid good ones",
        Invariant.ACKNOWLEDGED_LAST),
    _mutant(mutants.acknowledge_twice, plain, "create", Invariant.PROTOCOL),
    _mutant(mutants.acknowledge_up_to_the_last, plain, "an event that raises amid good ones",
        Invariant.ACKNOWLEDGED_LAST),
    _mutant(mutants.announce_the_plan, raced, "duplicates", Invariant.ONE_KEY,
        Invariant.STORED_FIRST),
    _mutant(mutants.announce_with_a_number, plain, "duplicates", Invariant.SAME_BYTES),
    _mutant(mutants.announce_no_partition, plain, "partition replicas", Invariant.ANNOUNCED),
    _mutant(mutants.clone_without_a_key_id, plain, CHAIN, Invariant.SCOPES),
    _mutant(mutants.count_no_holders, plain, "create", Invariant.COUNTED),
    _mutant(mutants.count_no_parking, plain, EARLY, Invariant.NUMBERED),
    _mutant(mutants.count_commits_that_write_nothing, raced, "duplicates", Invariant.NUMBERED),
    _mutant(mutants.count_a_batch_before_it_is_seen_to_be_written, plain, "duplicates",
        Invariant.NUMBERED),
    _mutant(mutants.count_commits_twice_where_scripts_are_sent_again, refused,
        "three batches at once, of two projects", Invariant.NUMBERED),
    _mutant(mutants.leave_an_index_behind, plain, EARLY, Invariant.COUNTED),
    _mutant(mutants.index_nothing_that_is_parked, plain, "a source that is too late",
        Invariant.EXPECTED),
    _mutant(mutants.leave_to_chance_who_takes_what_waits, struck, EARLY, Invariant.AT_REST),
    _mutant(mutants.count_no_shares, plain, EARLY, Invariant.COUNTED),
    _mutant(mutants.refuse_where_there_is_room, plain, FLOOD, Invariant.EXPECTED,
        Invariant.JUSTIFIED),
    _mutant(mutants.refuse_events_when_the_store_is_away, struck, EARLY, Invariant.JUSTIFIED),
    _mutant(mutants.sweep_only_what_is_due, struck, EARLY, Invariant.AT_REST),
    _mutant(mutants.assign_what_was_marked_expired, struck,
        "a source that comes as its event expires", Invariant.JUSTIFIED),
    _mutant(mutants_of_manners.go_by_ones_own_clock, plain,
        "workers whose clocks are hours apart", Invariant.JUSTIFIED),
    _mutant(mutants_of_manners.seal_for_any_installation, plain, ELSEWHERE, Invariant.EXPECTED,
        Invariant.STORED_FIRST),
    _mutant(mutants_of_manners.compare_no_commits, plain, "a project whose records are gone",
        Invariant.ONE_KEY, Invariant.EXPECTED),
    _mutant(mutants_of_manners.keep_the_connection, refused, "create", Invariant.AT_REST),
    _mutant(mutants_of_manners.blame_an_event_for_what_the_store_says, refused, "create",
        Invariant.JUSTIFIED),
    _mutant(mutants_of_manners.begin_with_all_that_may_be_at_hand, plain,
        "events that kill, where what came back often is thrown away", Invariant.ACCOUNTED),
    _mutant(mutants_of_manners.take_a_refused_message_for_an_outage, plain,
        "a letter that ends the connection", Invariant.AT_REST),
    _mutant(mutants_of_manners.stop_for_a_full_room, plain, FULL, Invariant.AT_REST),
    _mutant(mutants_of_manners.count_strangers_as_ones_own, plain, FLOOD, Invariant.EXPECTED),
    _mutant(mutants_of_manners.leave_crowds_listed, plain, FLOOD, Invariant.COUNTED),
    _mutant(mutants_of_manners.hear_anyone, plain, PRODUCERS, Invariant.EXPECTED),
    _mutant(mutants_of_manners.take_no_user_for_granted, plain, PRODUCERS, Invariant.JUSTIFIED),
    _mutant(mutants_of_manners.ask_for_the_user_after_waiting, plain, PRODUCERS,
        Invariant.EXPECTED),
    _mutant(mutants_of_manners.forget_the_user_of_what_waits, plain, PRODUCERS,
        Invariant.JUSTIFIED),
    _mutant(mutants_of_lives.destroy_without_looking_who_has_joined, raced,
        "a suspended key that is destroyed as an item joins it", Invariant.HELD),
    _mutant(mutants_of_lives.destroy_without_looking_what_was_cloned, raced, CLONED,
        Invariant.HELD),
    _mutant(mutants_of_lives.destroy_the_dek_with_any_of_its_key_ids, plain, CLONED,
        Invariant.HELD),
    _mutant(mutants_of_lives.count_no_page_of_items, plain, "a counter of holders that lies",
        Invariant.HELD),
    _mutant(mutants_of_lives.deactivate_without_looking_at_other_holders, plain,
        LATE_NEWS, Invariant.HELD),
    _mutant(mutants_of_lives.deactivate_nothing, plain, LAST, Invariant.ENDED),
    _mutant(mutants_of_lives.find_nothing_due, plain, LAST, Invariant.ENDED),
    _mutant(mutants_of_lives.derive_from_whatever_life_there_is, plain, LATE_NEWS,
        Invariant.GENERATIONS),
    _mutant(mutants_of_lives.keep_no_change_for_whoever_tells, plain, LAST, Invariant.TOLD),
    _mutant(mutants_of_lives.keep_no_end_for_whoever_tells, plain, LAST, Invariant.TOLD),
    _mutant(mutants_of_lives.take_changes_for_told_that_were_refused, refused, LAST,
        Invariant.TOLD),
    _mutant(mutants_of_lives.leave_in_the_outbox_what_was_told, plain, LAST, Invariant.AT_REST),
    _mutant(mutants_of_lives.find_no_outbox_that_the_index_lacks, struck, LAST, Invariant.TOLD,
        Invariant.AT_REST),
    _mutant(mutants_of_lives.forget_the_root_before_its_scope, plain, LAST, Invariant.IMMUTABLE),
    _mutant(mutants_of_keks.compare_no_fence, stopped, TURNED, Invariant.UNDER_ACTIVE),
    _mutant(mutants_of_keks.list_projects_without_a_look_at_the_keks, stopped, TURNED,
        Invariant.UNDER_ACTIVE),
    _mutant(mutants_of_keks.swap_a_seal_without_its_dek, plain, TURNED, Invariant.STORED_FIRST),
    _mutant(mutants_of_keks.count_before_the_fence, stopped, TURNED, Invariant.UNDER_ACTIVE),
    _mutant(mutants_of_keks.leave_what_waits_under_the_old_kek, plain, TURNED,
        Invariant.ACCOUNTED),
    _mutant(mutants_of_keks.write_over_what_has_changed_meanwhile, stopped,
        "a KEK is turned over as items go", Invariant.IMMUTABLE),
    _mutant(mutants_of_keks.scan_no_last_page, plain, TURNED, Invariant.UNDER_ACTIVE),
    _mutant(mutants_of_lives.mark_only_the_scope_as_compromised, plain,
        "a key that is compromised as it is copied", Invariant.SCOPES),
    _mutant(mutants_of_grants.answer_before_the_record_is_confirmed, plain, ASKED,
        Invariant.RECORDED),
    _mutant(mutants_of_grants.record_deliveries_alone, plain, ASKED, Invariant.RECORDED),
    _mutant(mutants_of_grants.take_a_refused_record_for_a_record, plain,
        "no room in the audit trail", Invariant.RECORDED),
    _mutant(mutants_of_grants.record_what_is_asked_again_no_more, plain,
        "asked before its grant, and again", Invariant.RECORDED),
    _mutant(mutants_of_grants.look_once, stopped, DETACHED, Invariant.GRANTED),
    _mutant(mutants_of_grants.look_again_before_it_is_recorded, plain, ASKED, Invariant.GRANTED),
    _mutant(mutants_of_grants.ask_once_who_is_a_client, plain, REVOKED, Invariant.GRANTED),
    _mutant(mutants_of_grants.let_any_node_have_it, plain, "an attachment of two minds",
        Invariant.GRANTED, Invariant.EXPECTED),
    _mutant(mutants_of_grants.let_a_grant_last, plain, "a grant that has its time",
        Invariant.GRANTED, Invariant.EXPECTED),
    _mutant(mutants_of_grants.take_a_grant_for_any_life, plain,
        "attached, released, and alive again", Invariant.GRANTED, Invariant.EXPECTED),
    _mutant(mutants_of_grants.deliver_whatever_state_it_is_in, plain,
        "asked for as its key is suspended", Invariant.GRANTED, Invariant.EXPECTED),
    _mutant(mutants_of_grants.leave_no_tombstone_of_an_early_end, plain,
        "detached before it is attached", Invariant.ACKNOWLEDGED_LAST, Invariant.EXPECTED),
    _mutant(mutants_of_grants.revive_what_is_over, plain, TWICE, Invariant.IMMUTABLE),
    _mutant(mutants_of_grants.end_all_attachments_with_one, plain, TWICE, Invariant.EXPECTED),
    _mutant(mutants_of_grants.settle_what_comes_as_it_comes, struck_beside, ASKED,
        Invariant.ACKNOWLEDGED_LAST, Invariant.AT_REST),
    _mutant(mutants_of_grants.keep_what_was_taken_when_answers_cannot_leave, struck_beside,
        DETACHED,
        Invariant.AT_REST),
    _mutant(mutants_of_grants.look_no_more_at_what_waits, plain, ASKED, Invariant.AT_REST),
    _mutant(mutants_of_grants.refuse_for_ever_whose_attachment_was_over_once, plain, TWICE,
        Invariant.JUSTIFIED, Invariant.SERVED),
    _mutant(mutants_of_grants.seal_the_first_key_for_all, plain, "two key servers",
        Invariant.OPENS),
)  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda it: it.plant.__name__.replace("_", " "))
def test_a_planted_fault_breaks_the_promises_that_it_should(
    mutant: Mutant, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = _cases(mutant.runs, mutant.history)
    mutant.plant(monkeypatch)
    found: set[Invariant] = set()
    with quietly(), unmeasured():
        for case in cases:
            found |= _broken(case)
            if mutant.caught_by <= found:
                break
    assert mutant.caught_by <= found


def test_every_promise_is_broken_by_a_planted_fault() -> None:
    assert {promise for mutant in MUTANTS for promise in mutant.caught_by} == set(Invariant)


@cache
def _cases(runs: Runs, history: str) -> list[Case]:
    """Return the runs; which there are is found out before anything is planted."""
    with quietly(), unmeasured():
        return list(runs(history))


def _broken(case: Case) -> frozenset[Invariant]:
    try:
        case.run()
    except Violation as violation:
        return violation.invariants
    except Exception:  # noqa: BLE001  # a worker may also fall over its fault: that is no promise
        return frozenset()
    return frozenset()
