#!/bin/sh
# Brings .venv and the system's packages up to what a make target needs, and says each thing it does.
#
#   scripts/setup.sh demo    the daemon and the demo's fallback broker; never torch
#   scripts/setup.sh dev     the same, and the linters, the tests and the trainer with torch
#   scripts/setup.sh test    dev, and the system packages that the end-to-end tests use
#
# Needs python3 (3.10 to 3.13) with pip. A repeated run finds its stamp and does nothing; a changed lock installs again.
#   PYTHON=python3.12    another interpreter than the first that fits
#   TORCH=any            torch as pip finds it, also where that is the CUDA build of several GB (default: cpu)
#   TORCH=none           no torch; the trainer's tests are skipped
set -eu
cd "$(dirname "$0")/.."

CPU_INDEX=https://download.pytorch.org/whl/cpu
DEMO_PACKAGES='libportaudio2 mosquitto'    # neither is required: a microphone needs the first, amqtt replaces the second
TEST_PACKAGES='libportaudio2 mosquitto mosquitto-clients pulseaudio pulseaudio-utils libasound2-plugins fuse3 strace
    shellcheck systemd systemd-container chromium
    gcc libc6-dev cmake make gcc-arm-none-eabi libnewlib-arm-none-eabi'    # the last line: the reference firmware

say() { echo "setup: $*"; }
fail() { echo "setup: $*" >&2; exit 1; }

# Settings that suit a person's own pip and break ours.
export PIP_USER=no PIP_REQUIRE_VIRTUALENV=no PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

python_fits() { "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null; }

find_python() {
    for python in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.10}; do
        if python_fits "$python"; then return; fi
    done
    fail "no Python 3.10 to 3.13 among: ${PYTHON:-python3 python3.13 ... python3.10}. Name one: make demo PYTHON=/path/to/python3.12"
}

venv_serves() {  # a venv holds absolute paths: it survives neither a moved checkout nor a removed interpreter
    python_fits .venv/bin/python && .venv/bin/python -c 'import pip' 2>/dev/null && grep -qF "$(pwd)/.venv" .venv/bin/activate &&
        { [ -z "${PYTHON:-}" ] || [ "$("$PYTHON" --version)" = "$(.venv/bin/python --version)" ]; }
}

make_venv() {
    if [ -e .venv ]; then
        if venv_serves; then return; fi
        say "the .venv here is incomplete, of another Python, or made somewhere else: making it anew"
    fi
    find_python
    "$python" -m pip --version >/dev/null 2>&1 ||
        fail "$python has no pip. On Debian or Ubuntu: sudo apt-get install python3-pip"
    say "making .venv with $("$python" --version)"
    rm -rf .venv
    # Debian's python3 comes without ensurepip, so that a plain 'python3 -m venv' fails; and its pip refuses to install
    # outside a venv, except with --target. Both halves work on every Python, and from pip 22.0 (Ubuntu 22.04) on.
    "$python" -m venv --without-pip .venv
    "$python" -m pip install --quiet --require-hashes --target .venv/bootstrap -r requirements/bootstrap.lock
    PYTHONPATH=.venv/bootstrap .venv/bin/python -m pip install --quiet --ignore-installed --require-hashes \
        -r requirements/bootstrap.lock
    rm -rf .venv/bootstrap
}

pip() { .venv/bin/python -m pip "$@"; }

