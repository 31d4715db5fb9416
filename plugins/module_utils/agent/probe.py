# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The one probe: a POSIX shell script that reads what a host knows about its live patches, and the
reader of its answer.

The action plugin sends the script over the connection, the modules run the same script on the host,
so that both report the same. It needs C(sh), C(uname), C(date), C(id) and C(awk); the agent
itself is started only when a refresh was asked for, or when the agent's state files cannot answer.

Secrets stay on the host: C(awk) reads the access key and the credentials of the proxy from
uptrack.conf for one purpose, to cut them out of everything it prints (the agent repeats the proxy's
URL in its errors, reference 1.12). The agent's log, which its results hold after a failure, and
what it says of the machine never leave the host: the access key is in both, even in base64. Of
every file a bounded part is read, and nothing that is not a plain file.

The answer is a sequence of lines C(@tag text); a text of several lines is several lines with the
same tag. A line that does not start with C(@) (a login banner, say) is no answer and is ignored.
The last line is C(@end).
"""

import shlex

# Every path below has $R in front of it: the root of an emulated host (UPTRACK_LAB_ROOT), empty on
# a real one.
SCRIPT = r"""
LC_ALL=C; export LC_ALL
R=${UPTRACK_LAB_ROOT:-}
say() { printf '@%s %s\n' "$1" "$2"; }
where() {
  W=
  for d in /usr/sbin /usr/bin /sbin /bin; do
    if [ -x "$R$d/$1" ]; then W=$R$d/$1; return; fi
  done
}
own() { where "$1"; [ -n "$W" ] || W=$1; }

own uname; u=$("$W" -srvm)
sysname=${u%% *}; u=${u#* }; release=${u%% *}; u=${u#* }; machine=${u##* }; version=${u% *}
own id; uid=$("$W" -u)
now=$(date +%s)
say sysname "$sysname"; say release "$release"; say version "$version"; say machine "$machine"
say uid "$uid"; say now "$now"
# Which machine this is, whatever name it was called by, and since which boot.
first() { { read -r i < "$2"; } 2>/dev/null && say "$1" "$i"; }
first machine_id "$R/etc/machine-id" || first machine_id "$R/var/lib/dbus/machine-id"
first boot_id "$R/proc/sys/kernel/random/boot_id" || first boot_id /proc/sys/kernel/random/boot_id
first uptime /proc/uptime
# By which the service knows it.
first uuid "$R/var/lib/uptrack/uuid"
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
# What uname would print of a kernel that is not booted stands in the header of its image (x86):
# at 514 a magic word, at 526 how far behind 512 its text is.
build_of() {
  [ "$(dd if="$1" bs=1 skip=514 count=4 2>/dev/null)" = HdrS ] || return
  o=$(od -An -tu2 -j526 -N2 "$1" | tr -d ' ')
  dd if="$1" bs=1 skip=$((o + 512)) count=300 2>/dev/null | tr '\0' '\n' | head -n 1
}
for f in "$R"/boot/vmlinuz-*; do
  [ -e "$f" ] || continue
  say boot "${f##*/vmlinuz-}"
  [ -n "$kernels" ] && say build "${f##*/vmlinuz-} $(build_of "$f")"
done
# What else runs at set times under the agent's name, such as the daily job that offline hosts need.
for f in "$R"/etc/cron.daily/*uptrack* "$R"/etc/cron.daily/*ksplice* \
  "$R"/etc/systemd/system/*uptrack*.timer "$R"/etc/systemd/system/*ksplice*.timer \
  "$R"/usr/lib/systemd/system/*uptrack*.timer "$R"/usr/lib/systemd/system/*ksplice*.timer; do
  [ -e "$f" ] && say scheduled "${f#"$R"}"
done

# What may make it a member of a redundancy group. A keepalived may have its configuration
# elsewhere, or in a container; a remote node has no corosync, and its key may be anywhere.
nl='
'
vrrp=; cluster=
# What is enabled is a link, which leads nowhere from the outside of an emulated host.
there() { for f; do if [ -e "$f" ] || [ -h "$f" ]; then return 0; fi; done; return 1; }
there "$R/etc/keepalived/keepalived.conf" "$R"/etc/systemd/system/*/keepalived.service && vrrp=1
there "$R/etc/corosync/corosync.conf" "$R/etc/pacemaker/authkey" \
  "$R"/etc/systemd/system/*/pacemaker_remote.service && cluster=1
# Its configuration may name keepalived's processes otherwise. Their program is for root to see; to
# others, and where nothing tells it, it is their first word. The null characters between words some
# shells leave out.
exes=
[ -n "$vrrp" ] || exes=$(cd "$R/proc" 2>/dev/null && ls -ln [0-9]*/exe 2>/dev/null)
case $exes$nl in *"/keepalived$nl"*|*"/keepalived (deleted)$nl"*) vrrp=1;; esac
first=1
[ "$uid" = 0 ] && case $exes in *' -> '*) first=;; esac
for f in "$R"/proc/[0-9]*; do
  [ "$vrrp$cluster" = 11 ] && break
  c=; w=
  { read -r c < "$f/comm"; } 2>/dev/null || :
  [ -n "$first" ] && [ -z "$vrrp" ] && { { read -r w < "$f/cmdline"; } 2>/dev/null || :; }
  case $c in
    keepalived|keepalived_vrrp) vrrp=1;;
    pacemaker-remot*|pacemaker_remot*) cluster=1;;
  esac
  case $w in keepalived|keepalived-*|/*/keepalived|/*/keepalived-*) vrrp=1;; esac
