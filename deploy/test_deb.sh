#!/usr/bin/env bash
# Proves the Debian package of dist/ in a clean root: installed, updated, refused, rolled back, removed, purged.
#
#   make dist && sudo deploy/test_deb.sh [FOLDER]
#
#   SUITE=bookworm    the release, for debootstrap; default: this machine's, for the package is made for its Python
#
# FOLDER/base-SUITE is kept (scripts/clean_root.sh makes and uses the same), FOLDER/root made anew.
# What needs a running systemd: tests/torture/test_package.py.
set -euo pipefail

folder=$(realpath -m "${1:-/tmp/echo-edge-deb}")
# A namespace of its own, so that mounts and processes end with this script, whatever happens.
[ -n "${INSIDE:-}" ] || exec unshare --mount --pid --fork --kill-child env INSIDE=1 "$0" "$folder"
cd "$(dirname "$0")/.."
suite=${SUITE:-$(. /etc/os-release && echo "$VERSION_CODENAME")}
base=$folder/base-$suite root=$folder/root
arch=$(dpkg --print-architecture)
first=$(ls dist/echo-edge_*_"$arch".deb) || { echo "make dist first" >&2; exit 1; }
old=$(dpkg-deb --field "$first" Version)

ok() { echo "ok: $*"; }
bad() { echo "BAD: $*; what apt said is in $folder/apt.log" >&2; exit 1; }
in_root() { chroot "$root" /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin LANG=C.UTF-8 "$@"; }
apt() { in_root DEBIAN_FRONTEND=noninteractive apt-get -qq --no-install-recommends -o Dpkg::Use-Pty=0 "$@" </dev/null >>"$folder/apt.log" 2>&1; }
is() { [ "$2" = "$3" ] || bad "$1: '$2' instead of '$3'"; ok "$1: $2"; }
says() { grep -qF -- "$2" <<<"$1" || bad "nothing said of '$2' in: $1"; ok "said: $2"; }
version() { in_root echo-edge --version; }

variant() { deploy/deb_variant.sh "$first" "$1" "$root" "${2:-}"; }

if [ ! -d "$base" ]; then
    echo "making $base"
    mkdir -p "$folder"
    debootstrap --variant=minbase "$suite" "$base.new" >"$folder/debootstrap.log"
    mv "$base.new" "$base"
fi
rm -rf "$root" "$folder/apt.log"
cp -a --reflink=auto "$base" "$root"
cp -L /etc/resolv.conf "$root/etc/"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
cp "$first" "$root/first.deb"

echo "== install $old in a bare $suite"
apt update
apt install -y libportaudio2 systemd python3    # apart, so that what they leave is not ours
find "$root" -xdev \( -path "$root/proc" -o -path "$root/dev" \) -prune -o -print | sort >"$folder/before"
users=$(sort "$root/etc/passwd" "$root/etc/group")
apt install -y /first.deb || bad "it does not install"
is "echo-edge --version" "$(version)" "$old"
said=$(in_root runuser -u echo-edge -- echo-edge self-test)
says "$said" "ok: model echo-tiny"
says "$said" "ok: /etc/echo-edge/example.yaml"
is "groups of the user" "$(in_root id -nG echo-edge | xargs -n 1 | sort | paste -sd " ")" "audio dialout echo-edge"
is "configuration, secrets" "$(in_root stat -c %U:%G:%a /etc/echo-edge /etc/echo-edge/secrets | paste -sd ' ')" \
    "root:echo-edge:750 root:root:700"
is "groups of the page's user" "$(in_root id -nG echo-edge-web)" "echo-edge-web"
is "the page's configuration, secrets, place of its socket" \
    "$(in_root stat -c %U:%G:%a /etc/echo-edge-web /etc/echo-edge-web/secrets /run/echo-edge-page | paste -sd ' ')" \
    "root:echo-edge-web:750 root:root:700 echo-edge:echo-edge-web:2750"
