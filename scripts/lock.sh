#!/bin/sh
# Writes requirements/*.lock: every version and hash, for Python 3.10 and newer, x86-64 and aarch64.
#
#   make lock               add what pyproject.toml newly asks for, keep every other version as it is
#   make lock UPGRADE=1     move everything to the newest that resolves
#
# bootstrap.lock  pip itself, and the build backend
# daemon.lock     what a gateway installs, its page included
# demo.lock       daemon.lock and the demo's fallback broker
# dev.lock        demo.lock, the linters, the tests, and the trainer without torch (see torch-deps.in)
# Each is the next one's constraint, so that one version of a package serves all of them.
set -eu
cd "$(dirname "$0")/.."

UV='uv==0.13.9'
BINARIES='--only-binary :all: --no-binary cobs'    # as in setup.sh
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

echo "lock: fetching $UV"
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target "$scratch" "$UV"
echo torch > "$scratch/excluded"

compile() {  # LOCK INPUT...
    lock=requirements/$1
    shift
    echo "lock: $lock"
    # --no-config and no --emit-index-*: neither an index nor a path of this machine may reach a lock.
    UV_CUSTOM_COMPILE_COMMAND='make lock' "$scratch/bin/uv" pip compile "$@" --output-file "$lock" --quiet --no-config \
        --universal --python-version 3.10 --generate-hashes $BINARIES ${UPGRADE:+--upgrade}
}

compile bootstrap.lock requirements/bootstrap.in
compile daemon.lock pyproject.toml --extra web --constraints requirements/bootstrap.lock
compile demo.lock   pyproject.toml --extra web --extra demo --constraints requirements/daemon.lock
compile dev.lock    pyproject.toml requirements/torch-deps.in --extra web --extra demo --extra dev --extra trainer \
        --excludes "$scratch/excluded" --constraints requirements/demo.lock --constraints requirements/bootstrap.lock

for version in 3.10 3.11 3.12 3.13; do
    for machine in x86_64 aarch64; do
        echo "lock: is there a wheel of everything for Python $version on $machine?"
        "$scratch/bin/uv" pip install --quiet --no-config --dry-run --target "$scratch/none" --python-version "$version" \
            --python-platform "$machine-manylinux_2_28" $BINARIES --require-hashes -r requirements/dev.lock
    done
done

if grep -nE '://|^-|file:|torch==|^nvidia|^triton' requirements/*.lock; then
    echo "lock: the lines above do not belong in a lock; the mend is in scripts/lock.sh or requirements/*.in" >&2
    exit 1
fi