done
# And whatever it is called, a raw socket of protocol 112 speaks VRRP.
[ -n "$vrrp" ] || for f in "$R/proc/net/raw" "$R/proc/net/raw6"; do
  [ -r "$f" ] && while read -r c a c; do case $a in *:0070) vrrp=1;; esac; done < "$f"
done
[ -n "$vrrp" ] && say redundancy keepalived
[ -n "$cluster" ] && say redundancy pacemaker

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

# The folder of this kernel; of several architectures the one that uname names.
folder() {
  state=
  for d in "$R/var/cache/uptrack/$sysname"/*/"$release/$version"; do [ -d "$d" ] && state=$d; done
  d="$R/var/cache/uptrack/$sysname/$machine/$release/$version"
  [ -d "$d" ] && state=$d
}
folder

# Adds a file to what awk reads. What exists and is not a readable regular file is reported.
add() {
  if [ -f "$2" ] && [ -r "$2" ]; then
    list="$list$1=$2$nl"
    [ -s "$2" ] || say odd "$1 empty"
  elif [ -e "$2" ]; then say odd "$1 unreadable"
  fi
}

# Prints the files with the secrets cut out, or the agent's words alone. Its status is the sum of:
# 1, what the files say is not of what the kernel holds now, or a file is missing; 2, the name of an
# update in the kernel is in none of them.
tell() {
  list=
  add conf "$R/etc/uptrack/uptrack.conf"
  if [ "$1" = files ]; then
    add effective "$R/var/lib/uptrack/effective_kernel"
    [ -n "$state" ] && for f in status results upgrade_plan init_plan remove_plan; do
      add "$f" "$state/$f"
    done
    add lease "$R/var/lib/rebootless-ksplice/leases.json"
    # Its first line is all that may leave the host.
    f=$R/var/lib/rebootless-ksplice/journal.json
    if [ -f "$f" ] && [ -r "$f" ]; then say journal "$(head -n 1 "$f" | head -c 1000000)"
    elif [ -e "$f" ]; then say journal unreadable
    fi
    for f in uptrack ksplice; do add cron "$R/etc/cron.d/$f"; done
    [ -n "$state" ] && [ -f "$state/packages.yml" ] && [ -r "$state/packages.yml" ] &&
      list="${list}packages=$state/packages.yml$nl"
  fi
  printf '%s\n' "$words" | applied=$applied files=$list awk '
    # Blanks at the end, one by one: as an expression they would be tried from every one of them.
    function trimmed(s,    n) {
      n = length(s)
      while (n && index(" \t\r", substr(s, n, 1))) n--
      return substr(s, 1, n)
    }
    # A secret as a regular expression that also finds it wrapped over two lines.
    function keep_secret(s,    i, c, r) {
      if (length(s) < 4) return
      # No key is as long as that: in pieces, and not without end.
      for (i = 0; i < 16 && length(s) > 256; i++) {
        keep_secret(substr(s, 1, 256)); s = substr(s, 257)
      }
      s = substr(s, 1, 256)
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
      # A password may have an at sign or a slash in it.
      gsub(/:\/\/[^ \t\n]*@/, "://(hidden)@", text)
      return text
    }
    # uptrack.conf line by line, so that the reader can name a broken line, with no value that may
    # be private.
    function conf(line,    at, key, value, c) {
      if (line ~ /^[ \t\r]*$/ || line ~ /^[#;]/) return "#"
      if (line ~ /^[rR][eE][mM]([ \t]|$)/) return "rem"
      if (line ~ /^[ \t]+[#;]/) return " #"
      if (line ~ /^[ \t]/) return " (hidden)"
      if (match(line, /^\[[^\]]*\]/)) {
        c = substr(line, RLENGTH + 1) ~ /[^ \t\r]/ ? " (hidden)" : ""
        return substr(line, 1, RLENGTH) c
      }
      at = match(line, /[=:]/)
      if (!at) return "!"
      key = tolower(trimmed(substr(line, 1, at - 1)))
      value = trimmed(substr(line, at + 1)); sub(/^[ \t]+/, "", value)
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
      at = index(value, ";")
      if (at > 1 && substr(value, at - 1, 1) ~ /[ \t]/)
        value = trimmed(substr(value, 1, at - 1)) " ; (hidden)"
      if (key ~ /^(use_hw_uuid|gconf_proxy_lookup|install_on_reboot|upgrade_on_reboot)$/ ||
          key ~ /^(autoinstall|no_rmmod|suppress_ip|debug_to_server|cron_output_.*)$/ ||
          key ~ /^(skip_apply_after_pkg_install|effective_version|enabled)$/ ||
          key ~ /^(ssl_ca_cert_file|ssl_ca_cert_dir|hostname_override_file)$/)
        return key " = " value
      return key " = (hidden)" percent(value)
    }
    # A single percent sign breaks the agent (reference 2.2): the masked value keeps that fault and
    # nothing else.
    function percent(value) { gsub(/%%/, "", value); return value ~ /%/ ? "%" : "" }
    # What of a state file is not sent, line by line. A key in the first column is one: what a value
    # goes on in is indented.
    function unwanted(tag, line,    indent, key) {
      match(line, /^ */); indent = RLENGTH
      if (skipped >= 0) {
        if (indent == length(line) || indent > skipped) return 1
        if (indent == skipped && line ~ /^ *- /) return 1
        skipped = -1
      }
      if (tag == "remove_plan") {
        # Its IDs are what counts, names and kernels are in the other plans.
        if (line ~ /^ +(Name|EffectiveKernel):/) { skipped = indent; return 1 }
        return 0
      }
      if (indent == 0) {
        client = -1
        if (line ~ /^["\047]?(UptrackLog|Debug)["\047]?:/) { skipped = 0; return 1 }
        if (line ~ /^["\047]?Client["\047]?:/) {
          if (line !~ /: *$/) { skipped = 0; return 1 }
          client = 0
        }
      } else if (client >= 0) {
        if (client == 0) client = indent
        if (indent == client && line !~ /^ *Config:/) { skipped = indent; return 1 }
      }
      return 0
    }
    # The ID of an update, where a line starts with one.
    function id_of(line,    id) {
      if (!match(line, /^[ -]*\{?["\047]?ID["\047]?: *["\047]?[a-z0-9]+/)) return ""
      id = substr(line, RSTART, RLENGTH); sub(/.*[^a-z0-9]/, "", id)
      return id
    }
    function keep(tag, line) {
      buffer = buffer line "\n"
      if (length(buffer) > 8192) {
        text[tag] = text[tag] buffer; kept += length(buffer); buffer = ""
      }
    }
    # One file as far as it is wanted. One that is too long loses its end, and its reader sees that.
    function read_file(tag, file,    line, total, id, got) {
      skipped = client = -1; buffer = ""; kept = total = 0
      while (total < 33554432 && kept < 1048576 && (got = (getline line < file)) > 0) {
        total += length(line) + 1
        if (tag == "conf") { if (total < 262144) print "@conf " conf(line); continue }
        if (is_state[tag] && unwanted(tag, line)) continue
        if (is_state[tag] && (id = id_of(line)) != "") {
          if (tag == "status" && !((tag, id) in ids)) statuses++
          if (tag == "init_plan" && !((tag, id) in ids)) inits++
          ids[tag, id] = 1
          if (tag != "remove_plan") named[id] = 1
        }
        if (line ~ /^RunUUID:/) run[tag] = line
        if (tag == "results" && line ~ /^ +Code: *[0-9]+$/ && line !~ /: *(0|1|12)$/) failed = 1
        keep(tag, line)
      }
      close(file)
      text[tag] = text[tag] buffer; seen[tag] = 1
      if (got < 0) print "@odd " tag " unreadable"
    }
    # Of the list of updates those that the other files have no name for.
    function read_packages(file,    line, total, item, wanted, id, indent) {
      item = ""; wanted = 1; indent = -1; buffer = ""; kept = total = 0
      while (total < 33554432 && kept < 1048576 && (getline line < file) > 0) {
        total += length(line) + 1
        match(line, /^ */)
        if (line ~ /^ *- / && (indent < 0 || RLENGTH == indent) || line ~ /^[^ ]/) {
          if (wanted && item != "") keep("packages", item)
          if (line ~ /^ *- /) { indent = RLENGTH; wanted = 0 }
          else wanted = (line ~ /^(---|%|Updates:|\.\.\.)/)
          item = line
        } else if (length(item) < 65536) item = item "\n" line
        id = id_of(line)
        if (id in lacking) { wanted = 1; delete lacking[id]; lacks-- }
      }
      if (wanted && item != "") keep("packages", item)
      close(file)
      text["packages"] = text["packages"] buffer; seen["packages"] = 1
    }
    BEGIN {
      keep_proxy(ENVIRON["https_proxy"])
      keep_proxy(ENVIRON["HTTPS_PROXY"])
      keep_proxy(ENVIRON["http_proxy"])
      # Whatever looks like a key.
      for (i = 0; i < 32; i++) hash = hash "[0-9A-Fa-f]"
      hash = hash "[0-9A-Fa-f]*"
      split("effective status results upgrade_plan init_plan remove_plan", name, " ")
      for (i in name) is_state[name[i]] = 1
      files = split(ENVIRON["files"], file, "\n")
      for (i = 1; i < files; i++) {
        at = index(file[i], "="); tag = substr(file[i], 1, at - 1); path = substr(file[i], at + 1)
        if (tag == "packages") packages = path; else read_file(tag, path)
      }
      n = split(ENVIRON["applied"], a, " ")
      for (i = 1; i <= n; i++) if (!(a[i] in named)) { lacking[a[i]] = 1; lacks++ }
      if (lacks && packages != "") read_packages(packages)
    }
    {
      said = said $0 "\n"
      if (length(said) > 8192) { text["words"] = text["words"] said; said = "" }
    }
    END {
      text["words"] = text["words"] said
      count = split("effective status results upgrade_plan init_plan remove_plan packages " \
                    "cron lease words", name, " ")
      for (i = 1; i <= count; i++) if (seen[name[i]] || name[i] == "words") {
        masked = mask(text[name[i]])
        if (is_state[name[i]] || name[i] == "words") gsub(hash, "(hidden)", masked)
        lines = split(masked, line, "\n")
        for (j = 1; j < lines; j++) print "@" name[i] " " line[j]
      }
      same = seen["status"] && seen["upgrade_plan"] && !failed
      if (n != statuses + 0 || (seen["init_plan"] && n != inits + 0)) same = 0
      for (i = 1; i <= n; i++) {
        if (!(("status", a[i]) in ids)) same = 0
        if (seen["init_plan"] && !(("init_plan", a[i]) in ids)) same = 0
      }
      if (!seen["init_plan"] && run["status"] != run["results"]) same = 0
      exit (same ? 0 : 1) + (lacks ? 2 : 0)
    }
  '
}

# A command of the agent that does not finish in time is sent SIGTERM, then SIGKILL. Where
# there is no timeout(1), nothing ends it.
limited() {
  at_most=$1; shift
  if command -v timeout >/dev/null 2>&1; then set -- timeout -k 10 "$at_most" "$@"; fi
  # By a file: a pipe would stay open for as long as something of it that went its own way lives.
  said=$(mktemp) || said=/dev/null
  "$@" >"$said" 2>&1 </dev/null
  status=$?
  words=$(cat "$said")
  [ "$said" = /dev/null ] || rm -f "$said"
  case $status in 124|137|143)
    [ $(($(date +%s) - now)) -ge "$at_most" ] && say ended "$at_most";;
  esac
  return $status
}
words=
seen=$(stages; say applied "$applied")
applied=${seen##*@applied}
told=$(tell files); known=$?
ask=
case $refresh in
  always) ask=1;;
  stale)
    case $known in
      # What was written in the future is of no known age.
      0|2) age=$((now - $(date -r "$state/upgrade_plan" +%s)))
        if [ "$age" -gt "$older_than" ] || [ "$age" -lt -300 ]; then ask=1; fi;;
      1|3) ask=1;;
    esac;;
