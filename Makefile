# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors

# The first of these that will do: a pyenv shim on PATH may have no version selected.
PYTHON ?= $(or $(shell for p in python3 /usr/local/bin/python3 /usr/bin/python3; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo "$$p" && break; done), \
	$(error Python 3.10 or newer is needed, as python3))

.DEFAULT_GOAL := help
CHECKS = fire fleet integration browser units sanity lint build-install

.PHONY: help env demo screenshots test test-all lint units build-install fleet fire test-fire integration browser sanity bench lab-up lab-down clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 16

env:  ## make build/venv (the newest ansible-core) and build/collections, which points at this checkout
	@$(PYTHON) -B tests/tools/env.py

demo: env  ## a rehearsal fleet, enrolled and patched in waves, with a report to look at
	@build/venv/bin/python extensions/lab/demo.py

screenshots: demo  ## docs/images: the pictures of the demo's report, made in Debian's Chromium
	@$(PYTHON) -B tests/tools/screenshots.py

test:  ## what CI runs: each promise, scenario and reader once and short, with a summary at the end
	@$(PYTHON) -B tests/tools/check.py $(CHECKS)

test-all:  ## the same played out, an hour and more: before a release, and after work on leases, drains or the agent
	@$(PYTHON) -B tests/tools/check.py --all $(CHECKS)

lint:  ## ruff, yamllint, ansible-lint, reuse, antsibull-changelog, antsibull-docs, vermin, shellcheck
units:  ## tests/unit: target code on Python 3.6 too, everything on both cores' Pythons
build-install:  ## build the collection, install it elsewhere, show its modules' pages
fleet:  ## tests/integration/lab over real hosts in namespaces (root on Debian; says what is missing)
fire:  ## tests/integration/fire: rollouts over real keepalived pairs while everything goes wrong (root on Debian)
integration:  ## tests/integration with the commands of both cores
browser:  ## tests/browser: the page of the record in Debian's Chromium (says what is missing)
sanity:  ## ansible-test sanity on both cores

test-fire:  ## the same played out: N=200 kills of the control node; SEED=… replays the random moments of a run
	@FIRE_KILLS=$(or $(N),20) FIRE_SEED=$(SEED) $(PYTHON) -B tests/tools/check.py --all fire

lint units build-install fleet fire integration browser sanity:
	@$(PYTHON) -B tests/tools/check.py $@

bench: env  ## what a run costs, measured in turns beside others; CHECK=1 fails where a limit is missed, ARGS="--pairs 5 --hosts 50" is quick
	@build/venv/bin/python -B tests/bench/bench.py $(if $(CHECK),--check) $(ARGS)

lab-up:  ## real hosts in namespaces, and an inventory of them: make lab-up HOSTS="web1:ubuntu db1:ol9", or HOSTS=8 (root on Debian)
	@$(PYTHON) -B extensions/lab/namespaces/namespaced_hosts.py up $(HOSTS)

lab-down:  ## take them away
	@$(PYTHON) -B extensions/lab/namespaces/namespaced_hosts.py down

clean:  ## remove build/ (environments, copies, results)
	rm -rf build
