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
apt-get install -y "$package"
cat <<'END'
echo-edge is installed; nothing runs by itself. Next:
  1. a configuration: sudo cp /etc/echo-edge/example.yaml /etc/echo-edge/line1.yaml, and edit it
  2. is it fine?      sudo echo-edge check /etc/echo-edge/line1.yaml
  3. run it:          sudo systemctl enable --now echo-edge@line1
  4. look:            systemctl status echo-edge@line1; journalctl -fu echo-edge@line1
After an update that does worse than the release before: sudo echo-edge-rollback
END
