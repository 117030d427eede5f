#!/bin/sh
# Makes another version of a Debian package, for tests: the same under another number, with one change where it is said.
#
#   deploy/deb_variant.sh PACKAGE VERSION FOLDER ['COMMAND that changes it, in the folder of the module echo_edge']
set -eu
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
dpkg-deb --raw-extract "$1" "$tree"
sed -i "s/^Version: .*/Version: $2/" "$tree/DEBIAN/control"
rm "$tree/DEBIAN/md5sums"
folder=$(realpath "$3")
cd "$tree"/usr/lib/echo-edge/release/venv/lib/python3.*/site-packages/echo_edge
sed -i "s/^__version__ = .*/__version__ = \"$2\"/" __init__.py
sh -euc "${4:-:}"
find . -maxdepth 1 -name '*.py' -newer "$tree/DEBIAN/control" -exec sh -c 'rm -f __pycache__/"$(basename "$1" .py)".*' - {} \;
rm -f __pycache__/__init__.*
dpkg-deb --root-owner-group -Znone --build "$tree" "$folder" >/dev/null