is "enabled units" "$(in_root find /etc/systemd/system -name 'echo-edge*')" ""
is "files that dpkg finds changed" "$(in_root dpkg --verify echo-edge)" ""

echo "== a person configures it, and it runs"
state=/var/lib/echo-edge/line1
in_root install -d -o echo-edge -g echo-edge -m 0700 $state
in_root sh -c 'sed "s/gw-hall3/gw-test/" /etc/echo-edge/example.yaml >/etc/echo-edge/line1.yaml'
in_root sh -c 'echo "# edited by a person" >>/etc/echo-edge/example.yaml'
said=$(in_root timeout 15 runuser -u echo-edge -- env STATE_DIRECTORY=$state echo-edge run /etc/echo-edge/line1.yaml 2>&1 || true)
says "$said" "echo-tiny on onnx"
stored() { (cd "$root$state" && find . -name '*.db' | sort | paste -sd ' '); }
is "stored" "$(stored)" "./outbox.db ./state.db"
in_root systemctl -q enable echo-edge@line1

echo "== the page is turned on"
web=/etc/echo-edge-web/line1.yaml
in_root sh -c "sed 's/gw-hall3/gw-test/' /etc/echo-edge-web/example.yaml >$web; echo 'port: 18443' >>$web"
as_page() { in_root runuser -u echo-edge-web -- "$@"; }
says "$(as_page echo-edge-web setup $web)" "one-time code"
as_page timeout 30 echo-edge-web run $web >>"$folder/page.log" 2>&1 &
fetched() { in_root python3 -c "import urllib.request as r; print(r.urlopen('http://127.0.0.1:18443$1').read().decode())" 2>/dev/null; }
for _ in $(seq 100); do if login=$(fetched /login); then break; fi; sleep 0.2; done
says "${login:-}" "<form"
says "$(fetched /static/page.css)" "{"
kill %1
in_root systemctl -q enable echo-edge-web@line1

in_root sh -c 'mkdir /opt/echo-edge/site-packages; echo here=1 >/opt/echo-edge/site-packages/added.py'
added() { in_root /opt/echo-edge/current/venv/bin/python -I -c 'import added; print(added.here)'; }
is "a package that was added" "$(added)" 1
unchanged=$(sha256sum "$root$state/state.db" "$root/etc/echo-edge/line1.yaml")

echo "== update to 0.9.1"
variant 0.9.1
apt install -y "/echo-edge_0.9.1_$arch.deb" || bad "it does not update"
is "echo-edge --version" "$(version)" 0.9.1
[ "$(sha256sum "$root$state/state.db" "$root/etc/echo-edge/line1.yaml")" = "$unchanged" ] || bad "state or configuration"
ok "state and configuration are what they were"
is "a package that was added" "$(added)" 1
is "who may log in" "$(as_page echo-edge-web user list $web | cut -d ' ' -f 1)" admin
is "the edited example" "$(tail -1 "$root/etc/echo-edge/example.yaml")" "# edited by a person"
is "releases" "$(ls "$root/opt/echo-edge/releases" | paste -sd ' ')" "$old 0.9.1"

echo "== back by hand, and forth"
says "$(in_root echo-edge-rollback --help)" "Usage: sudo echo-edge-rollback"
in_root echo-edge-rollback 0.1 2>/dev/null && bad "a word that it does not know"
is "echo-edge --version" "$(version)" 0.9.1
in_root sh -c 'echo "mqt: {}" >/etc/echo-edge/draft.yaml'
in_root echo-edge-rollback >>"$folder/apt.log" 2>&1
says "$(cat "$folder/apt.log")" "warning: not in service: /etc/echo-edge/draft.yaml: "
is "echo-edge --version" "$(version)" "$old"
in_root rm /etc/echo-edge/draft.yaml
in_root echo-edge-rollback >>"$folder/apt.log" 2>&1
is "echo-edge --version" "$(version)" 0.9.1

