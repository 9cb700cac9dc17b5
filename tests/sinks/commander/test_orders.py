"""What is still to be sent follows from the newest record of each GPU alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sinks.commander.orders import Orders
from tests.sinks.commander.cases import LIFE_MS, NOW, eviction, order


def drained(orders, now_ms=NOW):
    """The ids that are sent, in order, until there is nothing to send."""
    found = []
    while (command := orders.next(now_ms)) is not None:
        orders.settle(command)
        found.append(command.id)
    return found


def taken(*evictions, news=True):
    orders = Orders()
    for each in evictions:
        orders.take(each.uuid, each, news=news)
    return orders


def test_an_order_is_sent_once_however_often_its_record_is_written_anew():
    orders = taken(eviction(order=order()))
    assert drained(orders) == ["o1"]
    orders.take("GPU-1", eviction(ts=NOW + 5, order=order(), waits="the reset"), news=True)
    assert drained(orders) == []
    assert orders.waiting() == 0


def test_an_order_that_a_newer_record_has_replaced_is_never_sent_and_counted():
    orders = taken(eviction(order=order("o1")), eviction(ts=NOW + 1, order=order("o2", at=NOW + 1)))
    assert drained(orders) == ["o2"]
    assert orders.skipped == {"replaced": 1}


def test_of_what_was_there_before_we_began_nothing_is_counted_as_replaced():
    assert not taken(eviction(order=order("o1")), eviction(ts=NOW + 1), news=False).skipped["replaced"]


def test_a_gpu_that_is_gone_is_not_reset():
    orders = taken(eviction(order=order()))
    orders.take("GPU-1", None, news=True)
    assert drained(orders) == []


def test_what_has_expired_is_skipped_and_counted_once():
    orders = taken(eviction(order=order()))
    assert drained(orders, NOW + LIFE_MS) == []
    assert drained(orders, NOW + LIFE_MS) == []
    assert orders.skipped["expired"] == 1


def test_a_node_hears_its_commands_in_the_order_of_their_numbers():
    later, earlier = order("later", at=NOW + 2), order("earlier", at=NOW + 1)
    orders = taken(eviction(1, order=later), eviction(2, order=earlier), eviction(3, cancel="o0"))
    assert drained(orders) == ["earlier", "o0.cancel", "later"]


def test_of_several_nodes_one_that_takes_back_goes_first():
    orders = taken(
        eviction(1, order=order("o1")),
        eviction(2, ts=NOW + 50, node="n2", cancel="o2"),
        eviction(3, node="n3", order=order("o3")),
    )
    assert drained(orders) == ["o2.cancel", "o1", "o3"]


def test_what_takes_back_an_order_comes_after_it_also_where_both_are_of_the_same_moment():
    orders = taken(eviction(order=order(at=NOW + 9)))
    sent = orders.next(NOW)
    orders.settle(sent)
    for _ in range(2):  # the record is written anew
        orders.take("GPU-1", eviction(ts=NOW + 1, cancel="o1"), news=True)
        assert orders.next(NOW).sequence == sent.sequence + 1


_records = st.lists(
    st.tuples(st.integers(1, 3), st.sampled_from(["", "a", "b"]), st.sampled_from(["", "a", "b"]), st.booleans()),
    max_size=12,
)


@given(_records)
def test_only_what_the_newest_record_asks_for_is_sent_and_all_of_it(story):
    """Each step: a record of a GPU with an order and a cancellation, and whether all is sent then."""
    orders, newest, sent = Orders(), {}, []
    for at, (gpu, ordered, cancelled, send) in enumerate(story):
        made = eviction(gpu, ts=NOW + at, order=order(f"{gpu}{ordered}", at=NOW + at) if ordered else None)
        made.cancel = f"{gpu}{cancelled}" if cancelled else ""
        orders.take(made.uuid, made, news=True)
        newest[made.uuid] = {each.id for each in (made.order,) if each} | ({f"{made.cancel}.cancel"} - {".cancel"})
        if send:
            now = drained(orders, NOW + 100)
            assert set(now) <= set().union(*newest.values())
            sent += now
    last = drained(orders, NOW + 100)
    asked = set().union(*newest.values())
    assert set(last) <= asked <= {*last, *sent}
