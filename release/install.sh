#!/bin/sh
# Installs kube-proxy on a plain node, or takes it away again. Nothing runs before the last line, so that a download cut
# short does nothing. `install.sh --help` says the rest.
set -eu
umask 022
export LC_ALL=C CDPATH=

NAME=kube-proxy
UNIT_PATH=/etc/systemd/system/kube-proxy.service
CONFIG_PATH=/etc/kube-proxy
LICENCES='LICENSE THIRD-PARTY-NOTICES'
# What is installed (sha256sum's format), the folders made for it, and what it replaced.
STATE_PATH=/var/lib/kube-proxy-install

usage() {
  cat <<'TEXT'
Usage: install.sh --from DIR|URL [--sums FILE] [--prefix DIR] [--root DIR] [--arch x64|arm64] [--no-service]
       install.sh --uninstall [--cleanup] [--root DIR]
       install.sh --version [--root DIR]

Installs PREFIX/bin/kube-proxy, its man page and licences, and a systemd unit with example files in /etc/kube-proxy. It
starts and enables nothing. What it replaces is kept, and put back by --uninstall. Nothing is changed before every file
is there and has the digest that SHA256SUMS says. A second run changes nothing.

  --from DIR|URL   where the files of a release are: a folder, or what stands before their names in https://…
  --sums FILE      a SHA256SUMS that you have from elsewhere and trust; else the one of --from, which shows that files
                   arrived whole, not who made them. Needed for http://, and for https:// without curl
  --prefix DIR     instead of /usr/local
  --root DIR       install into the tree of another system, mounted or unpacked there; nothing of it is run, and where
                   its links lead out of it, nothing is changed
  --arch ARCH      instead of this machine's
  --no-service     no systemd unit and no example files
  --uninstall      remove what was installed and not changed since. Rules stay in the kernel and go on serving
  --cleanup        with --uninstall: first remove all rules, too (kube-proxy cleanup)
  --version        what is installed
  --help           this
TEXT
}

say() { printf '%s: %s\n' install.sh "$*"; }
fail() {
  printf '%s: %s\n' install.sh "$*" >&2
  exit "${status:-1}"
}
misused() { status=2 fail "$*; see install.sh --help"; }