esac
if [ -n "$ask" ] && { [ "$uid" != 0 ] || [ -z "$upgrade" ]; }; then say unasked 1; fi
if [ "$uid" = 0 ] && [ -d "$R/sys/module" ]; then
  if [ -n "$ask" ] && [ -n "$upgrade" ] && [ ! -e "$R/etc/uptrack/disable" ]; then
    limited "$limit" "$upgrade" -n; say refreshed $?
    folder
    seen=$(stages; say applied "$applied")
    applied=${seen##*@applied}
    told=$(tell files)
    say now "$(date +%s)"
  elif [ "$known" -ge 2 ] && [ -n "$show" ]; then
    # It writes the file status anew, for the kernel of now: what the files said is what was read
    # before.
    [ "$limit" -gt 120 ] && limit=120
    limited "$limit" "$show" --all --no-network; say showed $?
    told="$told$nl$(tell words | {
      while IFS= read -r line; do
        case $line in @words*) printf '%s\n' "$line";; esac
      done
    })"
  fi
fi
# The agent refuses to start when this names a file that is missing or empty.
case $told in *'@conf hostname_override_file = '*)
  f=${told##*'@conf hostname_override_file = '}; f=${f%%"$nl"*}
  if [ -z "$f" ] || [ ! -f "$R$f" ]; then say override missing
  elif [ ! -s "$R$f" ]; then say override empty
  fi;;
esac
# An agent that ran since its configuration was changed could read it.
# shellcheck disable=SC3013
[ -e "$state/status" ] && [ "$R/etc/uptrack/uptrack.conf" -nt "$state/status" ] && say conf_newer 1
# Since when updates that are not in the kernel are on the disk: nothing here has another date of
# theirs.
set --
for f in "$state"/updates/ksplice-*; do
  f=${f##*/}
  case $f in *[!A-Za-z0-9_-]*) continue;; esac
  case " $applied " in *" ${f#ksplice-} "*) ;; *) set -- "$@" "$f";; esac
