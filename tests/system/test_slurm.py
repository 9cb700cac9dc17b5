"""Nodes of a real Slurm: drained, emptied, returned, by whatever way the installed release allows."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.schedulers.slurm import SlurmSettings, build
from sinks.schedulers.adapter import Away, Gpu, Refused, Standing
from sinks.schedulers.slurm.hostlist import expand
from sinks.schedulers.slurm.node import PREFIX
from tests.system.slurm_box import eventually, slurm_box

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
SLEEP = "exec sleep 600"
NOTE = 'Xid 48: "double-bit" ECC error, GPU-1 = bad'


@pytest.fixture(scope="module")
def started():
    with slurm_box() as box:
        yield box


@pytest.fixture
def box(started):
    started.settle()
    return started


@pytest.fixture(scope="module")
def rest_url(started):
    return started.start_rest()


def adapter(box, **settings):
    return build(SlurmSettings(conf=str(box.conf), **settings))


def by_rest(url, **settings):
    return build(SlurmSettings(access="rest", rest_url=url, **settings))


def call(answer):
    return asyncio.run(answer)


async def all_of(*calls):
    return await asyncio.gather(*calls, return_exceptions=True)


def look(to, node="n0"):
    return call(to.look([node]))[node]


def drained_by_admin(box, reason, node="n0"):
    box.scontrol("update", f"nodename={node}", "state=drain", f"reason={reason}")


def life_of_a_drain(box, to):
    """A job that runs may finish, none begins, the node is empty, returned, and used again."""
    done = box.at / "done"
    done.unlink(missing_ok=True)
    go = box.at / "go"
    go.unlink(missing_ok=True)
    first = box.submit(f"while ! [ -e {go} ]; do sleep 0.1; done; touch {done}", "-w", "n0", "--gres=gpu:1")
    box.running(first)
    assert look(to)[:3] == ("serving", 1, False)

    call(to.drain("n0", NOTE))
    call(to.drain("n0", "another note"))
    second = box.submit(SLEEP, "-w", "n0")
    elsewhere = box.submit(SLEEP, "-w", "n1")
    box.running(elsewhere)
    standing = look(to)
    assert standing[:3] == ("drained", 1, True)
    assert standing.detail.endswith(f"DRAIN: {PREFIX}{NOTE}")
    assert box.jobs() == {first: "RUNNING", second: "PENDING", elsewhere: "RUNNING"}

    go.touch()
    eventually(lambda: look(to)[:3] == ("removed", 0, True))
    assert done.exists()
    call(to.remove("n0", NOTE))
    assert look(to)[:3] == ("removed", 0, True)
    assert box.jobs()[second] == "PENDING"

    call(to.add("n0"))
    call(to.add("n0"))
    box.running(second)
    eventually(lambda: look(to)[:3] == ("serving", 1, False))


def test_what_runs_finishes_and_nothing_begins_until_the_node_is_returned(box):
    life_of_a_drain(box, adapter(box))


def test_who_was_drained_by_others_stays_drained(box):
    to = adapter(box)
    drained_by_admin(box, "broken fan")
    call(to.drain("n0", NOTE))
    call(to.remove("n0", NOTE))
    call(to.add("n0"))
    assert look(to) == Standing("removed", 0, False, "IDLE+DRAIN: broken fan")


def test_a_drain_of_ours_that_an_administrator_takes_over_is_no_longer_ours(box):
    to = adapter(box)
    call(to.drain("n0", NOTE))
    assert look(to).ours
    drained_by_admin(box, "mine now")
    box.scontrol("update", "nodename=n0", f"comment=c State=IDLE Reason={PREFIX}x [a@b]")
    call(to.add("n0"))
    assert look(to) == Standing("removed", 0, False, "IDLE+DRAIN: mine now")


def test_what_an_administrator_returned_is_drained_again_while_it_is_wanted_out(box):
    to = adapter(box)
    call(to.drain("n0", NOTE))
    box.scontrol("update", "nodename=n0", "state=resume")
    assert look(to).state == "serving"
    call(to.drain("n0", NOTE))
    eventually(lambda: look(to)[:3] == ("removed", 0, True))


def test_a_drain_by_slurm_after_our_return_is_not_taken_for_ours(box):
    """Newer releases keep the reason of a drain that is over."""
    to = adapter(box)
    call(to.drain("n0", NOTE))
    call(to.add("n0"))
    assert PREFIX not in box.run("sinfo", "-h", "-n", "n0", "-o", "%E")


def test_who_is_down_for_reasons_of_its_own_stays_down(box):
    to = adapter(box)
    box.scontrol("update", "nodename=n0", "state=down", "reason=no power")
    call(to.drain("n0", NOTE))
    call(to.add("n0"))
    assert look(to)[2:] == (False, "DOWN: no power")


def test_who_goes_down_while_we_have_it_out_does_not_return_with_us(box):
    to = adapter(box)
    box.scontrol("update", "nodename=n0", "state=down", "reason=no power")
    drained_by_admin(box, PREFIX + NOTE)
    call(to.add("n0"))
    assert look(to).state != "serving"
    assert not look(to).ours


def test_jobs_are_requeued_by_force_but_those_that_cannot_are_only_ended_if_that_is_allowed(box):
    may, must_not = box.submit(SLEEP, "-w", "n0"), box.submit(SLEEP, "-w", "n0", "--no-requeue")
    hidden = box.submit(SLEEP, "-w", "n0", "-p", "hidden")
    beside = box.submit(SLEEP, "-w", "n1")
    box.running(may, must_not, hidden, beside)
    to = adapter(box)
    for _ in range(2):
        with pytest.raises(Refused, match=rf"^n0: not requeued: {must_not} \(.*disabled.*cancel = true$"):
            call(to.force("n0", NOTE))
        eventually(lambda: look(to)[:3] == ("drained", 1, True))
    assert box.jobs() == {may: "PENDING", hidden: "PENDING", must_not: "RUNNING", beside: "RUNNING"}

    call(adapter(box, cancel=True).force("n0", NOTE))
    eventually(lambda: look(to)[:3] == ("removed", 0, True))
    assert box.jobs() == {may: "PENDING", hidden: "PENDING", beside: "RUNNING"}
    call(to.force("n0", NOTE))


def test_of_an_array_only_the_task_on_the_node_is_requeued(box):
    array = box.submit('[ "$SLURM_ARRAY_TASK_ID" ] && exec sleep 600', "--array=1-2", "--exclusive", "-w", "n0")
    box.running(f"{array}_1")
    box.scontrol("update", f"jobid={array}_2", "nodelist=n1")
    box.running(f"{array}_1", f"{array}_2")
    for node, task, other in (("n0", "1", "2"), ("n1", "2", "1")):
        before = box.jobs()[f"{array}_{other}"]
        call(adapter(box).force(node, NOTE))
        eventually(lambda task=task: box.jobs().get(f"{array}_{task}") == "PENDING")
        assert box.jobs()[f"{array}_{other}"] == before


def test_a_heterogeneous_job_is_requeued_as_a_whole(box):
    script = ["sbatch", "--parsable", "--output=/dev/null", "-wn0", "-n1", ":", "-wn1", "-n1"]
    ran = subprocess.run(
        script, input=f"#!/bin/sh\n{SLEEP}\n", env=box.env, capture_output=True, text=True, check=True, cwd=box.at
    )
    job = ran.stdout.strip()
    box.running(f"{job}+0", f"{job}+1")
    to = adapter(box)
    assert [each.in_flight for each in call(to.look(["n0", "n1"])).values()] == [1, 1]
    call(to.force("n1", NOTE))
    eventually(lambda: set(box.jobs().values()) == {"PENDING"})
    eventually(lambda: look(to, "n1")[:3] == ("removed", 0, True))


def test_a_suspended_job_still_holds_its_node(box):
    job = box.submit(SLEEP, "-w", "n0")
    box.running(job)
    to = adapter(box)
    call(to.drain("n0", NOTE))
    box.scontrol("suspend", job)
    eventually(lambda: box.jobs()[job] == "SUSPENDED")
    assert look(to)[:3] == ("drained", 1, True)


def test_slurm_may_be_away_and_comes_back_with_what_we_did(box):
    to = adapter(box)
    call(to.drain("n0", NOTE))
    box.stop_controller()
    try:
        for answer in call(all_of(to.look(["n0"]), to.drain("n1", NOTE), to.force("n0", NOTE), to.add("n0"))):
            assert isinstance(answer, Away)
            assert re.fullmatch(r"Slurm: .*Unable to contact slurm controller.*", str(answer))
    finally:
        box.start_controller()
    eventually(lambda: look(to)[:3] == ("removed", 0, True))
    call(to.add("n0"))
    eventually(lambda: look(to)[:2] == ("serving", 0))


def test_slurm_that_hangs_is_left_at_the_deadline(box):
    to = adapter(box, deadline_s=1.0)
    with box.stuck_controller(), pytest.raises(Away, match=r"^scontrol: no answer within 1 s$"):
        look(to)
    assert look(to).state == "serving"


def test_who_may_not_change_nodes_is_told_how_to_mend_it(box):
    """Commands of a user who is nobody."""
    directory = box.at / "nobody"
    directory.mkdir(exist_ok=True)
    for name in ("scontrol", "squeue", "scancel"):
        script = directory / name
        script.write_text(f'#!/bin/sh\nexec setpriv --reuid=65534 --regid=65534 --clear-groups {name} "$@"\n')
        script.chmod(0o755)
    nobody = adapter(box, commands_dir=str(directory))
    with pytest.raises(Refused, match=r"^Slurm: .*Invalid user id; run as SlurmUser or root, or .*AdminLevel"):
        call(nobody.drain("n0", NOTE))
    job = box.submit(SLEEP, "-w", "n0")
    box.running(job)
    call(adapter(box).drain("n0", NOTE))
    with pytest.raises(Refused, match=r"Access/permission denied for job .*AdminLevel"):
        call(nobody.force("n0", NOTE))
    assert box.jobs() == {job: "RUNNING"}


def test_names_that_are_no_single_node_of_slurm_reach_nothing(box):
    to = adapter(box, node_suffix=".example.com", nodes={"gpu-host-7": "n2"})
    names = ["nope", "ALL", "all", "n[0-1]", "n0,n1", "-h", "--help", "", "n0 n1", "n0.example.org"]
    assert set(call(to.look(names)).values()) == {Standing("unknown", detail="Slurm knows no such node")}
    for name in names:
        for change in (to.drain(name, NOTE), to.remove(name, NOTE), to.force(name, NOTE), to.add(name)):
            with pytest.raises(Refused, match="Slurm knows no such node"):
                call(change)
    assert {each.state for each in call(to.look(["n0", "n1", "n2"])).values()} == {"serving"}

    gpus = [Gpu(name, "GPU-1", "") for name in ("n0", "n1.example.com", "gpu-host-7", "n0.example.org", "ALL")]
    assert [tuple(each) for each in call(to.units(gpus)).values()] == [("n0",), ("n1",), ("n2",), (), ()]


@pytest.mark.parametrize("after", [False, True])
def test_killed_between_any_two_steps_of_it_the_next_one_comes_to_the_same_end(box, after):
    """drain, force, add; killed before, or after, the first, second, ... change; then all of it by another process."""
    for steps in itertools.count(1):
        jobs = [box.submit(SLEEP, "-w", "n0", "--no-requeue"), box.submit(SLEEP, "-w", "n0")]
        box.running(*jobs)
        status = run_until(box, steps, after)
        if status == 0:
            break
        assert status == -9
        to = adapter(box, cancel=True)
        if jobs[1] in box.jobs() and box.jobs()[jobs[1]] == "RUNNING":
            call(to.drain("n0", NOTE))
        call(to.force("n0", NOTE))
        eventually(lambda to=to: look(to)[:3] == ("removed", 0, True))
        assert set(box.jobs().items()) == {(jobs[1], "PENDING")}  # started anew once, and not a second time
        call(to.add("n0"))
        eventually(lambda to=to: look(to)[:3] == ("serving", 0, False))
        box.settle()
    assert steps == 5  # drain, requeue, cancel, add


def run_until(box, steps, after):
    """The exit status of a process that does it all and is killed at its change number `steps`."""
    command = [sys.executable, "-m", "tests.system.slurm_killed", str(box.conf), str(steps), str(int(after))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def test_lists_of_hosts_are_read_as_slurm_reads_them(box):
    for text in ("n0", "n[0-2]", "a,n[1-3,07-09],b", "r[1-2]n[0-1]", "a-1,b-[2-3]"):
        assert expand(text) == box.scontrol("show", "hostnames", text).split()


def test_slurmrestd_is_used_if_its_api_can_change_nodes_and_else_refused_in_words(box, rest_url):
    to = by_rest(rest_url)
    if box.version() < (23, 2):
        for ask, error in ((to.look(["n0"]), Away), (to.drain("n0", NOTE), Refused)):
            with pytest.raises(error, match=r"v0.0.39 \(Slurm 23.02\) to .* is needed, it has v0.0.38; .*commands"):
                call(ask)
        return
    life_of_a_drain(box, to)
    box.settle()
    rest_leaves_alone_and_ends(box, to, by_rest(rest_url, cancel=True))


def rest_leaves_alone_and_ends(box, to, cancelling):
    drained_by_admin(box, "broken fan")
    call(to.add("n0"))
    assert look(to) == Standing("removed", 0, False, "IDLE+DRAIN: broken fan")
    assert look(to, "nope").state == "unknown"
    with pytest.raises(Refused, match="knows no such node"):
        call(to.drain("nope", NOTE))

    array = box.submit(SLEEP, "--array=1-2", "--exclusive", "-w", "n1")
    box.running(f"{array}_1")
    box.scontrol("update", f"jobid={array}_2", "nodelist=n2")
    box.running(f"{array}_1", f"{array}_2")
    with pytest.raises(Refused, match=r"slurmrestd cannot requeue.*cancel = true"):
        call(to.force("n2", NOTE))
    call(cancelling.force("n2", NOTE))
    eventually(lambda: look(to, "n2")[:3] == ("removed", 0, True))
    assert box.jobs() == {f"{array}_1": "RUNNING"}


def test_slurmrestd_may_be_away(box):
    to = by_rest(f"unix:{box.at}/nobody.sock")
    with pytest.raises(Away, match=r"nobody.sock: no such file or directory$"):
        look(to)
