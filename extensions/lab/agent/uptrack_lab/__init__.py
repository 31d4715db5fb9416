# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""The parts of the emulated Ksplice Uptrack agent.  README.md beside this package says what each
file is for.
"""
