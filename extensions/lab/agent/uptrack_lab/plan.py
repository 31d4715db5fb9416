# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""What has to be done to get from one set of updates to another.  Pure functions of the catalogue.

The catalogue is a list of updates as the scenario has them.  An update that is asked to go takes
along what requires it.  Where another takes its place, the service clears the stack down to it, and
puts the rest back.
"""

INSTALL = "Install"
REMOVE = "Remove"


def stack_order(updates):
    """IDs from the bottom up: the order of the catalogue, but every update
    above those it requires.
    """
    requires = {update["id"]: update["requires"] for update in updates}
    placed = {}

    def place(update_id):
        if update_id not in placed and update_id in requires:
            for needed in requires[update_id]:
                place(needed)
            placed[update_id] = len(placed)

    for update in updates:
        place(update["id"])
    return list(placed)


def with_requirements(updates, wanted):
    """The wanted IDs and all that they need, directly or not."""
    requires = {update["id"]: update["requires"] for update in updates}
    found, todo = set(), [update_id for update_id in wanted if update_id in requires]
    while todo:
        update_id = todo.pop()
        if update_id not in found:
            found.add(update_id)
            todo.extend(needed for needed in requires[update_id] if needed in requires)
    return found


def without_superseded(updates, wanted):
    """Drop what another wanted update takes the place of."""
    replaced = set()
    for update in updates:
        if update["id"] in wanted:
            replaced.update(update["supersedes"])
    return set(wanted) - replaced


def steps_between(updates, installed, wanted):
    """[(verb, id)]: take out what has to go with all above it, newest first, then put in what is
    missing.
    """
    order = stack_order(updates)
    gone = [
        place
        for place, update_id in enumerate(order)
        if update_id in installed and update_id not in wanted
    ]
    lowest = gone[0] if gone else len(order)
    out = [update_id for update_id in order[lowest:] if update_id in installed]
    kept = set(installed) - set(out)
    steps = [(REMOVE, update_id) for update_id in reversed(out)]
    return steps + [
        (INSTALL, update_id) for update_id in order if update_id in wanted and update_id not in kept
    ]


def to_install(updates, installed, ids):
    """Steps that bring in these IDs and what they require."""
    wanted = without_superseded(updates, with_requirements(updates, set(installed) | set(ids)))
    return steps_between(updates, installed, wanted)


def to_remove(updates, installed, ids):
    """Steps that take out these IDs and what cannot stay without them, newest first."""
    gone = {update_id for update_id in ids if update_id in installed}
    order = stack_order(updates)
    requires = {update["id"]: update["requires"] for update in updates}
    for update_id in order:  # requirements come before what requires them
        if update_id in installed and gone.intersection(requires[update_id]):
            gone.add(update_id)
    return [(REMOVE, update_id) for update_id in reversed(order) if update_id in gone]


def up_to(updates, effective):
    """The part of the catalogue that leads to an effective kernel (`release/version`); None if none
    does.
    """
    last = None
    for place, update in enumerate(updates):
        if update["effective"] and effective_value(update["effective"]) == effective:
            last = place
    return None if last is None else updates[: last + 1]


def effective_value(kernel):
    """How the offline client names an effective kernel."""
    return "{}/{}".format(kernel["release"], kernel["version"])


def effective_kernel(booted, updates, installed):
    """The kernel whose fixes are running: that of the highest installed update which names one."""
    for update in reversed(updates):
        if update["id"] in installed and update["effective"]:
            kernel = dict(
                booted,
                **{key: value for key, value in update["effective"].items() if value is not None},
            )
            kernel["package_version"] = update["effective"]["package_version"] or _package_version(
                kernel
            )
            return kernel
    return dict(booted, package_version=booted.get("package_version") or _package_version(booted))


def _package_version(kernel):
    """Where the distribution's package has no version of its own form, it is the release without
    the architecture.
    """
    suffix = "." + kernel["machine"]
    release = kernel["release"]
    return release[: -len(suffix)] if release.endswith(suffix) else release


def after(installed, steps):
    """The set of IDs when all steps are done."""
    result = set(installed)
    for verb, update_id in steps:
        if verb == INSTALL:
            result.add(update_id)
        else:
            result.discard(update_id)
    return result
