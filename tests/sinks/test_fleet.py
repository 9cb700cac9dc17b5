from __future__ import annotations

import json
import threading

from pipeline.kafka.testing import decision, tombstone
from schemas.log import Origin, Record
from sinks.fleet import Fleet


def records(*outputs, first=0):
    """As a log hands them on, at offsets from `first`."""
    return [
        Record(first + at, out.ts, out.key, out.kind, out.value, Origin("cluster", 0, out.offset, out.ordinal))
        for at, out in enumerate(outputs)
    ]


def live(*outputs, **options):
    fleet = Fleet(**options)
    fleet.take(records(*outputs))
    fleet.go_live()
    return fleet


def weights(fleet):
    return {gpu.key: gpu.weight for gpu in fleet.gpus()[1]}


def test_the_newest_decision_stands():
    fleet = live(decision(1), decision(2), decision(1, 0.3, cause=5))
    assert weights(fleet) == {"GPU-00000001": 0.3, "GPU-00000002": 1.0}
    as_of, _ = fleet.gpus()
    assert (as_of.id, as_of.offset, as_of.origin) == ("0/2", 2, "0/cluster/0/5/0")


def test_what_is_delivered_again_or_late_changes_nothing():
    fleet = live(decision(1, 1.0, cause=1), decision(1, 0.0, cause=7))
    fleet.take(records(decision(1, 1.0, cause=1), first=2))
    fleet.take(records(decision(1, 0.0, cause=7), first=3))
    assert weights(fleet) == {"GPU-00000001": 0.0}
    assert fleet.stale == 2
    assert fleet.gpus()[0].offset == 1


def test_a_gpu_that_is_gone_does_not_come_back_with_an_old_decision():
    fleet = live(decision(1, cause=1), tombstone(1, cause=2))
    fleet.take(records(decision(1, cause=1), first=2))
    assert weights(fleet) == {}
    fleet.take(records(decision(1, 0.5, cause=3), first=3))
    assert weights(fleet) == {"GPU-00000001": 0.5}


def test_the_order_is_that_of_places_however_they_came():
    fleet = live(*(decision(gpu) for gpu in (9, 3, 8, 0)))
    assert list(weights(fleet)) == ["GPU-00000000", "GPU-00000003", "GPU-00000008", "GPU-00000009"]


def test_a_gpu_is_found_by_uuid_and_by_place():
    fleet = live(decision(1), decision(2, uuid=""))
    assert fleet.gpu("GPU-00000001")[1].bdf == "0000:02:00"
    assert fleet.gpu("node-0000/0000:02:00")[1].key == "GPU-00000001"
    assert fleet.gpu("node-0000/0000:03:00")[1].uuid == ""
    assert fleet.gpu("node-0000/0000:09:00")[1] is None


def test_what_cannot_be_read_is_counted_and_passed_over():
    fleet = Fleet()
    bad, good = records(decision(1), decision(2))
    fleet.take([bad._replace(value=b"{"), good])
    assert (weights(fleet), fleet.unreadable) == ({"GPU-00000002": 1.0}, 1)


def test_events_are_what_came_since_it_went_live():
    fleet = live(decision(1), decision(2))
    fleet.take(records(decision(1, 0.0, cause=5), tombstone(2, cause=6), first=2))
    events, after = fleet.events(1, 100, 0.0)
    assert [(event.as_of.id, event.gone) for event in events] == [("0/2", False), ("0/3", True)]
    assert json.loads(events[0].data)["weight"] == 0.0
    assert json.loads(events[1].data) == {
        "offset": 3,
        "origin": "0/cluster/0/6/0",
        "ts": tombstone(2, 6).ts,
        "key": "GPU-00000002",
        "gone": True,
    }
    assert after == 3


def test_events_come_in_portions_each_once():
    fleet = live()
    fleet.take(records(*(decision(1, cause=cause) for cause in range(7))))
    after, seen = -1, []
    while portion := fleet.events(after, 3, 0.0)[0]:
        after = portion[-1].as_of.offset
        seen += [event.as_of.offset for event in portion]
    assert seen == list(range(7))


def test_one_resumes_where_all_that_follows_is_kept_and_only_there():
    fleet = live(decision(1), decision(2), events_kept=3)
    fleet.take(records(*(decision(1, cause=cause) for cause in range(1, 6)), first=2))
    assert fleet.resumed("0/3") == 3  # 4, 5 and 6 are kept
    assert fleet.resumed("0/6") == 6
    for id in ("0/2", "0/7", "1/5", "5", "", "0/-1", "0/x", "nonsense"):
        assert fleet.resumed(id) is None, id
    assert fleet.events(2, 10, 0.0) is None


def test_before_it_was_live_nothing_is_known_of_what_a_reader_lacks():
    assert live(decision(1), decision(2)).resumed("0/0") is None


def test_one_who_waits_is_woken_by_news_and_by_the_end():
    fleet = live()
    woken = []
    threads = [threading.Thread(target=lambda: woken.append(fleet.events(-1, 10, 3600.0))) for _ in range(2)]
    for thread in threads:
        thread.start()
    fleet.take(records(decision(1)))
    for thread in threads:
        thread.join(60)
    assert [len(events) for events, _ in woken] == [1, 1]
    waiting = threading.Thread(target=fleet.events, args=(0, 10, 3600.0))
    waiting.start()
    fleet.close()
    waiting.join(60)
    assert not waiting.is_alive()
