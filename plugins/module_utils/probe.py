# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The one probe: a POSIX shell script that reads what a host knows about its live patches, and the reader of its answer.

The action plugin sends the script over the connection, the modules run the same script on the host, so that both tell
the same truth. It needs C(sh), C(uname), C(date), C(id) and C(awk); the agent itself is started only when a refresh was
asked for, or when the agent's state files cannot answer.

Secrets stay on the host: C(awk) reads the access key and the credentials of the proxy from uptrack.conf for one purpose,
to cut them out of everything it prints (the agent repeats the proxy's URL in its errors, reference 1.12).

The answer is a sequence of lines C(@tag text); a text of several lines is several lines with the same tag. A line that
does not start with C(@) (a login banner, say) is nobody's answer and is passed over. The last line is C(@end).
"""

import shlex

# Every path below has $R in front of it: the root of an emulated host (UPTRACK_LAB_ROOT), empty on a real one.
SCRIPT = r"""
LC_ALL=C; export LC_ALL
R=${UPTRACK_LAB_ROOT:-}
say() { printf '@%s %s\n' "$1" "$2"; }
where() { W=; for d in /usr/sbin /usr/bin /sbin /bin; do if [ -x "$R$d/$1" ]; then W=$R$d/$1; return; fi; done; }
own() { where "$1"; [ -n "$W" ] || W=$1; }

own uname; u=$("$W" -srvm)
sysname=${u%% *}; u=${u#* }; release=${u%% *}; u=${u#* }; machine=${u##* }; version=${u% *}
own id; uid=$("$W" -u)
now=$(date +%s)
say sysname "$sysname"; say release "$release"; say version "$version"; say machine "$machine"
say uid "$uid"; say now "$now"
upgrade=; show=
for c in uptrack-upgrade uptrack-install uptrack-remove uptrack-show uptrack-uname ksplice; do
  where $c
  [ -n "$W" ] || continue
  say command "$c $W"
  case $c in uptrack-upgrade) upgrade=$W;; uptrack-show) show=$W;; esac
done
[ -d "$R/sys/module" ] && say sysmodule 1
[ -e "$R/etc/uptrack/disable" ] && say disabled 1
[ -e "$R/etc/uptrack/uptrack.conf" ] && say configured 1
for f in "$R"/boot/vmlinuz-*; do [ -e "$f" ] && say boot "${f##*/vmlinuz-}"; done
# What else runs at set times under the agent's name, such as the daily job that offline hosts need.
for f in "$R"/etc/cron.daily/*uptrack* "$R"/etc/cron.daily/*ksplice* "$R"/etc/systemd/system/*uptrack*.timer \
  "$R"/etc/systemd/system/*ksplice*.timer "$R"/usr/lib/systemd/system/*uptrack*.timer "$R"/usr/lib/systemd/system/*ksplice*.timer; do
  [ -e "$f" ] && say scheduled "${f#"$R"}"
done

# What may make it a member of a redundancy group.
[ -e "$R/etc/keepalived/keepalived.conf" ] && say redundancy keepalived
[ -e "$R/etc/corosync/corosync.conf" ] && say redundancy pacemaker

# What the kernel itself says. The files are 0600: without root there is a directory and no answer.
stages() {
  applied=
  for f in "$R"/sys/kernel/ksplice/*/stage "$R"/sys/module/ksplice_*/ksplice/stage; do
    [ -e "$f" ] || continue
    i=${f%/stage}; i=${i%/ksplice}; i=${i##*/}; i=${i#ksplice_}
    stage=unreadable
    { read -r stage < "$f"; } 2>/dev/null || :
    [ "$stage" = applied ] && applied="$applied $i"
    say stage "$i $stage"
  done
}

