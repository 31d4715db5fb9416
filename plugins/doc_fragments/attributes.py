# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors


class ModuleDocFragment:
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode and says what would change without changing it.
  diff_mode:
    description: Says in detail what changed, or in check mode would change.
"""

    ACTION_GROUP = r"""
options: {}
attributes:
  action_group:
    description: >-
      Use C(group/rebootless.ksplice.uptrack) in C(module_defaults) to set defaults for it.
    support: full
    membership:
      - rebootless.ksplice.uptrack
"""
