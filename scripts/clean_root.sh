#!/usr/bin/env bash
# Proves the set-up: makes a bare Debian that has only python3, pip and make, and runs a make target of this commit in it.
#
#   sudo scripts/clean_root.sh FOLDER TARGET...     scripts/clean_root.sh /tmp/clean demo ARGS=--help
#
#   SUITE=bookworm        the release, for debootstrap (Ubuntu's too, with MIRROR=)
#   RUN_AS=root           any other name: an ordinary user, who may install no system packages
#   KEEP=1                go on in the root of the last run: a repeated run must start at once
#
# FOLDER/base-SUITE is kept and copied to FOLDER/root for each run. What pip is told on this machine (PIP_*, pip.conf), it
# is told in there too. Mounts live in a namespace of their own and go with the last process, whatever happens.
set -euo pipefail

folder=$(realpath -m "${1:?say in which folder}")
shift
targets=("${@:?say which make target}")
suite=${SUITE:-bookworm}
base=$folder/base-$suite root=$folder/root
[ "$(id -u)" = 0 ] || { echo "clean_root: chroot and mount need root: sudo $0 $folder ${targets[*]}" >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "clean_root: sudo apt-get install debootstrap" >&2; exit 1; }
cd "$(dirname "$0")/.."

in_root() {  # COMMAND...
    chroot "$root" /usr/bin/env -i PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin LANG=C.UTF-8 "$@"
}

make_base() {
    root=$base.new
    rm -rf "$root"
    debootstrap --variant=minbase "$suite" "$root" ${MIRROR:+"$MIRROR"} >"$folder/debootstrap.log"
    cp -L /etc/resolv.conf "$root/etc/"
    in_root apt-get -qq update
    in_root DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends python3 python3-pip make ca-certificates \
        >>"$folder/debootstrap.log"
    mv "$root" "$base"
    root=$folder/root
}

pip_settings() {  # one line each: NAME=VALUE for the environment; and the local paths that it names, as "path PATH"
    python3 -m pip config list 2>/dev/null | python3 -c '
import ast, sys
settings = {}
for line in sys.stdin:
    name, _, value = line.strip().partition("=")
    scope, _, key = name.partition(".")
    if scope == "global": settings.setdefault(key, ast.literal_eval(value))
    if scope == ":env:": settings[key] = ast.literal_eval(value)
for key, value in settings.items():
    print("PIP_" + key.upper().replace("-", "_") + "=" + " ".join(value.split()))
    for word in value.split():
        path = word.removeprefix("file://")
        if path.startswith("/"):  # a local index points to files beside itself
            print("path", path.rpartition("/")[0] if "index" in key else path)'
}

mkdir -p "$folder"
[ -d "$base" ] || make_base
if [ -z "${KEEP:-}" ] || [ ! -d "$root/src" ]; then
    rm -rf "$root"
    cp -a --reflink=auto "$base" "$root"
    git clone --quiet --no-hardlinks . "$root/src"
    git rev-parse --short HEAD >"$root/commit"
    [ "${RUN_AS:-root}" = root ] || in_root useradd --create-home "$RUN_AS"
    in_root chown -R "${RUN_AS:-root}" /src
fi
cp -L /etc/resolv.conf "$root/etc/"

environment=()
paths=()
while read -r line; do
    case $line in "path "*) paths+=("${line#path }") ;; *) environment+=("$line") ;; esac
done < <(pip_settings)

echo "clean_root: $suite, commit $(cat "$root/commit"), as ${RUN_AS:-root}: make ${targets[*]}"
export root
unshare --mount --pid --fork --kill-child bash -euo pipefail -c '
    bring() {  # a local path of the outside to the same path inside, read-only
        if [ -d "$1" ]; then mkdir -p "$root$1"; else mkdir -p "$(dirname "$root$1")"; touch "$root$1"; fi
        mount --bind -o ro "$1" "$root$1"
    }
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs tmpfs "$root/dev/shm"
    while [ "$1" != -- ]; do bring "$1"; shift; done
    shift
    chroot "$root" "$@"
' bash ${paths[@]+"${paths[@]}"} -- /usr/bin/env -i PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin LANG=C.UTF-8 CI="${CI:-}" \
    "${environment[@]}" /usr/sbin/runuser -u "${RUN_AS:-root}" -- make -C /src "${targets[@]}" </dev/null