fingerprint() {  # of everything that decides what .venv holds
    { cat requirements/*.lock pyproject.toml scripts/setup.sh; .venv/bin/python --version; echo "${TORCH:-cpu}"; } | sha256sum
}

fresh() { [ "$(cat ".venv/$1.stamp" 2>/dev/null)" = "$(fingerprint)" ]; }

install_locked() {  # demo or dev
    say "installing requirements/$1.lock (the first time takes a minute or two)"
    pip install --quiet --require-hashes -r requirements/bootstrap.lock    # a venv from before may have older ones
    # Wheels only, so that nothing is compiled by surprise; except cobs, which has none for Linux. Without a compiler its
    # build falls back to its pure Python half.
    pip install --quiet --only-binary :all: --no-binary cobs --no-build-isolation --require-hashes -r "requirements/$1.lock"
    PYTHONWARNINGS=ignore pip install --quiet --no-deps --no-build-isolation --editable .
}

torch_version() { .venv/bin/python -c 'from importlib.metadata import version as v; print(v("torch").split("+")[0])' 2>/dev/null; }

cpu_index_answers() {
    .venv/bin/python -c 'import sys, urllib.request as u; u.urlopen(sys.argv[1], timeout=3)' "$CPU_INDEX/filelock/" 2>/dev/null
}

pip_finds_cpu_build() {  # of the requirement $1, that is: nothing of NVIDIA's comes along
    pip install --quiet --dry-run --only-binary :all: --report - "$1" 2>/dev/null | .venv/bin/python -c '
import json, sys
names = [item["metadata"]["name"] for item in json.load(sys.stdin)["install"]]
sys.exit(any(name.startswith(("nvidia", "cuda", "triton")) for name in names))' 2>/dev/null
}

# Torch is not in the locks: its file differs by index. What it needs is (requirements/torch-deps.in), hence --no-deps.
# PyTorch's CPU index has the small build for every Python; where it does not answer, pip may know another source of one
# (PIP_FIND_LINKS, PIP_EXTRA_INDEX_URL). Plain PyPI has the CUDA build only: several GB that nobody asked for by saying
# 'make test', so without TORCH=any the trainer's tests are skipped there, by name, and all others run.
install_torch() {
    torch=$(grep -o 'torch==[0-9.]*' pyproject.toml)
    if [ "$(torch_version)" = "${torch#torch==}" ]; then return; fi
    if [ "${TORCH:-cpu}" = none ]; then
        return
    elif [ "${TORCH:-cpu}" = any ]; then
        say "installing $torch, whichever build pip finds"
        pip install --only-binary :all: "$torch"
    elif cpu_index_answers; then
        say "installing $torch for the CPU"
        pip install --quiet --only-binary :all: --no-deps --index-url "$CPU_INDEX" "$torch"
    elif pip_finds_cpu_build "$torch"; then
        say "installing $torch"
        pip install --quiet --only-binary :all: --no-deps "$torch"
    fi
}

mention_missing_torch() {
    if torch_version >/dev/null; then return; fi
    say "no torch: the trainer's tests will be skipped. TORCH=any takes any build, the CUDA one (several GB) included."
    if [ -n "${CI:-}" ] && [ "${TORCH:-cpu}" != none ]; then fail "in CI nothing may be left out, unless TORCH=none says so"; fi
}

missing_packages() {
    for package; do
        dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || printf '%s ' "$package"
    done
}

apt() {  # --no-remove: on a desktop pulseaudio would push PipeWire out; then we do without pulseaudio
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 "$@" </dev/null
}

system_packages() {
    if ! command -v dpkg-query >/dev/null; then
        say "not Debian or Ubuntu: install the like of these yourself: $*"
        return
    fi
    missing=$(missing_packages "$@")
    if [ -z "$missing" ] || [ "$missing" = "$(cat .venv/system.unavailable 2>/dev/null)" ]; then return; fi
    if [ "$(id -u)" = 0 ]; then as_root=
    elif sudo -n true 2>/dev/null; then as_root='sudo -n'
    else return 0  # mention_missing_packages says what a person can do
    fi
    say "installing the system packages $missing"
    apt update || say "apt-get update had errors; going on with the lists that are there"
    # All at once, or else each by itself, so that one that cannot come leaves the others.
    apt install -y --no-install-recommends --no-remove $missing >/dev/null ||
        for package in $missing; do apt install -y --no-install-recommends --no-remove "$package" >/dev/null || true; done
    case $missing in *'mosquitto '*)
        # Demo and tests start brokers of their own; the package's service, always on, is none of our business.
        if [ -d /run/systemd/system ]; then $as_root systemctl disable --quiet --now mosquitto.service || true; fi ;;
    esac
    missing_packages "$@" > .venv/system.unavailable
}

mention_missing_packages() {
    missing=$(missing_packages "$@")
    if [ -z "$missing" ]; then return; fi
    say "these optional system packages are missing; what needs them is left out: $missing"
    say "    sudo apt-get install --no-install-recommends $missing"
    if [ -n "${CI:-}" ]; then fail "in CI nothing may be left out"; fi
}

case ${1:-} in
    demo) lock=demo; packages=$DEMO_PACKAGES ;;
    dev)  lock=dev;  packages= ;;
    test) lock=dev;  packages=$TEST_PACKAGES ;;
    *)    fail "say which: scripts/setup.sh demo, dev or test" ;;
esac

make_venv
if ! fresh dev && ! fresh "$lock"; then
    install_locked "$lock"
    if [ "$lock" = dev ]; then install_torch; fi
    fingerprint > ".venv/$lock.stamp"
fi
if [ "$lock" = dev ]; then mention_missing_torch; fi
system_packages $packages
mention_missing_packages $packages
