#!/usr/bin/env bash
# Installs what the tests want of the system: lavapipe, Mesa's Vulkan driver that runs on the processor.
# Debian 12's own (Mesa 22) is refused by Dawn, so it comes from bookworm-backports there.
#
# Exit codes: 0 it is there; 3 it is not, and cannot be installed here (says why); anything else: installing failed.
set -euo pipefail

package=mesa-vulkan-drivers
oldest=23 # Mesa 22 is refused, Mesa 25 is known to work

say() { echo "install-system: $*" >&2; }

installed_version() {
  dpkg-query -W -f '${db:Status-Status} ${Version}' "$package" 2>/dev/null | sed -n 's/^installed //p'
}

is_there() {
  local version
  version=$(installed_version) || true
  [ -n "$version" ] && dpkg --compare-versions "$version" ge "$oldest"
}

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  say "this is no Debian; install Mesa's lavapipe by hand for the tests on it"
  exit 3
fi
if is_there; then
  say "lavapipe is there ($package $(installed_version))"
  exit 0
fi
if [ "$(id -u)" != 0 ]; then
  say "lavapipe is not installed, and installing it takes root: skipped"
  exit 3
fi

# Release names of the sources, and the address of Debian's main archive as this machine has it.
targets() { apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages'; }

codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
from=()
if [ "$codename" = bookworm ]; then
  if ! targets | grep -q ' bookworm-backports main$'; then
    archive=$(targets | awk '$2 == "bookworm" && $3 == "main" { print $1; exit }')
    if [ -z "$archive" ]; then
      say "no source of Debian 12's main archive is set up to derive bookworm-backports from"
      exit 1
    fi
    echo "deb $archive bookworm-backports main" >/etc/apt/sources.list.d/bookworm-backports.list
  fi
  from=(-t bookworm-backports)
fi

export DEBIAN_FRONTEND=noninteractive
apt-get update -qq >&2
apt-get install -y -qq --no-install-recommends "${from[@]}" "$package" libvulkan1 >&2
if ! is_there; then
  say "$package is still $(installed_version), older than $oldest"
  exit 1
fi
say "lavapipe is installed ($package $(installed_version))"
