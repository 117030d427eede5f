#!/bin/sh
# Builds what is released of the commit checked out, into dist/: make dist
#
#   echo_edge-VERSION-py3-none-any.whl     the same bytes wherever it is built (SOURCE_DATE_EPOCH is the commit's time)
#   echo-edge_VERSION_ARCH.deb             for this architecture and the Python of /usr/bin/python3
#   requirements.lock                      what the daemon needs, with hashes, for every Python and architecture
#   sbom.cdx.json                          CycloneDX: what is in the .deb's environment, and the models
#   install.sh, SHA256SUMS
#
#   PYTHON=python3.10    another interpreter of the system; the .deb depends on its minor version
#
# Container files are not built here: that needs a registry (deploy/container/).
set -eu
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-/usr/bin/python3}
tools=$(pwd)/.venv/bin dist=$(pwd)/dist
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022
# To read on the gateway, in the folders of the source, so that links lead somewhere.
PAGES="README.md CHANGELOG.md LICENSE docs deploy configs echo_edge/schemas sensors/firmware trainer/config.py"

say() { echo "dist: $*"; }
quietly() { "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }; }

SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH PIP_DISABLE_PIP_VERSION_CHECK=1
say "commit $(git rev-parse --short HEAD); what is not committed stays out"
mkdir "$work/source"
git archive HEAD | tar -x -C "$work/source"
cd "$work/source"
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' echo_edge/__init__.py)
arch=$(dpkg --print-architecture)
rm -rf "$dist"
mkdir "$dist"
cp requirements/daemon.lock "$dist/requirements.lock"
cp deploy/install.sh "$dist/"

say "wheel of echo-edge $version"
quietly "$tools/python" -m build --wheel --no-isolation --outdir "$dist" .

root=$work/root
release=$root/usr/lib/echo-edge/release
venv=$release/venv
say "environment of $("$PYTHON" --version), every package by its hash: a minute or two"
mkdir -p "$release"
"$PYTHON" -m venv --without-pip "$venv"
"$tools/python" -m pip install --quiet --require-hashes --target "$work/pip" -r requirements/bootstrap.lock
pip() { PYTHONPATH=$work/pip "$venv/bin/python" -m pip install --quiet --no-compile --ignore-installed "$@"; }
pip --only-binary :all: --no-binary cobs --no-build-isolation --require-hashes -r requirements/daemon.lock    # as setup.sh
pip --no-deps --no-index --find-links "$dist" "echo-edge==$version"
# What is left names no path, so that the environment works wherever it lies: Python, the packages, two commands.
find "$venv/bin" -mindepth 1 ! -name 'python*' -delete
sed -i '/^command/d' "$venv/pyvenv.cfg"
sed -i '/^\(\.\.\/\)*bin\//d' "$venv"/lib/python3.*/site-packages/*.dist-info/RECORD
install -m 755 deploy/debian/echo-edge "$venv/bin/"
sed 's/echo_edge\.cli/echo_edge.web.__main__/' deploy/debian/echo-edge >"$venv/bin/echo-edge-web"
chmod 755 "$venv/bin/echo-edge-web"
minor=$("$PYTHON" -c 'import sys; print(sys.version_info.minor)')
# What a site adds for all releases, as for a GPU; it comes last, and is passed over where it is not there.
echo /opt/echo-edge/site-packages >"$venv/lib/python3.$minor/site-packages/site-added.pth"
# Compiled here, for the daemon may not write there; valid by content, for the files' times change on the way.
"$venv/bin/python" -m compileall -q -j 0 --invalidation-mode unchecked-hash -s "$venv" -p /opt/echo-edge/current/venv "$venv/lib"

say "bill of materials"
quietly "$tools/cyclonedx-py" environment --pyproject pyproject.toml --output-reproducible --output-format JSON \
    --output-file "$work/sbom.json" "$venv/bin/python"
"$tools/python" scripts/sbom_models.py "$version" echo_edge/models/*.json <"$work/sbom.json" >"$dist/sbom.cdx.json"

say "Debian package for $arch"
docs=$root/usr/share/doc/echo-edge
install -D -m 644 -t "$root/usr/lib/echo-edge" deploy/debian/releases.sh
install -D -m 755 -t "$root/usr/sbin" deploy/debian/echo-edge-rollback
install -D -m 644 -t "$root/usr/lib/systemd/system" deploy/systemd/*.service
install -D -m 644 deploy/systemd/sysusers.conf "$root/usr/lib/sysusers.d/echo-edge.conf"
install -D -m 644 deploy/systemd/tmpfiles.conf "$root/usr/lib/tmpfiles.d/echo-edge.conf"
install -D -m 644 deploy/systemd/tmpfiles-web.conf "$root/usr/lib/tmpfiles.d/echo-edge-web.conf"
install -D -m 644 -t "$root/usr/lib/udev/rules.d" deploy/udev/*.rules
install -D -m 644 -t "$docs" deploy/debian/copyright
# shellcheck disable=SC2086  # a list of words
cp -r --parents $PAGES "$docs"
chmod -R u=rwX,go=rX "$docs"
gzip -9n <"$dist/sbom.cdx.json" >"$docs/sbom.cdx.json.gz"
mkdir -p "$root/usr/bin" "$root/etc/echo-edge" "$root/DEBIAN"
for name in echo-edge echo-edge-web; do ln -s "/opt/echo-edge/current/venv/bin/$name" "$root/usr/bin/$name"; done
sed '1,2d' configs/daemon/example.yaml >"$root/etc/echo-edge/example.yaml"    # without the editor's schema
install -D -m 644 -t "$root/etc/echo-edge-web" configs/web/example.yaml
sed "s/@VERSION@/$version/; s/@ARCH@/$arch/; s/@PYTHON@/3.$minor/; s/@PYTHON_NEXT@/3.$((minor + 1))/
    s/@SIZE_KB@/$(du -sk --apparent-size "$root" | cut -f 1)/" deploy/debian/control >"$root/DEBIAN/control"
install -m 644 -t "$root/DEBIAN" deploy/debian/conffiles
install -m 755 -t "$root/DEBIAN" deploy/debian/preinst deploy/debian/postinst deploy/debian/prerm deploy/debian/postrm
(cd "$root" && find usr etc -type f -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"    # for dpkg --verify
dpkg-deb --root-owner-group -Zzstd -z10 --build "$root" "$dist" >/dev/null

cd "$dist"
sha256sum ./* >"$work/sums"
mv "$work/sums" SHA256SUMS
say "done:"
ls -sh1 "$dist"