read_arguments() {
  action=install from='' sums='' prefix=/usr/local root='' arch='' service=yes cleanup=no
  while [ $# -gt 0 ]; do
    case $1 in
      --from | --sums | --prefix | --root | --arch)
        [ -n "${2:-}" ] || misused "$1 needs a value"
        case $1 in
          --from) from=$2 ;;
          --sums) sums=$2 ;;
          --prefix) prefix=${2%/} ;;
          --root) root=${2%/} ;;
          --arch) arch=$2 ;;
        esac
        shift
        ;;
      --no-service) service=no ;;
      --uninstall) action=uninstall ;;
      --cleanup) cleanup=yes ;;
      --version) action=version ;;
      --help | -h) action=help ;;
      *) misused "unknown argument \"$1\"" ;;
    esac
    shift
  done
  # It is written into the unit, whose words end at blanks.
  case $prefix in
    *[!A-Za-z0-9._/+-]* | *..*) misused "--prefix \"$prefix\" has characters other than letters, digits and ._/+-" ;;
    /*) ;;
    *) misused "--prefix \"$prefix\" does not begin with /" ;;
  esac
  [ -d "$root/" ] || misused "--root \"$root\" is no folder"
  [ -z "$root" ] || root=$(cd -P -- "$root/" && pwd -P)
  [ "$root" != / ] || root=''
  [ "$cleanup" = no ] || [ "$action" = uninstall ] || misused '--cleanup goes with --uninstall'
  [ "$cleanup" = no ] || [ -z "$root" ] || misused '--cleanup is for this host and cannot be combined with --root'
  [ "$action" != install ] || [ -n "$from" ] || misused '--from is missing'
  state=$root$STATE_PATH
}

main() {
  read_arguments "$@"
  case $action in
    help) usage ;;
    version) print_version ;;
    *)
      [ -n "$root" ] || [ "$(id -u)" -eq 0 ] || fail "only root can $action"
      "$action"
      ;;
  esac
}

# ---- digests ----

digest() { sha256sum <"$1" | cut -c1-64; }

# Is this file, a path without the root, as we installed it?
is_ours() { # path
  [ -f "$root$1" ] && [ -f "$state/installed" ] && grep -qxF "$(digest "$root$1")  $1" "$state/installed"
}

# The digest that SHA256SUMS has for a name; nothing if it has none.
listed_digest() { # name
  awk -v name="$1" '$2 == name || $2 == "*" name { print $1; exit }' "$work/SHA256SUMS"
}

# An absolute link in the tree of another system means a place in it, and here it leads to one of this host's.
check_stays_in_root() { # path
  [ -n "$root" ] || return 0
  folder=$(dirname "$root$1")
  while [ ! -e "$folder" ] && [ ! -L "$folder" ]; do folder=$(dirname "$folder"); done
  real=$(cd -P -- "$folder" 2>/dev/null && pwd -P) || fail "$folder leads to no folder; make it one; nothing was changed"
  case $real/ in
    "$root"/*) ;;
    *) fail "$folder leads to $real, out of $root; make its links relative, or run this in a chroot; nothing was changed" ;;
  esac
}

# ---- getting the files ----

fetch() { # name: into the work folder; fails if it is not there
  case $from in
    https://* | http://*)
      if command -v curl >/dev/null 2>&1; then
        curl --fail --silent --show-error --location --proto '=https,http' --proto-redir '=https' \
          --output "$work/$1" -- "${from%/}/$1"
      elif command -v wget >/dev/null 2>&1; then
        # Follows a redirect to http://, and busybox's checks no certificate: hence --sums, which is demanded below.
        wget -q -O "$work/$1" -- "${from%/}/$1"
      else
        fail "neither curl nor wget is installed; install one, or download the files and give their folder"
      fi
      ;;
    *) cp -- "$from/$1" "$work/$1" ;;
  esac
}

fetch_checked() { # name
  wanted=$(listed_digest "$1")
  [ "${#wanted}" -eq 64 ] || fail "SHA256SUMS has no digest of $1; nothing was changed"
  fetch "$1" || fail "$from/$1 could not be read; nothing was changed"
  found=$(digest "$work/$1")
  [ "$found" = "$wanted" ] ||
    fail "$1 has the SHA-256 $found, and SHA256SUMS says $wanted: it is damaged or not what it should be; nothing was changed"
}

machine() {
  case $(uname -m) in
    x86_64 | amd64) echo x64 ;;
    aarch64 | arm64) echo arm64 ;;
    *) fail "there is no executable for $(uname -m), only for x86_64 and aarch64" ;;
  esac
}

# ---- putting them in place ----

# With those above it. Those that were missing are noted in $made, the innermost first.
make_folder() { # path
  [ ! -d "$root$1/" ] || return 0
  make_folder "$(dirname "$1")"
  mkdir "$root$1"
  made="$1 $made"
}

# Beside its place first, where whatever can go wrong does, and where the kernel can rename it at once.
stage() { # source, path, mode
  make_folder "$(dirname "$2")"
  staged="$staged $2"
  cp -- "$1" "$root$2.new-$$"
  chmod "$3" "$root$2.new-$$"
}

content() { readlink "$1" || digest "$1"; }

# What was there and is not ours is kept, once for each content.
keep_replaced() { # path
  [ -e "$root$1" ] || [ -L "$root$1" ] || return 0
  ! is_ours "$1" || return 0
  kept=$state/replaced$1
  mkdir -p "$(dirname "$kept")"
  if [ -e "$kept" ] || [ -L "$kept" ]; then
    [ "$(content "$kept")" != "$(content "$root$1")" ] || return 0
    number=1
    while [ -e "$kept.$number" ] || [ -L "$kept.$number" ]; do number=$((number + 1)); done
    mv -- "$kept" "$kept.$number"
  fi
  cp -Pp -- "$root$1" "$kept"
  say "kept the $1 that was there as $kept"
}

cleanup_work() {
  for path in $staged; do rm -f "$root$path.new-$$"; done
  # Of an installation that did not come about they are empty.
  remove_empty "$made"
  rm -rf "$work"
}

install() {
  [ -n "$arch" ] || arch=$(machine)
  case $arch in x64 | arm64) ;; *) misused "--arch \"$arch\" is neither x64 nor arm64" ;; esac
  case $from in
    http://*) [ -n "$sums" ] || misused 'over http:// anybody on the way can change the files; give --sums, or https://' ;;
    https://*)
      [ -n "$sums" ] || command -v curl >/dev/null 2>&1 || ! command -v wget >/dev/null 2>&1 ||
        misused 'wget may be led to http:// without a word, where anybody can change the files; install curl, or give --sums'
      ;;
    *) [ -d "$from" ] || misused "--from \"$from\" is no folder" ;;
  esac
  check_stays_in_root "$STATE_PATH/installed"
  staged='' made=''
  work=$(mktemp -d "${TMPDIR:-/tmp}/kube-proxy-install.XXXXXX")
  trap cleanup_work EXIT
  trap 'exit 1' HUP INT TERM

  if [ -n "$sums" ]; then
    cp -- "$sums" "$work/SHA256SUMS" || fail "--sums \"$sums\" cannot be read"
  else
    fetch SHA256SUMS || fail "$from/SHA256SUMS could not be read; nothing was changed"
  fi
  program=$prefix/bin/$NAME
  for name in "$NAME-linux-$arch" "$NAME.8" $LICENCES; do fetch_checked "$name"; done
  [ "$service" = no ] || for name in $NAME.service $NAME.env $NAME-config.yaml; do fetch_checked "$name"; done

  paths=''
  wants "$work/$NAME-linux-$arch" "$program" 755
  check_that_it_runs
  wants "$work/$NAME.8" "$prefix/share/man/man8/$NAME.8" 644
  for name in $LICENCES; do wants "$work/$name" "$prefix/share/doc/$NAME/$name" 644; done
  if [ "$service" = yes ]; then
    sed "s|/usr/local/bin/$NAME|$program|g" "$work/$NAME.service" >"$work/unit"
    wants "$work/unit" "$UNIT_PATH" 644
    # An administrator's own, from the first edit on.
    wants_if_absent "$work/$NAME.env" "$CONFIG_PATH/$NAME.env" 644
    wants_if_absent "$work/$NAME-config.yaml" "$CONFIG_PATH/config.yaml" 644
  fi
  if [ -z "$paths" ]; then
    say "all is in place already ($(program_version)); nothing was changed"
    return 0
  fi
  put_in_place
  say "installed $(program_version):$paths"
  after_install
}

# Stages a file that differs from what is there, and notes its path.
wants() { # source, path, mode
  check_stays_in_root "$2"
  [ ! -d "$root$2" ] || fail "$root$2 is a folder; move it away; nothing was changed"
  if [ -f "$root$2" ] && [ ! -L "$root$2" ] && [ "$(digest "$1")" = "$(digest "$root$2")" ]; then
    # It was there before us, with the very content: not ours to remove.
    is_ours "$2" || say "$2 was there already, with this content; it stays when kube-proxy is uninstalled"
    return 0
  fi
  stage "$1" "$2" "$3"
  paths="$paths $2"
}

wants_if_absent() { # source, path, mode
  [ -e "$root$2" ] || [ -L "$root$2" ] || wants "$@"
}

# On this machine, from where it will be, so that neither its C library nor a noexec mount is a surprise afterwards.
check_that_it_runs() {
  case " $paths " in *" $program "*) ;; *) return 0 ;; esac
  [ -z "$root" ] && [ "$arch" = "$(machine)" ] || return 0
  "$program.new-$$" version >/dev/null 2>"$work/fault" ||
    fail "the executable does not run on this machine: $(head -n 1 "$work/fault"); nothing was changed"
}

put_in_place() {
  make_folder "$STATE_PATH"
  for path in $made; do echo "$path"; done >>"$state/folders"
  touch "$state/installed"
  for path in $paths; do keep_replaced "$path"; done
  # Noted before it happens: whatever interrupts us, no file of ours is ever taken for somebody else's.
  cp -p "$state/installed" "$state/installed.new"
  for path in $paths; do echo "$(digest "$root$path.new-$$")  $path" >>"$state/installed.new"; done
  mv -f "$state/installed.new" "$state/installed"
  for path in $paths; do mv -f "$root$path.new-$$" "$root$path"; done
  staged=''
  # Versions before this one are history.
  : >"$state/installed.new"
  while read -r sum path; do
    case " $paths " in
      *" $path "*) [ "$sum" != "$(digest "$root$path")" ] || echo "$sum  $path" >>"$state/installed.new" ;;
      *) echo "$sum  $path" >>"$state/installed.new" ;;
    esac
  done <"$state/installed"
  sort -u -o "$state/installed.new" "$state/installed.new"
  mv -f "$state/installed.new" "$state/installed"
}

# ---- systemd, if it runs here ----

systemd_runs() { [ -z "$root" ] && [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1; }

after_install() {
  [ "$service" = yes ] || return 0
  if systemd_runs; then
    case " $paths " in *" $UNIT_PATH "*) systemctl daemon-reload ;; esac
    if systemctl is-active --quiet "$NAME"; then
      say "the service still runs what was there before: systemctl restart $NAME (rules stay in force meanwhile)"
      return 0
    fi
  fi
  start="systemctl enable --now $NAME"
  [ -z "$root" ] || start="systemctl --root=$root enable $NAME; it starts when that system does"
  say "next: edit $root$CONFIG_PATH/config.yaml or $NAME.env there, then $start"
}

# ---- taking it away ----

uninstall() {
  if [ ! -f "$state/installed" ]; then
    say 'nothing is installed that this script knows of; nothing was changed'
    return 0
  fi
  program=$(sed -n "s|^[0-9a-f]*  \(/.*/bin/$NAME\)\$|\1|p" "$state/installed" | head -n 1)
  was_active=no left='' folders=''
  paths=$(awk '{ print $2 }' "$state/installed" | sort -u)
  for path in $STATE_PATH/installed $paths; do check_stays_in_root "$path"; done
  if systemd_runs && grep -qsF "$program" "$UNIT_PATH"; then
    ! systemctl is-active --quiet "$NAME" || was_active=yes
    if has_kept "$UNIT_PATH"; then systemctl stop "$NAME"; else systemctl --quiet disable --now "$NAME"; fi
  fi
  if [ "$cleanup" = yes ]; then
    is_ours "$program" || fail "$program is not what was installed; run its own cleanup, then --uninstall without --cleanup"
    "$program" cleanup ||
      fail "cleanup failed, as said above; nothing was removed, and the service is stopped. Run it again, or without --cleanup"
  fi
  for path in $paths; do take_away "$path"; done
  [ -z "$left" ] || say "left, because they were changed:$left"
  # What is in a folder sorts after it.
  [ ! -f "$state/folders" ] || folders=$(sort -ru "$state/folders")
  rm -f "$state/installed" "$state/installed.new" "$state/folders"
  find "$state" -depth -type d -exec rmdir {} + 2>/dev/null || :
  [ ! -d "$state" ] || say "more that was replaced is in $state/replaced"
  remove_empty "$folders"
  if systemd_runs; then
    systemctl daemon-reload
    [ "$was_active" = no ] || [ ! -e "$UNIT_PATH" ] || [ ! -e "$program" ] || systemctl start "$NAME"
  fi
  [ "$cleanup" = yes ] || [ -n "$root" ] ||
    say 'rules that kube-proxy made are still in force; the command cleanup of any copy of it removes them, or a reboot'
  say 'uninstalled'
}

