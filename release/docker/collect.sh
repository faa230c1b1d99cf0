#!/bin/sh
# Collects what the image holds beside the program: the C and C++ libraries that Node.js is linked with, iptables in both
# variants with everything it may load, and a few lines of /etc. Run by the Dockerfile, and by anyone who wants to see:
#
#   collect.sh ARCH DIR [SUITE]      collect.sh arm64 /tmp/root trixie
#
# From signed packages of Debian of whatever architecture; none of their programs is run, so that no emulation is needed.
# Needs apt-get and dpkg-deb; installs nothing, and leaves this machine's apt alone. Status 3: Debian cannot be reached.
set -eu
umask 022
export LC_ALL=C

# Extensions of iptables name two more (connlabel). base-files says which Debian the packages are of, for scanners.
PACKAGES='base-files iptables libc6 libgcc-s1 libip4tc2 libip6tc2 libmnl0 libnetfilter-conntrack3 libnfnetlink0
  libnftnl11 libstdc++6 libxtables12 netbase'
LIBRARIES='libc.so.6 libdl.so.2 libm.so.6 libpthread.so.0 libgcc_s.so.1 libstdc++.so.6
  libip4tc.so.2 libip6tc.so.2 libmnl.so.0 libnetfilter_conntrack.so.3 libnfnetlink.so.0 libnftnl.so.11 libxtables.so.12'
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
MIRROR=http://deb.debian.org

fail() {
  printf 'collect.sh: %s\n' "$*" >&2
  exit "${status:-1}"
}

main() {
  [ $# -ge 2 ] || status=2 fail 'give the architecture (amd64 or arm64) and the folder to make'
  arch=$1 root=$2 suite=${3:-trixie}
  case $arch in
    amd64) triplet=x86_64-linux-gnu loader=lib64/ld-linux-x86-64.so.2 ;;
    arm64) triplet=aarch64-linux-gnu loader=lib/ld-linux-aarch64.so.1 ;;
    *) status=2 fail "there is no image for \"$arch\", only for amd64 and arm64" ;;
  esac
  [ ! -e "$root" ] || status=2 fail "$root is there already; give a folder to be made"
  [ -f "$KEYRING" ] || fail "there is no $KEYRING to check packages with; install debian-archive-keyring"
  work=$(mktemp -d "${TMPDIR:-/tmp}/kube-proxy-collect.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  trap 'exit 1' HUP INT TERM
  download
  mkdir -p "$root"
  folders
  libraries
  iptables_programs
  settings
  provenance
  # What is in a layer does not depend on when it was made.
  find "$root" -exec touch --no-dereference --date="@${SOURCE_DATE_EPOCH:-0}" {} +
}

