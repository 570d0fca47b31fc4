"""An ability is one entry of one table: what has to name abilities beside it agrees with that."""

from typing import Any, get_args, get_overloads, get_type_hints

import pytest
from modelhost import testing
from modelhost.cli.trials import TRIALS
from modelhost.contract import hookspecs
from modelhost.contract.context import Host
from modelhost.contract.event_stream import EventStream
from modelhost.contract.hookspecs import Events
from modelhost.contract.types.abilities import ABILITIES, EVENTS, REQUESTS, Ability
from modelhost.testing.duties import DUTIES


def test_what_type_checkers_know_are_the_abilities_of_the_table() -> None:
    assert get_args(Ability) == ABILITIES


def test_there_is_a_hook_for_every_ability_and_no_other() -> None:
    hooks = {name for name, found in vars(hookspecs).items() if hasattr(found, "modelhost_spec")}
    assert hooks == {*ABILITIES}


@pytest.mark.parametrize("ability", ABILITIES)
def test_a_hook_takes_the_request_and_yields_the_events_of_its_ability(ability: Ability) -> None:
    hints = get_type_hints(getattr(hookspecs, ability))
    assert (hints["request"], hints["return"]) == (REQUESTS[ability], Events[EVENTS[ability]])


def test_a_backend_can_ask_other_models_for_every_ability() -> None:
    asked: dict[str, Any] = {}
    for one in get_overloads(Host.call):
        hints = get_type_hints(one)
        (ability,) = get_args(hints["ability"])
        asked[ability] = (hints["request"], hints["return"])
    assert asked == {ability: (REQUESTS[ability], EventStream[EVENTS[ability]]) for ability in ABILITIES}


def test_what_a_backend_has_to_see_to_is_said_for_every_ability() -> None:
    assert DUTIES.keys() == {*ABILITIES}


def test_the_kit_has_a_class_for_every_ability() -> None:
    assert {kind.ability for kind in vars(testing).values() if hasattr(kind, "ability")} == {*ABILITIES}


def test_doctor_tries_every_ability_but_the_list_of_voices() -> None:
    assert TRIALS.keys() == {*ABILITIES} - {"voices"}
