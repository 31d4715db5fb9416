# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Stands in for the get-pip script that ansible-test would download from a server of its own.

Copied to ansible-test's cache as get_pip_<version>.py beside the wheel of that pip, which comes
from the package index like everything else. Runs on the Python of a managed host, so nothing newer
than 3.6 here.
"""

import glob
import os
import runpy
import sys

here, name = os.path.split(os.path.abspath(__file__))
version = os.path.splitext(name)[0].replace("get_pip_", "").replace("_", ".")
wheel = glob.glob(os.path.join(here, f"pip-{version}-*.whl"))[0]
arguments = [a for a in sys.argv[1:] if a not in ("--no-setuptools", "--no-wheel")]
sys.path.insert(0, wheel)
sys.argv = ["pip", "install", wheel] + arguments
runpy.run_module("pip", run_name="__main__", alter_sys=True)
