#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors

DOCUMENTATION = r"""
module: rollout
short_description: The controller's half of a rollout, between the tasks of its hosts
description:
  - A step of the playbooks of this collection and of role P(rebootless.ksplice.rolling#role), and
    of little use elsewhere. It plans, selects the hosts of
    a wave that may be claimed, and records what came of them.
  - It runs on the controller alone and asks no host anything. Say C(run_once).
  - What it knows lies in Ansible's temporary folder of the run, in no variable and no fact.
extends_documentation_fragment:
  - rebootless.ksplice.attributes
attributes:
  check_mode:
    support: full
    details: The plan and the record are those of the run in check mode.
  diff_mode:
    support: none
options:
  state:
    description:
      - V(ready) checks all that was asked for and needs no answer of a host, and begins a run.
        V(asked) lists the hosts outside of the run to ask for their
        groups, V(left_behind) the leases that stopped runs left, V(taken_over) keeps what came of
        one. V(plan) plans the waves, V(select) claims hosts of the
        next wave, V(record) keeps what came of it. V(report) writes the record. V(query) asks one.
        V(merge) writes records that were written before as one, V(compare) says what changed from
        others to them. V(findings) says where the service and the hosts disagree, as V(report)
        found it, and V(preview) what Ksplice would fix in the kernels of the hosts.
    type: str
    choices:
      - ready
      - asked
      - left_behind
      - taken_over
      - plan
      - select
      - record
      - report
      - query
      - merge
      - compare
      - findings
      - preview
    required: true
  scope:
    description: Whether the plan is one of a whole run or of one play, or, for V(report),
      whichever was last.
    type: str
    choices: [run, play, last]
    default: run
  kind:
    description: With O(state=ready), what kind of run the record says it is.
    type: str
    default: patch
  hosts:
    description: With O(state=ready), the hosts that the run may touch.
    type: list
    elements: str
  who:
    description: With O(state=ready), who runs it, by default the user.
    type: str
  options:
    description: With O(state=ready), the options of role P(rebootless.ksplice.rolling#role).
    type: dict
    default: {}
  survey:
    description: With O(state=ready), the options of the survey, as
      M(rebootless.ksplice.uptrack_facts) takes them.
    type: dict
    default: {}
  taken:
    description: With O(state=taken_over), the lease.
    type: dict
  results:
    description: With O(state=taken_over), what the tasks registered that took it over.
    type: dict
  directory:
    description: Where the record is written. With O(state=ready) the directory is made (mode 0750).
    type: path
  template:
    description: With O(state=report) and O(state=merge), Jinja template of the page. Everything
      put into it is escaped.
    type: path
  formats:
    description:
      - With O(state=ready), O(state=report) and O(state=merge), what is written beside
        C(record.json), of V(html) (C(report.html)), V(csv) (C(hosts.csv)), V(junit)
        (C(junit.xml)), V(metrics) (C(ksplice.prom)) and V(markdown) (C(report.md)). See
        C(docs/record.md).
    type: list
    elements: str
    default: [html]
  record:
    description: With O(state=query) and O(state=ready), the record that is asked; by default the
      fleet as this run has surveyed it.
    type: path
  records:
    description: With O(state=merge) and O(state=compare), files of records, directories with a
      C(record.json), or patterns of these. See C(docs/report.md).
    type: list
    elements: str
  compare_with:
    description: With O(state=compare), the earlier ones, like O(records).
    type: list
    elements: str
  query:
    description: With O(state=query), the question, in JMESPath, or a name from
      C(docs/query.md). With O(state=ready) it is only checked.
    type: str
  output:
    description: With O(state=query), O(state=compare), O(state=findings) and O(state=preview),
      how the answer is written.
    type: str
    choices: [table, json, csv, markdown]
    default: table
  dest:
    description: With O(state=query), O(state=compare), O(state=findings) and O(state=preview), a
      file of the controller's for the answer; by default it is printed.
    type: path
  api:
    description: What asking the service's API needs. Without user and key, here or in the
      environment, it is not asked, unless O(ask_api). See C(docs/service.md).
    type: dict
    suboptions:
      user:
        description: The user, or E(UPTRACK_API_USERNAME).
        type: str
      key:
        description: The key, or E(UPTRACK_API_KEY).
        type: str
      url:
        description: The address.
        type: str
      ca:
        description: A file with the CA that its certificate is checked by.
        type: path
      proxy:
        description: URL of a proxy.
        type: str
  ask_api:
    description: With O(state=ready) and O(state=report), that the API has to be asked; credentials
      may then come from C(/etc/uptrack-api.conf), too.
    type: bool
    default: false
  silent_days:
    description: With O(state=report), after how many days without a word a machine is silent.
    type: int
    default: 14
  inspector_url:
    description: With O(state=preview), the address of the Inspector, by default Oracle's.
    type: str
  cache:
    description: With O(state=preview), a file that keeps what the Inspector said.
    type: path
  cache_seconds:
    description: With O(state=preview), how long that is good without asking again.
    type: int
    default: 86400
  url:
    description: With O(state=ready), O(state=report) and O(state=merge), address of a folder to
      which the files of the report are uploaded, after each wave and at the end, by HTTP PUT, or
      C(s3://BUCKET/PREFIX).
    type: str
  token:
    description: Sent as bearer token with each upload. Without it C(~/.netrc) counts.
    type: str
  s3:
    description: What an upload to S3, or to a server compatible with it, needs. What is missing is
      taken from the environment variables of AWS's own tools.
    type: dict
    suboptions:
      endpoint:
        description: Address of a compatible server (E(AWS_ENDPOINT_URL_S3), E(AWS_ENDPOINT_URL));
          by default that of AWS.
        type: str
      region:
        description: E(AWS_REGION), E(AWS_DEFAULT_REGION), or C(us-east-1).
        type: str
      access_key_id:
        description: E(AWS_ACCESS_KEY_ID).
        type: str
      secret_access_key:
        description: E(AWS_SECRET_ACCESS_KEY).
        type: str
      session_token:
        description: E(AWS_SESSION_TOKEN).
        type: str
  stats:
    description: With O(state=report) and O(state=merge), whether to leave C(ksplice_summary),
      C(ksplice_hosts) and C(ksplice_hosts_left_out) in the statistics of the run, where AWX finds
      them.
    type: bool
    default: true
author:
  - rebootless.ksplice contributors (@rebootless)
"""

