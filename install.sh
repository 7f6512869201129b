#!/usr/bin/env bash
#
# Sets up ttc in .venv beside this file: finds a Python and hands over to ttc_cli/building, which
# compiles llama.cpp for this very processor, runs a real decode in a child process, fetches a model,
# and says what to type next. Safe to run again.
#
# It must run under macOS's bash 3.2: no associative arrays, no ${x,,}, no mapfile, no arrays
# that may be empty under `set -u`.

set -euo pipefail

# Programs are looked for in absolute folders alone: the one that this is called from may be anybody's.
keep_absolute() {
  local rest="$PATH:" folder kept=""
  while [ -n "$rest" ]; do
    folder="${rest%%:*}"
    rest="${rest#*:}"
    case "$folder" in /*) kept="$kept${kept:+:}$folder" ;; esac
  done
  PATH="${kept:-/usr/bin:/bin}"
}

keep_absolute
unset CDPATH # with it, cd may lead elsewhere, and prints where
ROOT="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
readonly ROOT
readonly PROGRAM="./install.sh"

# fail MESSAGE NEXT_COMMAND
fail() {
  printf 'error: %s\n  try: %s\n' "$1" "$2" >&2
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# name_package_command APT DNF OTHER: what to type to install packages.
name_package_command() {
  local sudo=""
  if [ "$(id -u)" != 0 ]; then sudo="sudo "; fi
  if have apt-get; then
    echo "${sudo}apt-get install -y $1"
  elif have dnf; then
    echo "${sudo}dnf install -y $2"
  elif have zypper; then
    echo "${sudo}zypper install -y $3"
  elif have pacman; then
    echo "${sudo}pacman -S --needed $3"
  elif have apk; then
    echo "${sudo}apk add $3"
  elif have brew; then
    echo "brew install $3"
  else
    echo "install $3 with this system's package manager"
  fi
}

# Ubuntu 22.04's python3 is 3.10, but it also has python3.11.
name_apt_packages() {
  case "$(apt-cache policy python3 2>/dev/null | sed -n 's/^ *Candidate: //p')" in
    3.[0-9].* | 3.10.* | '') echo "python3.11 python3.11-venv" ;;
    *) echo "python3 python3-venv" ;;
  esac
}

# Prints what --python names.
find_wanted() {
  local before="" argument
  for argument in "$@"; do
    if [ "$before" = --python ]; then printf '%s\n' "$argument"; fi
    case "$argument" in --python=*) printf '%s\n' "${argument#*=}" ;; esac
    before="$argument"
  done | tail -n 1
}

# find_python WANTED: sets PYTHON to it, or to the first that is new enough and has venv.
find_python() {
  local name found version without_venv=""
  for name in ${1:+"$1"} python3 python3.13 python3.12 python3.11 python3.14; do
    if [ -n "$1" ] && [ "$name" != "$1" ]; then break; fi
    found="$(command -v "$name" 2>/dev/null || true)"
    if [ -z "$found" ] \
      || ! "$found" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
      continue
    fi
    # Debian ships Python without venv and ensurepip.
    if "$found" -c 'import venv, ensurepip' >/dev/null 2>&1; then
      PYTHON="$found"
      return
    fi
    without_venv="${without_venv:-$found}"
  done
  if [ -n "$without_venv" ]; then
    version="$("$without_venv" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
    fail "$without_venv (Python $version) has no venv module." \
      "$(name_package_command "python$version-venv" python3 python3) && $PROGRAM"
  fi
  if [ -n "$1" ]; then
    fail "$1 is not a Python 3.11 or newer." "$PROGRAM --python /path/to/python3.12"
  fi
  fail "No Python 3.11 or newer found." \
    "$(name_package_command "$(name_apt_packages)" python3.12 python3) && $PROGRAM"
}

case "$(uname -s)" in
  Linux | Darwin) ;;
  *) fail "ttc runs on Linux and macOS; on Windows use WSL." "wsl --install" ;;
esac
# What lies in the folder that this is called from is not imported.
unset PYTHONHOME PYTHONPATH
export PYTHONSAFEPATH=1
find_python "$(find_wanted "$@")"
PYTHONPATH="$ROOT" exec "$PYTHON" -P -m ttc_cli.building "$@"
