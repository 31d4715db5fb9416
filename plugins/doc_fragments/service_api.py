# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Options of the modules that ask the service's API about a machine."""


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  uuid:
    description: The machine with this UUID.
    type: str
  name:
    description: The machine that is called so at the service. It is an error if there are two; one
      that is active counts before one that is not.
    type: str
  api_user:
    description: The user of the API. By default E(UPTRACK_API_USERNAME) of the controller, or
      C(username) in its C(/etc/uptrack-api.conf).
    type: str
  api_key:
    description: The key of the API, from the settings of the account; it is not the access key. By
      default E(UPTRACK_API_KEY) of the controller, or C(api_key) in its
      C(/etc/uptrack-api.conf).
    type: str
  api_url:
    description: The address of the API, as the settings of the account show it, by default
      C(https://uptrack.api.ksplice.com/api/1).
    type: str
  api_ca:
    description: A file of the controller's with the CA that the API's certificate is checked by. By
      default that of the system, or of E(REQUESTS_CA_BUNDLE).
    type: path
  api_proxy:
    description: URL of a proxy. By default E(HTTPS_PROXY) of the controller counts.
    type: str
attributes:
  action_group:
    description: >-
      Use C(group/rebootless.ksplice.service) in C(module_defaults) to set defaults for it.
    support: full
    membership:
      - rebootless.ksplice.service
requirements:
  - requests, on the controller
"""
