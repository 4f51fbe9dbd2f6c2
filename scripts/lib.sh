# Shared by the scripts; sourced, not run. Sets `root` and moves there.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

note() { printf '== %s\n' "$*"; }
die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# quietly COMMAND...: its output only if it fails.
quietly() {
  local log status=0
  log=$(mktemp)
  "$@" >"$log" 2>&1 || status=$?
  ((status == 0)) || cat "$log" >&2
  rm -f "$log"
  return "$status"
}

as_root() {
  if [[ $(id -u) -eq 0 ]]; then "$@"; else sudo "$@"; fi
}

# missing_packages GROUP...: those of scripts/packages.txt that are not installed.
missing_packages() {
  local group package _rest
  while read -r group package _rest; do
    [[ -n $group && $group != '#'* && " $* " == *" $group "* ]] || continue
    [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || echo "$package"
  done <scripts/packages.txt | sort -u
}

# need GROUP...: installs what is missing of these groups; without effect, and without apt, otherwise.
# A package that starts a service (redis-server) is kept from it: policy-rc.d answers 101, "not allowed".
need() {
  local missing policy=/usr/sbin/policy-rc.d made_policy='' status=0
  mapfile -t missing < <(missing_packages "$@")
  ((${#missing[@]})) || return 0
  if [[ $(id -u) -ne 0 ]] && ! command -v sudo >/dev/null; then
    die "needs root or sudo to install: ${missing[*]}"
  fi
  note "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  quietly as_root apt-get update -q || die "apt-get update failed"
  if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod +x "$policy"
    made_policy=1
  fi
  quietly as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -q -y --no-install-recommends "${missing[@]}" || status=$?
  [[ -z $made_policy ]] || as_root rm -f "$policy"
  ((status == 0)) || die "could not install: ${missing[*]}"
  if [[ " ${missing[*]} " == *' redis-server '* && -d /run/systemd/system ]]; then
    as_root systemctl disable --now --quiet redis-server || true # not at the next boot either
  fi
}

# build_dir PRESET
build_dir() {
  if [[ $1 == release ]]; then echo build; else echo "build-$1"; fi
}

# build PRESET [TARGET...]: configures and builds; prints only what failed. One build of a folder at a
# time: two would overwrite each other's files.
build() {
  local preset=$1 dir
  shift
  dir=$(build_dir "$preset")
  mkdir -p "$dir"
  (
    flock 9
    quietly cmake --preset "$preset" && quietly cmake --build "$dir" ${@:+--target "$@"}
  ) 9>"$dir/.lock"
}

# run_tests PRESET [CTEST-ARGUMENT...]
run_tests() {
  local dir
  dir=$(build_dir "$1")
  shift
  ctest --test-dir "$dir" -j2 --output-on-failure --no-tests=error "$@"
}