state=
for d in "$R/var/cache/uptrack/$sysname"/*/"$release/$version"; do [ -d "$d" ] && state=$d; done

# Prints every state file with the secrets cut out. Ends with 3 when what the files say of the installed updates is not
# what the kernel says, or when a file is missing: then only the agent can answer.
tell() {
  set --
  [ -r "$R/etc/uptrack/uptrack.conf" ] && set -- "$@" tag=conf "$R/etc/uptrack/uptrack.conf"
  [ -r "$R/var/lib/uptrack/effective_kernel" ] && set -- "$@" tag=effective "$R/var/lib/uptrack/effective_kernel"
  for f in status results upgrade_plan; do
    [ -n "$state" ] && [ -r "$state/$f" ] && set -- "$@" "tag=$f" "$state/$f"
  done
  [ -r "$R/var/lib/rebootless-ksplice/leases.json" ] && set -- "$@" tag=lease "$R/var/lib/rebootless-ksplice/leases.json"
  [ -r "$R/var/lib/rebootless-ksplice/drained.json" ] && set -- "$@" tag=drained "$R/var/lib/rebootless-ksplice/drained.json"
  for f in uptrack ksplice; do [ -r "$R/etc/cron.d/$f" ] && set -- "$@" tag=cron "$R/etc/cron.d/$f"; done
  printf '%s\n' "$words" | applied=$applied awk '
    # A secret as a regular expression that also finds it wrapped over two lines.
    function keep_secret(s,    i, c, r) {
      if (length(s) < 4) return
      # In uptrack.conf a percent sign is doubled, in the words of the agent it is not.
      if (s ~ /%%/) { r = s; gsub(/%%/, "%", r); keep_secret(r) }
      r = ""
      for (i = 1; i <= length(s); i++) {
        c = substr(s, i, 1)
        if (c !~ /[A-Za-z0-9]/) c = (c ~ /[\^\]\\]/) ? "\\" c : "[" c "]"
        r = r (i > 1 ? "[ \t\n]*" : "") c
      }
      secret[++secrets] = r
    }
    # The user and password of a proxy URL: everything up to the last at sign, without the scheme.
    function credentials(url,    s) {
      s = url; sub(/^[A-Za-z0-9+.-]*:\/\//, "", s)
      if (s !~ /@/) return ""
      sub(/@[^@]*$/, "", s)
      return s
    }
    function keep_proxy(url,    c, at) {
      c = credentials(url)
      if (c == "") return
      keep_secret(c)
      at = index(c, ":")
      if (at) keep_secret(substr(c, at + 1))
    }
    function mask(text,    i) {
      for (i = 1; i <= secrets; i++) gsub(secret[i], "(hidden)", text)
      gsub(/:\/\/[^\/@ \n]*@/, "://(hidden)@", text)
      return text
    }
    # uptrack.conf line by line, so that the reader can name a broken line, with no value that may be private.
    function conf(line,    at, key, value, c) {
      if (line ~ /^[ \t]*$/ || line ~ /^[#;]/) return "#"
      if (line ~ /^[ \t]+[#;]/) return " #"
      if (line ~ /^[ \t]/) return " (hidden)"
      if (match(line, /^\[[^\]]*\]/)) return substr(line, 1, RLENGTH) (substr(line, RLENGTH + 1) ~ /[^ \t\r]/ ? " (hidden)" : "")
      at = match(line, /[=:]/)
      if (!at) return "!"
      key = tolower(substr(line, 1, at - 1)); sub(/[ \t]+$/, "", key)
      value = substr(line, at + 1); gsub(/^[ \t]+|[ \t\r]+$/, "", value)
      if (key == "accesskey") {
        if (value == "" || value == "INSERT_ACCESS_KEY") return key " = " value
        keep_secret(value)
        return key " = (hidden)" percent(value)
      }
      if (key == "https_proxy") {
        c = credentials(value)
        if (c == "") return key " = " value
        keep_proxy(value)
        sub(/.*@/, "", value)
        return key " = (hidden)" percent(c) "@" value
      }
      if (key ~ /^(use_hw_uuid|gconf_proxy_lookup|install_on_reboot|upgrade_on_reboot|autoinstall|no_rmmod|suppress_ip)$/ ||
          key ~ /^(debug_to_server|cron_output_.*|skip_apply_after_pkg_install|effective_version|enabled)$/ ||
          key ~ /^(ssl_ca_cert_file|ssl_ca_cert_dir|hostname_override_file)$/)
        return key " = " value
      return key " = (hidden)"
    }
    # A single percent sign breaks the agent (reference 2.2): the masked value keeps that fault and nothing else.
    function percent(value) { gsub(/%%/, "", value); return value ~ /%/ ? "%" : "" }
    BEGIN { keep_proxy(ENVIRON["https_proxy"]); keep_proxy(ENVIRON["HTTPS_PROXY"]); keep_proxy(ENVIRON["http_proxy"]) }
    tag == "conf" { print "@conf " conf($0); next }
    { text[tag] = text[tag] $0 "\n"; seen[tag] = 1 }
    END {
      names = "effective status results upgrade_plan cron lease drained words"
      count = split(names, name, " ")
      for (i = 1; i <= count; i++) if (seen[name[i]]) {
        lines = split(mask(text[name[i]]), line, "\n")
        for (j = 1; j < lines; j++) print "@" name[i] " " line[j]
      }
      known = ""; rest = text["status"]
      while (match(rest, /[{ ,]ID: *["\047]?[a-z0-9]+/)) {
        id = substr(rest, RSTART, RLENGTH); sub(/.*[^a-z0-9]/, "", id)
        known = known " " id " "; knowns++
        rest = substr(rest, RSTART + RLENGTH)
      }
      same = seen["status"] && seen["upgrade_plan"] && seen["effective"]
      n = split(ENVIRON["applied"], a, " ")
      if (n != knowns + 0) same = 0
      for (i = 1; i <= n; i++) if (index(known, " " a[i] " ") == 0) same = 0
      exit same ? 0 : 3
    }
  ' "$@" tag=words -
}

words=
seen=$(stages; say applied "$applied")
applied=${seen##*@applied}
told=$(tell); same=$?
ask=
case $refresh in
  always) ask=1;;
  stale)
    if [ $same = 3 ] || [ ! -e "$state/upgrade_plan" ]; then ask=1
    elif [ $((now - $(date -r "$state/upgrade_plan" +%s))) -gt "$older_than" ]; then ask=1
    fi;;
esac
if [ -n "$ask" ] && { [ "$uid" != 0 ] || [ -z "$upgrade" ]; }; then say unasked 1; fi
if [ "$uid" = 0 ] && [ -d "$R/sys/module" ]; then
  if [ -n "$ask" ] && [ -n "$upgrade" ] && [ ! -e "$R/etc/uptrack/disable" ]; then
    words=$("$upgrade" -n 2>&1 </dev/null); say refreshed $?
    for d in "$R/var/cache/uptrack/$sysname"/*/"$release/$version"; do [ -d "$d" ] && state=$d; done
    seen=$(stages; say applied "$applied")
    applied=${seen##*@applied}
    told=$(tell)
    say now "$(date +%s)"
  elif [ $same = 3 ] && [ -n "$show" ]; then
    words=$("$show" --all --no-network 2>&1 </dev/null); say showed $?
    told=$(tell)
  fi
fi
[ -n "$seen" ] && printf '%s\n' "$seen"
[ -n "$told" ] && printf '%s\n' "$told"
[ -e "$state/upgrade_plan" ] && say checked "$(date -r "$state/upgrade_plan" +%s)"
echo @end
"""


def script(refresh="never", older_than=0):
    """The shell script to run, as text.

    :param refresh: C(never), C(stale) (ask the service when what the host knows is older than C(older_than), or does not
        fit the kernel) or C(always).
    :param older_than: seconds.
    """
    return f"refresh={shlex.quote(refresh)}; older_than={int(older_than)}\n{SCRIPT.strip()}\n"


def read_answer(text):
    """The answer as a mapping from tag to the list of its lines; C(None) when the answer is not whole."""
    answer = {}
    for line in text.split("\n"):
        if not line.startswith("@"):
            continue
        # The ssh connection gives the script a terminal, which ends its lines with a carriage return too.
        tag, _blank, rest = line[1:].rstrip("\r").partition(" ")
        answer.setdefault(tag, []).append(rest)
    return answer if "end" in answer else None
