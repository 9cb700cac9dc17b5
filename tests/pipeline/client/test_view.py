"""Decisions become weights of workers, and none ever travels back in time."""

from __future__ import annotations

import itertools
import random
import sys
from threading import Event, Thread

import pytest

from pipeline.client.errors import NoHealthyGpus
from pipeline.client.said import Said
from pipeline.client.view import Change, View
from sinks.fleet import AsOf

A, B, C = "GPU-a", "GPU-b", "GPU-c"


def said(key, weight, cause, offset=None, node="n1", bdf=None, condition=None, **changes):
    condition = condition or ("healthy" if weight else "failed")
    bdf = key[-1] if bdf is None else bdf
    offset = cause if offset is None else offset
    return Said(key, offset, f"0/cluster/0/{cause}/0", 1, node, bdf, weight, condition, **changes)


def gone(key, cause):
    return Said(key, cause, f"0/cluster/0/{cause}/0", 1, gone=True)


def as_of(cause, generation=0):
    return AsOf(generation, cause, f"{generation}/cluster/0/{cause}/0", 1)


def whole(view, *told, upto, generation=0):
    """As a source hands over a snapshot."""
    if view.knows_more_than(as_of(upto, generation)):
        return
    view.take(told, generation)
    view.complete({one.key for one in told}, as_of(upto, generation), 50.0)


def live(*told, **options):
    view = View(**options)
    whole(view, *told, upto=max((one.offset for one in told), default=0))
    return view


def why(view):
    with pytest.raises(NoHealthyGpus) as raised:
        view.draw(random.Random(1))
    return str(raised.value)


# --- time --------------------------------------------------------------------------------------------------------


def test_in_every_order_of_delivery_the_newest_weight_stays():
    told = [said(A, 1.0, 1), said(A, 0.0, 2), said(A, 0.5, 3), said(A, 0.4, 4)]
    for order in itertools.permutations(told):
        view = live()
        for one in order:
            view.take([one])
        assert view.weights() == {A: 0.4}


def test_an_older_decision_said_again_later_in_the_log_changes_nothing():
    view = live(said(A, 0.0, 5))
    view.take([said(A, 1.0, 3, offset=6)])
    assert view.weights() == {A: 0.0}


def test_a_snapshot_forgets_what_is_not_in_it():
    view = live(said(A, 1.0, 1), said(B, 1.0, 2))
    whole(view, said(B, 1.0, 2), upto=3)
    assert view.weights() == {B: 1.0}


def test_a_snapshot_that_is_older_than_what_is_known_changes_nothing():
    view = live(said(A, 1.0, 1), said(B, 1.0, 2))
    view.take([said(A, 0.0, 5), gone(B, 6)])
    whole(view, said(A, 1.0, 1), said(B, 1.0, 2), said(C, 1.0, 3), upto=4)
    assert view.weights() == {A: 0.0}
    view.take([said(B, 1.0, 4)])  # an event of that server
    assert view.weights() == {A: 0.0}


def test_a_gpu_that_a_snapshot_did_not_hold_does_not_come_back_by_older_news():
    view = live(said(A, 1.0, 1), said(B, 1.0, 2))
    whole(view, said(A, 1.0, 1), upto=9)
    view.take([said(B, 1.0, 5), said(C, 1.0, 6)])
    assert view.weights() == {A: 1.0}
    view.take([said(B, 0.5, 10)])
    assert view.weights() == {A: 1.0, B: 0.5}


def test_a_log_that_was_made_anew_counts_as_newer():
    view = live(said(A, 1.0, 50))
    new = Said(A, 0, "1/cluster/0/3/0", 1, "n1", "a", 0.0, "failed")
    whole(view, new, upto=0, generation=1)
    assert (view.weights(), view.as_of.id) == ({A: 0.0}, "1/0")


def test_only_who_knows_as_much_can_say_that_the_view_is_current():
    view = live(said(A, 1.0, 7))
    view.confirm(0, 6, 100.0)
    assert view.current_s == 50.0
    view.confirm(0, 7, 90.0)
    view.confirm(0, 8, 80.0)  # slower words do not make it older
    assert view.current_s == 90.0


@pytest.mark.parametrize("weight", [None, -0.5, 1.5])
def test_a_weight_that_is_none_leaves_the_last_one_in_force(weight, caplog):
    view = live(said(A, 0.0, 1))
    view.take([said(A, weight, 2), said(B, 1.0, 3)])
    assert (view.weights(), view.unreadable) == ({A: 0.0, B: 1.0}, 1)
    assert A in caplog.text


def test_whoever_is_told_that_all_has_been_read_finds_it_current():
    found = []
    view = View(changed=lambda changes: found.append((view.wait_live(0), view.current_s)))
    assert view.current_s == float("-inf")
    whole(view, said(A, 1.0, 1), upto=1)
    assert found == [(True, 50.0)]


# --- workers -----------------------------------------------------------------------------------------------------


def test_a_worker_weighs_as_much_as_its_worst_gpu():
    view = live(said(A, 1.0, 1), said(B, 0.5, 2), workers={"w": [A, B], "v": [A], "x": [B, B]})
    assert view.weights() == {"w": 0.5, "v": 1.0, "x": 0.5}
    view.take([said(A, 0.0, 3)])
    assert view.weights() == {"w": 0.0, "v": 0.0, "x": 0.5}
    view.take([said(A, 0.8, 4), said(B, 1.0, 5)])
    assert view.weights() == {"w": 0.8, "v": 0.8, "x": 1.0}