# With the archive's own lists of packages, for that architecture, and never with this machine's.
download() {
  mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/parts" "$work/debs" "$work/all"
  : >"$work/status"
  cat >"$work/sources.list" <<LIST
deb [signed-by=$KEYRING] $MIRROR/debian $suite main
deb [signed-by=$KEYRING] $MIRROR/debian $suite-updates main
deb [signed-by=$KEYRING] $MIRROR/debian-security $suite-security main
LIST
  cat >"$work/apt.conf" <<CONF
APT::Architecture "$arch";
APT::Architectures { "$arch"; };
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "20";
Dir::State "$work";
Dir::State::lists "$work/lists";
Dir::State::status "$work/status";
Dir::Cache "$work/cache";
Dir::Etc::sourcelist "$work/sources.list";
Dir::Etc::sourceparts "$work/parts";
CONF
  export APT_CONFIG="$work/apt.conf"
  apt-get -qq update >&2 || status=3 fail "the lists of packages of $MIRROR cannot be had"
  # shellcheck disable=SC2086 # one word for each
  fetch $PACKAGES
  # It has the licence of GCC's libraries; its name tells the version of GCC.
  fetch "$(dpkg-deb --field "$work"/debs/libgcc-s1_*.deb Depends | grep -o 'gcc-[0-9]*-base')"
  for deb in "$work"/debs/*.deb; do dpkg-deb -x "$deb" "$work/all"; done
}

fetch() {
  (cd "$work/debs" && apt-get -qq download "$@" >&2) || status=3 fail "packages of $MIRROR cannot be had: $*"
}

# Where container runtimes and Kubernetes mount something, it is there already.
folders() {
  mkdir -p "$root/usr/bin" "$root/usr/sbin" "$root/usr/lib/$triplet/xtables" "$root/usr/lib64" "$root/usr/lib/modules" \
    "$root/etc" "$root/usr/local/bin" "$root/var/lib/kube-proxy" "$root/proc" "$root/sys" "$root/dev" "$root/run"
  mkdir -m 1777 "$root/tmp" "$root/var/tmp"
  for name in bin sbin lib lib64; do ln -s "usr/$name" "$root/$name"; done
  ln -s ../run "$root/var/run"
}

# A library is a file and the name that programs know it by, a link to it. Debian has them in /lib or in /usr/lib.
libraries() {
  for name in $LIBRARIES "${loader##*/}"; do
    from=
    for folder in "$work/all/usr/lib/$triplet" "$work/all/lib/$triplet"; do
      [ ! -e "$folder/$name" ] || from=$folder
    done
    [ -n "$from" ] || fail "no package of $suite has $name"
    target=$(readlink "$from/$name" || echo "$name")
    cp -p "$from/$target" "$root/usr/lib/$triplet/$target"
    [ "$target" = "$name" ] || ln -s "$target" "$root/usr/lib/$triplet/$name"
  done
  [ -e "$root/usr/$loader" ] || case $loader in
    lib/*) ln -s "$triplet/${loader##*/}" "$root/usr/$loader" ;;
    *) ln -s "../lib/$triplet/${loader##*/}" "$root/usr/$loader" ;;
  esac
}

# Both variants, since the rules of this node are in the one that its kubelet uses. All extensions for IP, since
# iptables-save must be able to print rules of others, too. `iptables` is the nft variant, as in Debian.
iptables_programs() {
  for variant in nft legacy; do
    cp -p "$work/all/usr/sbin/xtables-$variant-multi" "$root/usr/sbin/"
    for family in iptables ip6tables; do
      for action in '' -save -restore; do ln -s "xtables-$variant-multi" "$root/usr/sbin/$family-$variant$action"; done
    done
  done
  for family in iptables ip6tables; do
    for action in '' -save -restore; do ln -s "$family-nft$action" "$root/usr/sbin/$family$action"; done
  done
  for kind in xt ipt ip6t; do
    cp -P "$work/all/usr/lib/$triplet/xtables/lib${kind}_"*.so "$root/usr/lib/$triplet/xtables/"
  done
}

settings() {
  cp "$work/all/etc/protocols" "$root/etc/protocols"
  echo 'root:x:0:0:root:/:/nonexistent' >"$root/etc/passwd"
  echo 'root:x:0:' >"$root/etc/group"
  printf 'hosts: files dns\nprotocols: files\n' >"$root/etc/nsswitch.conf"
}

# What scanners of images look for, and what the licences ask for.
provenance() {
  cp "$work/all/etc/debian_version" "$root/etc/debian_version"
  cp "$work/all/usr/lib/os-release" "$root/usr/lib/os-release"
  ln -s ../usr/lib/os-release "$root/etc/os-release"
  mkdir -p "$root/var/lib/dpkg/status.d"
  for deb in "$work"/debs/*.deb; do
    name=$(dpkg-deb --field "$deb" Package)
    dpkg-deb --field "$deb" >"$root/var/lib/dpkg/status.d/$name"
    mkdir -p "$root/usr/share/doc/$name"
    cp -L "$work/all/usr/share/doc/$name/copyright" "$root/usr/share/doc/$name/copyright"
    printf '%s %s\n' "$name" "$(dpkg-deb --field "$deb" Version)"
  done
}

main "$@"
