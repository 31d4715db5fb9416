# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The kernels of the lab's hosts, and the updates that there are for each: what the emulated
service and the packages know.
"""


def _kernel(release, version, prefix, minors, form):
    """A kernel with its updates. An ID belongs to one build, so that each has IDs of its own."""
    updates = []
    for number, minor in enumerate(minors, 1):
        updates.append(
            {
                "id": f"{prefix}{number:04d}",
                "name": f"CVE-2026-{1000 + number}: Use-after-free number {number}.",
                "effective": {"release": form % minor, "version": version} if minor else None,
            }
        )
    return {
        "kernel": {"release": release, "version": version, "machine": "x86_64"},
        "updates": updates,
    }


KERNELS = {
    "ol9": _kernel(
        "5.15.0-302.167.6.el9uek.x86_64",
        "#2 SMP Tue Oct 29 17:10:51 PDT 2024",
        "elnine",
        (None, 303, 304, 305),
        "5.15.0-%d.167.6.el9uek.x86_64",
    ),
    "ol7": _kernel(
        "5.4.17-2136.330.7.1.el7uek.x86_64",
        "#2 SMP Wed Apr 3 10:11:12 PDT 2024",
        "elseven",
        (331, 332),
        "5.4.17-2136.%d.7.1.el7uek.x86_64",
    ),
    "ol10": _kernel(
        "6.12.0-100.28.2.el10uek.x86_64",
        "#1 SMP PREEMPT_DYNAMIC Mon Jul 7 10:11:12 PDT 2026",
        "elten0",
        (101, 102),
        "6.12.0-%d.28.2.el10uek.x86_64",
    ),
    "centos8": _kernel(
        "4.18.0-553.el8_10.x86_64",
        "#1 SMP Fri May 24 13:05:10 UTC 2024",
        "elight",
        (554, 555),
        "4.18.0-%d.el8_10.x86_64",
    ),
    "ubuntu": _kernel(
        "5.15.0-130-generic",
        "#140-Ubuntu SMP Wed Dec 18 17:59:53 UTC 2024",
        "jammy0",
        (131, 132, 133),
        "5.15.0-%d-generic",
    ),
}
# A second build for hosts that boot into it.
KERNELS["ol9-next"] = _kernel(
    "5.15.0-306.177.4.el9uek.x86_64",
    "#2 SMP Tue Feb 4 09:10:11 PST 2025",
    "elnext",
    (307,),
    "5.15.0-%d.177.4.el9uek.x86_64",
)