EXAMPLES = r"""
- name: Check what is asked for, before any host is asked anything
  rebootless.ksplice.rollout:
    state: ready
    kind: status
    hosts: "{{ ansible_play_hosts_all }}"
    directory: /var/lib/awx/ksplice-report
  run_once: true
"""

RETURN = r"""
upload_error:
  description: Why the report could not be uploaded, or null.
  type: str
  returned: with O(state=report) and O(state=merge)
answer:
  description: With O(state=query), what JMESPath made of the record; with O(state=compare), what
    changed, as a list of mappings of C(host), C(what), C(before) and C(after).
  type: raw
  returned: with O(state=query) and O(state=compare)
msg:
  description: With O(state=plan), O(state=report) and O(state=merge), what a person reads.
  type: list
  elements: str
  returned: success
findings:
  description: With O(state=findings), each with C(kind), C(host), C(uuid), C(what) and C(advice).
  type: list
  elements: dict
  returned: with O(state=findings)
kernels:
  description: With O(state=preview), for each build of a kernel C(kernel), C(build), C(machine),
    C(booted_on) and C(on_disk_of) (numbers of hosts), C(updates) (a number), C(cves),
    C(age_seconds) (how long ago the Inspector said it) and C(note). What is not known is null.
  type: list
  elements: dict
  returned: with O(state=preview)
unknown:
  description: With O(state=preview), hosts whose kernels C(booted) and C(on_disk) are not known.
  type: dict
  returned: with O(state=preview)
summary:
  description: With O(state=report) and O(state=merge), the numbers of the record.
  type: dict
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rebootless.ksplice.plugins.module_utils import rollout_task


def main():
    module = AnsibleModule(argument_spec=rollout_task.ARGUMENTS, supports_check_mode=True)
    module.fail_json(
        msg="rollout runs on the controller: its action plugin was not found. Install the "
        "collection as a whole."
    )


if __name__ == "__main__":
    main()
