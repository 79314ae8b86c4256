#!/usr/bin/env bash
# Installs what the tests want of the system: lavapipe, Mesa's Vulkan driver that runs on the processor (Debian 12's own,
# Mesa 22, is refused by Dawn, so it comes from bookworm-backports there), and, for tests that are left out without them,
# Chromium and Python's numpy and pandas.
#
# Exit codes, all of them about lavapipe alone: 0 it is there; 3 it is not, and cannot be installed here (says why); anything
# else: installing failed.
set -euo pipefail

package=mesa-vulkan-drivers
oldest=23 # Mesa 22 is refused, Mesa 25 is known to work
updated=no

say() { echo "install-system: $*" >&2; }

version_of() {
  dpkg-query -W -f '${db:Status-Status} ${Version}' "$1" 2>/dev/null | sed -n 's/^installed //p'
}

is_there() {
  local version
  version=$(version_of "$package") || true
  [ -n "$version" ] && dpkg --compare-versions "$version" ge "$oldest"
}

update() {
  [ "$updated" = yes ] && return
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq >&2
  updated=yes
}

# Release names of the sources, and the address of Debian's main archive as this machine has it.
targets() { apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages'; }

lavapipe() {
  local codename archive from=()
  if is_there; then
    say "lavapipe is there ($package $(version_of "$package"))"
    return 0
  fi
  if [ "$(id -u)" != 0 ]; then
    say "lavapipe is not installed, and installing it takes root: skipped"
    return 3
  fi
  codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  if [ "$codename" = bookworm ]; then
    if ! targets | grep -q ' bookworm-backports main$'; then
      archive=$(targets | awk '$2 == "bookworm" && $3 == "main" { print $1; exit }')
      if [ -z "$archive" ]; then
        say "no source of Debian 12's main archive is set up to derive bookworm-backports from"
        return 1
      fi
      echo "deb $archive bookworm-backports main" >/etc/apt/sources.list.d/bookworm-backports.list
    fi
    from=(-t bookworm-backports)
  fi
  update || return 1
  apt-get install -y -qq --no-install-recommends "${from[@]}" "$package" libvulkan1 >&2 || return 1
  if ! is_there; then
    say "$package is still $(version_of "$package"), older than $oldest"
    return 1
  fi
  say "lavapipe is installed ($package $(version_of "$package"))"
}

# What only some tests need: without it they are left out, which is said and is no failure.
extras() {
  local missing=() name
  command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null ||
    missing+=(chromium)
  for name in numpy pandas; do
    python3 -c "import $name" 2>/dev/null || /usr/bin/python3 -c "import $name" 2>/dev/null || missing+=("python3-$name")
  done
  if [ ${#missing[@]} = 0 ]; then
    say "Chromium, numpy and pandas are there"
  elif [ "$(id -u)" != 0 ]; then
    say "${missing[*]}: not installed, and installing takes root: tests that need them are left out"
  elif update && apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2; then
    say "installed: ${missing[*]}"
  else
    say "${missing[*]}: installing failed: tests that need them are left out"
  fi
}

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  say "this is no Debian; install Mesa's lavapipe by hand for the tests on it, Chromium, numpy and pandas for some others"
  exit 3
fi
status=0
lavapipe || status=$?
extras
exit $status
