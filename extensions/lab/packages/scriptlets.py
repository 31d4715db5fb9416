# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What the packages do when they come and go, and at boot (reference 2.5, 1.9; what it leaves open:
README.md).
"""

_UNIT = """\
[Unit]
Description=%s
%s
[Service]
Type=oneshot
RemainAfterExit=yes
%s
[Install]
WantedBy=multi-user.target
"""

# The early stage runs before there is a network, the late one when there is. A stage that fails
# must not fail the boot.
UNITS = {
    "/usr/lib/systemd/system/uptrack.service": _UNIT
    % (
        "Ksplice Uptrack, early",
        "Before=network-pre.target\nWants=network-pre.target\n",
        (
            "ExecStart=-/usr/sbin/uptrack-upgrade --init\n"
            "ExecStop=-/usr/sbin/uptrack-upgrade --shutdown --no-network\n"
        ),
    ),
    "/usr/lib/systemd/system/uptrack-late.service": _UNIT
    % (
        "Ksplice Uptrack, late",
        "After=network.target uptrack.service\n",
        "ExecStart=-/usr/sbin/uptrack-upgrade --late-init\n",
    ),
}

_ENABLE = "systemctl enable -q uptrack.service uptrack-late.service || :\n"
_DISABLE = "systemctl disable -q uptrack.service uptrack-late.service || :\n"
_CRON = (
    '/usr/bin/python3 -SE -c \'import sys; sys.path.insert(0, "%s"); from uptrack_lab import '
    'agent, world; agent.write_crontab(world.World("/"))\'\n'
)
# Whoever removes the package wants the updates out of the kernel, too; whether they come out is not
# the package's business.
_UNINSTALL = (
    'if [ "$(uptrack-show --count --no-network 2>/dev/null)" != 0 ]; then uptrack-remove '
    "--uninstall >/dev/null 2>&1 || :; fi\n"
)
_APPLY = (
    "if ! grep -Eiq '^skip_apply_after_pkg_install[ ]*[=:][ ]*(1|yes|true|on)' "
    "/etc/uptrack/uptrack.conf; then\n  uptrack-upgrade "
    "-y --all || :\nfi\n"
)


def agent(family, edition, program):
    """The scripts of a package that carries the agent, by when they run."""
    cron = _CRON % program if edition == "online" else ""
    away = f"rm -rf {program}\n"
    if family == "rpm":
        # Of two packages that are exchanged the new one comes before the old one goes: what the old
        # one takes away must not be what the new one brought.
        return {
            "post": cron or ":",
            "posttrans": _ENABLE,
            "preun": f'if [ "$1" = 0 ]; then\n{_UNINSTALL}{_DISABLE}fi',
            "postun": f'if [ "$1" = 0 ] && [ ! -e {program}/edition ]; then\n'
            f"{away}rm -f /etc/cron.d/uptrack\n"
            "fi\n"
            f"if [ -e {program}/edition ] && grep -q offline {program}/edition; then rm -f "
            "/etc/cron.d/uptrack; fi",
        }
    return {
        "postinst": f'if [ "$1" = configure ]; then\n{_ENABLE}{cron}:\nfi',
        "prerm": f'if [ "$1" = remove ]; then\n{_UNINSTALL}{_DISABLE}fi',
        "postrm": 'case "$1" in remove|purge|disappear)\n'
        f"if [ ! -e {program}/edition ]; then\n"
        f"{away}fi\nrm -f /etc/cron.d/uptrack\n"
        ';; esac\nif [ "$1" = purge ]; then rm -rf /etc/uptrack; fi',
    }


def updates(family):
    """The scripts of a package with updates: its installation patches the kernel, unless that is
    forbidden (trap 17).
    """
    return {"post": _APPLY} if family == "rpm" else {"postinst": _APPLY}