remove_empty() { # paths, the innermost first
  for path in $1; do rmdir "$root$path" 2>/dev/null || :; done
}

has_kept() { [ -e "$state/replaced$1" ] || [ -L "$state/replaced$1" ]; }

take_away() { # path
  if is_ours "$1"; then
    if has_kept "$1"; then
      cp -Pp -- "$state/replaced$1" "$root$1.new-$$"
      mv -f -- "$root$1.new-$$" "$root$1"
      rm -f "$state/replaced$1"
      say "put back the $1 that was there before"
    else
      rm -f "$root$1"
    fi
  elif [ -e "$root$1" ] || [ -L "$root$1" ]; then
    left="$left $1"
  elif has_kept "$1"; then
    mkdir -p "$(dirname "$root$1")"
    mv -- "$state/replaced$1" "$root$1"
    say "put back the $1 that was there before"
  fi
}

# ---- what is installed ----

program_version() {
  if [ -z "$root" ] && [ "${arch:-$(machine)}" = "$(machine)" ]; then
    "$program" version 2>/dev/null | head -n 1
  else
    echo "$NAME for ${arch:-another machine}"
  fi
}

print_version() {
  if [ ! -f "$state/installed" ]; then
    say 'nothing is installed that this script knows of'
    return 0
  fi
  while read -r sum path; do
    if is_ours "$path"; then echo "$sum  $path"; else echo "changed since it was installed: $path"; fi
    case $path in */bin/"$NAME") [ -n "$root" ] || { program=$path; program_version; } ;; esac
  done <"$state/installed"
}

main "$@"