def test_gpus_of_nobody_are_not_chosen():
    view = live(said(A, 1.0, 1), said(B, 1.0, 2), workers={"w": [A]})
    assert {view.draw(random.Random(seed)) for seed in range(20)} == {"w"}


@pytest.mark.parametrize(("unheard", "weight"), [(0.0, 0.0), (0.4, 0.4)])
def test_a_gpu_that_nobody_has_heard_of_weighs_what_it_is_told_to(unheard, weight):
    view = live(said(A, 1.0, 1), workers={"w": [A, "GPU-new"]}, unheard_weight=unheard)
    assert view.weights() == {"w": weight}


def test_a_gpu_that_has_gone_does_not_gain_by_it():
    view = live(said(A, 0.0, 1), workers={"w": [A]}, unheard_weight=1.0)
    view.take([gone(A, 2)])
    assert view.weights() == {"w": 0.0}
    assert why(view).endswith("1 worker, each with a GPU of weight 0: 1 gone")


def test_a_gpu_named_by_its_place_is_found_by_whatever_key_it_has():
    view = live(said("n1/b", 0.6, 1), workers={"w": ["n1/b"]})
    assert view.weights() == {"w": 0.6}
    view.take([said(B, 0.5, 2), gone("n1/b", 3)])
    assert view.weights() == {"w": 0.5}
    view.take([said(C, 1.0, 4, bdf="b"), gone(B, 5)])  # another one in the slot
    assert view.weights() == {"w": 1.0}


def test_workers_can_be_others_from_now_on():
    view = live(said(A, 1.0, 1), said(B, 0.5, 2), workers={"w": [A]})
    view.set_workers({"v": [A, B]})
    assert view.weights() == {"v": 0.5}
    view.set_workers(None)
    assert view.weights() == {A: 1.0, B: 0.5}


@pytest.mark.parametrize("gpus", [[], "GPU-a"])
def test_a_worker_needs_a_list_of_gpus(gpus):
    with pytest.raises(ValueError, match="worker 'w': needs a list of its GPUs"):
        View({"w": gpus})


def test_who_chooses_while_weights_change_never_gets_what_weighs_nothing():
    """One of two has all the weight, in turn; the sums that lead to them are torn for whoever reads without a lock."""
    view = live(said(A, 1.0, 1), *(said(f"GPU-{number}", 0.0, number) for number in range(2, 200)), said(B, 0.1, 200))
    stop, drawn = Event(), []

    def choose():
        rng = random.Random(1)
        while not stop.is_set():
            try:
                drawn.append(view.draw(rng))
            except IndexError as torn:
                drawn.append(repr(torn))

    chooser, interval = Thread(target=choose), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        chooser.start()
        for cause in range(1000, 9000, 2):
            view.take([said(A, cause // 2 % 2 / 2 + 0.1, cause), said(B, (cause // 2 + 1) % 2 / 2 + 0.1, cause + 1)])
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        chooser.join()
    assert set(drawn) == {A, B}


# --- nothing to choose -------------------------------------------------------------------------------------------


def test_before_all_has_been_read_nothing_is_chosen():
    view = View()
    view.take([said(A, 1.0, 1)])
    assert why(view) == "no healthy GPUs available: the decisions have not been read to their end yet"


def test_why_nothing_can_be_chosen():
    assert why(live()) == "no healthy GPUs available: no GPU is known"
    assert why(live(workers={})) == "no healthy GPUs available: there are no workers"
    view = live(said(A, 0.0, 1), said(B, 0.0, 2, condition="unknown"), said(C, 0.0, 3))
    assert why(view) == "no healthy GPUs available: 3 GPUs, each of weight 0: 2 failed, 1 unknown"
    view.set_workers({"w": [A, "GPU-new"]})
    assert why(view).endswith("1 worker, each with a GPU of weight 0: 1 failed, 1 never heard of")
    view.take([said("GPU-d", 0.0, 4, condition="healthy", state="draining"), said(B, 0.5, 5)])
    view.set_workers({"w": [A, "GPU-new"], "v": ["GPU-d", B], "u": [C, B]})
    assert why(view).endswith("each with a GPU of weight 0: 1 draining, 2 failed, 1 never heard of")
    view.set_workers({"w": [A, "GPU-new"]})
    assert view.nothing().counts == {"failed": 1, "never heard of": 1}


# --- changes -----------------------------------------------------------------------------------------------------


def test_changes_are_told_once_and_only_where_a_weight_has_changed():
    told = []
    view = View(changed=told.append)
    whole(view, said(A, 1.0, 1), said(B, 0.5, 2), upto=2)
    assert told.pop() == [Change(A, None, 1.0), Change(B, None, 0.5)]
    view.take([said(A, 1.0, 3)])
    view.take([said(A, 0.2, 4), said(A, 1.0, 5)])
    assert told == []
    view.take([said(A, 0.2, 6), said(A, 0.0, 7), gone(B, 8), said(C, 1.0, 9)])
    assert told.pop() == [Change(A, 1.0, 0.0), Change(B, 0.5, None), Change(C, None, 1.0)]
