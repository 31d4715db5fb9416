# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Stands in for the get-pip script that ansible-test would download from a server of its own.

Copied to ansible-test's cache as get_pip_<version>.py beside the wheel of that pip, which comes
from the package index like everything else. Unpacks the wheel there, once, and gives the
environment that runs it a path to it: ansible-test makes a dozen environments, and installing pip
in each costs more than what they are for. Runs on the Python of a managed host, so nothing newer
than 3.6 here.
"""

import glob
import os
import sysconfig
import zipfile

here, name = os.path.split(os.path.abspath(__file__))
version = os.path.splitext(name)[0].replace("get_pip_", "").replace("_", ".")
unpacked = os.path.join(here, "pip-" + version)
if not os.path.isdir(unpacked):
    # Whole or not at all, whoever is interrupted, or does the same just now.
    half = f"{unpacked}.{os.getpid()}"
    with zipfile.ZipFile(glob.glob(unpacked + "-*.whl")[0]) as wheel:
        wheel.extractall(half)
    try:
        os.rename(half, unpacked)
    except OSError:
        if not os.path.isdir(unpacked):
            raise
with open(os.path.join(sysconfig.get_path("purelib"), "pip.pth"), "w") as link:
    link.write(unpacked + "\n")