done
[ $# -gt 0 ] && (cd "$state/updates" && stat -c '@unpacked %n %Y' "$@" 2>/dev/null)
[ -n "$seen" ] && printf '%s\n' "$seen"
[ -n "$told" ] && printf '%s\n' "$told"
echo @end
"""


def script(refresh="never", older_than=0, timeout=900, kernels=False):
    """The shell script to run, as text.

    :param refresh: C(never), C(stale) (ask the service when what the host knows is older than
        C(older_than), or does not fit the kernel) or C(always).
    :param older_than: seconds.
    :param timeout: seconds after which a command of the agent is ended; one that only reads has 120
        of them at most.
    :param kernels: whether to read the builds of the kernels on disk, too.
    """
    return (
        f"limit={int(timeout)}; refresh={shlex.quote(refresh)}; older_than={int(older_than)}; "
        f"kernels={'1' if kernels else ''}\n"
        f"{SCRIPT.strip()}\n"
    )


def read_answer(text):
    """The answer as a mapping from tag to the list of its lines; C(None) when the answer is not
    whole.
    """
    answer = {}
    for line in text.split("\n"):
        if not line.startswith("@"):
            continue
        # The ssh connection gives the script a terminal, which ends its lines with a carriage
        # return too.
        tag, _blank, rest = line[1:].rstrip("\r").partition(" ")
        answer.setdefault(tag, []).append(rest)
    return answer if "end" in answer else None
