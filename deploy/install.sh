#!/bin/sh
# Installs or updates echo-edge from the folder that this file lies in: sudo ./install.sh
#
# Read it first: it checks SHA256SUMS, gives the one package for this machine to apt, and says what to do next.
set -eu
cd "$(dirname "$0")"

fail() { echo "install: $*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || fail "needs root: sudo $0"
sha256sum --quiet --check SHA256SUMS || fail "these files are not what was released: fetch them again"
arch=$(dpkg --print-architecture)
package=$(ls ./echo-edge_*_"$arch".deb 2>/dev/null) || fail "no package for $arch here"
before=$(readlink /opt/echo-edge/current || true)
apt-get install -y "$package"

# shellcheck source=deploy/debian/releases.sh
. /usr/lib/echo-edge/releases.sh
running=$(running_instances | paste -sd ' ')
if [ -n "$before" ] || [ -n "$running" ]; then
    echo "echo-edge $(release_of current) is in force (before: $(basename "${before:-none}")). Running: ${running:-none}"
    echo "If it does worse than the release before: sudo echo-edge-rollback"
    exit 0
fi
cat <<'END'
echo-edge is installed; nothing runs yet. Next, with a name of your own for line1:
  1. a configuration: sudo cp -n /etc/echo-edge/example.yaml /etc/echo-edge/line1.yaml, and edit it
  2. is it fine?      sudo echo-edge check /etc/echo-edge/line1.yaml
  3. run it:          sudo systemctl enable --now echo-edge@line1
  4. look:            systemctl status echo-edge@line1; journalctl -fu echo-edge@line1
END
