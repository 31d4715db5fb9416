# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""The file that says which kernel the updates amount to (reference, section 2.4).  It is believed
only while it fits the running kernel and what sysfs says is applied.
"""

from . import world as w
from . import yaml_files


def read(world, kernel):
    """The effective kernel, or None if it is not known."""
    text = world.read(w.EFFECTIVE_KERNEL)
    if text is None:
        return None
    try:
        data = yaml_files.load(text)
        original, effective, installed = (
            data["OriginalKernel"],
            data["EffectiveKernel"],
            data["Installed"],
        )
        fits = (
            original["Sysname"] == kernel["sysname"]
            and original["Release"] == kernel["release"]
            and original["Version"] == kernel["version"]
            and original["UserArchitecture"] == kernel["machine"]
        )
        if not fits or sorted(installed) != w.applied_updates(world):
            return None
        return {
            "sysname": effective["Sysname"],
            "machine": effective["Architecture"],
            "release": effective["Release"],
            "version": effective["Version"],
            "package_version": effective["PackageVersion"],
        }
    except (yaml_files.Unreadable, KeyError, TypeError):
        return None


def write(world, kernel, effective, installed):
    """World-readable on purpose: uptrack-uname needs no root.  `installed` is what the run knows
    of, which is nothing after one that failed early; then the file is not believed from that moment
    on.
    """
    if effective is None:
        world.remove(w.EFFECTIVE_KERNEL)
        return
    world.write(
        w.EFFECTIVE_KERNEL,
        yaml_files.dump(
            {
                "EffectiveKernel": {
                    "Sysname": effective["sysname"],
                    "Architecture": effective["machine"],
                    "Release": effective["release"],
                    "Version": effective["version"],
                    "PackageVersion": effective["package_version"],
                },
                "OriginalKernel": {
                    "Sysname": kernel["sysname"],
                    "Release": kernel["release"],
                    "Version": kernel["version"],
                    "UserArchitecture": kernel["machine"],
                },
                "Installed": list(installed),
            }
        ),
        0o644,
    )


def from_slashed(pair):
    """[`sysname/arch/release/version`, package version] of a plan -> kernel;
    None for no such pair.
    """
    if not pair:
        return None
    sysname, machine, release, version = pair[0].split("/", 3)
    return {
        "sysname": sysname,
        "machine": machine,
        "release": release,
        "version": version,
        "package_version": pair[1],
    }