echo "== update to 0.9.2, whose model is damaged"
variant 0.9.2 'printf x | dd of=models/echo-tiny.onnx seek=5000 conv=notrunc status=none'
if apt install -y "/echo-edge_0.9.2_$arch.deb"; then bad "it was taken"; else ok "apt says that it failed"; fi
says "$(cat "$folder/apt.log")" "RELEASE 0.9.2 WAS REFUSED"
says "$(cat "$folder/apt.log")" "RELEASE 0.9.1 IS IN FORCE"
is "echo-edge --version" "$(version)" 0.9.1
is "the package is" "$(in_root dpkg-query -Wf '${db:Status-Status}' echo-edge)" half-configured

echo "== update to 0.9.3, with state that is newer than it"
variant 0.9.3
sqlite() { in_root python3 -c "import sqlite3; sqlite3.connect('$state/state.db').execute('PRAGMA user_version=$1')"; }
sqlite 99
if apt install -y "/echo-edge_0.9.3_$arch.deb"; then bad "it was taken"; else ok "apt says that it failed"; fi
says "$(cat "$folder/apt.log")" "state.db: written by another version of echo-edge (99)"
is "echo-edge --version" "$(version)" 0.9.1
sqlite 1
in_root dpkg --configure echo-edge >>"$folder/apt.log" 2>&1 || bad "not taken after the mend"
is "echo-edge --version" "$(version)" 0.9.3
mv "$root/etc/echo-edge/line1.yaml" "$root/etc/echo-edge/line1.kept"
in_root sh -c 'echo "mqt: {}" >/etc/echo-edge/line1.yaml'
if apt install -y --reinstall "/echo-edge_0.9.3_$arch.deb"; then bad "it was taken"; else ok "apt says that it failed"; fi
says "$(cat "$folder/apt.log")" "RELEASE 0.9.3 CANNOT GO ON HERE: /etc/echo-edge/line1.yaml: "
mv "$root/etc/echo-edge/line1.kept" "$root/etc/echo-edge/line1.yaml"
in_root dpkg --configure echo-edge >>"$folder/apt.log" 2>&1 || bad "not taken after the mend"
is "releases" "$(ls "$root/opt/echo-edge/releases" | paste -sd ' ')" "0.9.1 0.9.3"

echo "== remove, install again, purge"
apt remove -y echo-edge
is "left of the releases" "$(ls "$root/opt/echo-edge")" site-packages
[ -e "$root$state/state.db" ] && [ -e "$root/etc/echo-edge/line1.yaml" ] || bad "remove"
ok "remove takes the releases, and keeps configuration and state"
apt install -y "/echo-edge_0.9.3_$arch.deb" || bad "it does not install again"
is "echo-edge --version" "$(version)" 0.9.3
is "enabled still" "$(in_root systemctl is-enabled echo-edge@line1 echo-edge-web@line1 | paste -sd ' ')" "enabled enabled"
rm -r "$root/opt/echo-edge/site-packages"    # a person's
in_root useradd -M anna && in_root usermod -aG echo-edge,echo-edge-admin anna
apt purge -y echo-edge
if grep -q "has other members" "$folder/apt.log"; then bad "userdel complains"; fi
in_root userdel anna
rm "$root"/*.deb
left=$(find "$root" -xdev \( -path "$root/proc" -o -path "$root/dev" \) -prune -o -print | sort | comm -13 "$folder/before" - |
    sed "s|^$root||" | grep -vE '^/(var/(lib/dpkg|cache/(apt|ldconfig)|log|lib/apt)|etc/.*-$|tmp)' | head -20 || true)
is "left by purge" "$left" ""
[ "$(sort "$root/etc/passwd" "$root/etc/group")" = "$users" ] || bad "users or groups are left by purge"
ok "neither users nor groups are left"
echo "all well"
