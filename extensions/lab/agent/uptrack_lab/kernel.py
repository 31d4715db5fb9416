# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""The kernel's side: what one attempt to apply or undo an update does to sysfs."""

import os
import time

from . import world as w

KRFCOMMD = "krfcommd"
LONG_ATTEMPT = 5.0
BUSY_RETRIES = 2


def attempt(world, layout, update_id, verb, problem, seconds):
    """Try once.  `problem` is the failure that hits this attempt, or None; returns whether the
    kernel took it.
    """
    place = w.update_dir(update_id, layout) if verb == "install" else find_update(world, update_id)
    if verb == "install":
        world.write(place + "/stage", "preparing\n", 0o600)
    time.sleep(seconds if problem is None else problem["seconds"])
    if problem is None:
        if verb == "install":
            world.write(place + "/stage", "applied\n", 0o600)
        else:
            world.write(place + "/stage", "reversed\n", 0o600)
            forget_update(world, place)
        return True
    if verb == "install":
        forget_update(world, place)
    else:
        # An update that will not come out stays applied, and says why.
        world.write(place + "/abort_cause", problem["abort"] + "\n", 0o400)
        world.write(
            place + "/conflicts",
            "".join(f"{name} {pid}\n" for name, pid in problem["processes"]),
            0o400,
        )
    return False


def find_update(world, update_id):
    """The sysfs directory of an applied update, in whichever layout it was applied."""
    for layout in ("kernel", "module"):
        place = w.update_dir(update_id, layout)
        if world.exists(place):
            return place
    return w.update_dir(update_id, "kernel")


def remove_tree(path):
    import shutil

    shutil.rmtree(path, ignore_errors=True)


def forget_update(world, place):
    remove_tree(world.path(place))
    if place.startswith(w.SYS_MODULE):
        os.rmdir(world.path(os.path.dirname(place)))


def clear(world):
    """A boot: the new kernel holds no update."""
    for update_id in w.applied_updates(world):
        forget_update(world, find_update(world, update_id))
    remove_tree(world.path(w.SYS_KSPLICE))


def next_move(problem, no_rmmod, busy_left, rfcomm_tried, match_tried, took):
    """What the client does about a failed attempt: 'rmmod rfcomm', 'again', 'rmmod' or 'give up'.

    no_rmmod in the configuration does not cover rfcomm (reference, section 1.13)."""
    if problem["abort"] == "code_busy":
        if not rfcomm_tried and any(name == KRFCOMMD for name, dummy in problem["processes"]):
            return "rmmod rfcomm"
        return "again" if busy_left and took <= LONG_ATTEMPT else "give up"
    if problem["abort"] in ("no_match", "failed_to_find"):
        return "rmmod" if problem["removable"] and not match_tried and not no_rmmod else "give up"
    return "give up"


def settle(world, layout, update_id, verb, failure, seconds, no_rmmod, retry_wait, say):
    """Apply or undo one update, with the client's own retries.  Returns the failure left in the
    end, or None.
    """
    problem = dict(failure) if failure else None
    busy_left, rfcomm_tried, match_tried, tries = BUSY_RETRIES, False, False, 0
    while True:
        if problem and problem["attempts"] is not None and tries >= problem["attempts"]:
            problem = None
        tries += 1
        begun = time.time()
        if attempt(world, layout, update_id, verb, problem, seconds):
            return None
        move = next_move(
            problem, no_rmmod, busy_left, rfcomm_tried, match_tried, time.time() - begun
        )
        if move == "give up":
            return problem
        say("{} of {} failed with {}, next: {}".format(verb, update_id, problem["abort"], move))
        if move == "rmmod rfcomm":
            rfcomm_tried = True
            problem = _without_rfcomm(world, problem, say)
        elif move == "rmmod":
            match_tried = True
            problem = _without_modules(world, problem, say)
        else:
            busy_left -= 1
            time.sleep(retry_wait)


def _without_rfcomm(world, problem, say):
    if not _rmmod(world, "rfcomm", problem, say):
        return problem
    others = [one for one in problem["processes"] if one[0] != KRFCOMMD]
    return dict(problem, processes=others) if others else None


def _without_modules(world, problem, say):
    gone = [_rmmod(world, name, problem, say) for name in problem["removable"]]
    return None if all(gone) else problem


def _rmmod(world, name, problem, say):
    worked = problem["rmmod"] == "works"
    if worked:
        remove_tree(world.path(w.SYS_MODULE + "/" + name))
    say("rmmod {}: {}".format(name, "done" if worked else "failed"))
    return worked
