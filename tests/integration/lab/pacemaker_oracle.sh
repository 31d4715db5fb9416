#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
#
# What crm_mon says of clusters that are a file each (FOLDER/*.cib), once pacemaker has done there what it has to do: NAME.xml, and NAME.old.xml in the words of
# older releases. Without what is another at each time.
cd "$1" || exit 1
for cib in *.cib; do
  name=${cib%.cib}
  crm_simulate -Q -S -x "$cib" -O "/tmp/$name.after" >/dev/null 2>&1
  for form in output-as=xml:xml as-xml:old.xml; do
    CIB_file=/tmp/$name.after crm_mon -1 --"${form%%:*}" 2>/dev/null | sed -e '/<last_/d' -e '/<node_history>/,/<\/node_history>/d' >"$name.${form#*:}"
  done
done
