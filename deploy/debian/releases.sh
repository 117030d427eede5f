# Which release is in force: functions of the package's scripts and of echo-edge-rollback. Sourced by sh.
# shellcheck shell=sh
#
# /opt/echo-edge/releases/VERSION  what was installed, two of them at most
# /opt/echo-edge/current           link to the one in force: services and /usr/bin/echo-edge go through it
# /opt/echo-edge/previous          link to the one before
# /opt/echo-edge/refused           names the release that was tried and did not stay up

RELEASES=/opt/echo-edge
CONFIGS=/etc/echo-edge
PAGES=/etc/echo-edge-web
STATES=/var/lib/echo-edge
READY_S=75      # for all instances to say READY; a start takes some 10 s
PAGES_S=30      # for all pages; nothing else waits for them
STAYS_UP_S=40   # longer than the watchdog's 30 s: a release that starts and hangs is found, too

say() { echo "echo-edge: $*" >&2; }

systemd_runs() { [ -d /run/systemd/system ]; }

release_of() {  # LINK: its version, empty without one
    [ ! -L "$RELEASES/$1" ] || basename "$(readlink "$RELEASES/$1")"
}

point() {  # LINK VERSION: in one step, so that there is no moment without one
    ln -sfn "releases/$2" "$RELEASES/.$1.new"
    mv -T "$RELEASES/.$1.new" "$RELEASES/$1"
}

serves() {  # NAME: its service is enabled, or runs
    systemctl is-enabled --quiet "echo-edge@$1.service" 2>/dev/null ||
        running_instances | grep -qxF "echo-edge@$1.service"
}

as_daemon() { runuser -u echo-edge -- "$@"; }

fits_here() {  # FOLDER of a release: its self-test passes. Else $problem says the first thing that is wrong
    release=$1
    set --
    for file in "$CONFIGS"/*.yaml "$STATES"/*/; do
        [ -e "$file" ] || continue
        name=$(basename "$file" .yaml)
        serves "$name" || set -- "$@" "--idle=$name"
    done
    # as the daemon's user, whose files are to be read; without colours, for apt's log is no terminal
    if said=$(as_daemon env TERM=dumb TMPDIR=/var/tmp "$release/venv/bin/echo-edge" self-test "$@" 2>&1); then
        echo "$said" >&2
        return 0
    fi
    echo "$said" >&2
    problem=$(echo "$said" | sed -n 's/^bad: //p' | head -n 1)
    problem=${problem:-its self-test failed, see above}
    return 1
}

running_instances() {
    systemd_runs || return 0
    systemctl list-units --plain --no-legend --state=active 'echo-edge@*.service' | cut -d ' ' -f 1
}

enabled() {  # SERVICE FOLDER: its instances that have a configuration there
    for file in "$2"/*.yaml; do
        unit=$1@$(basename "$file" .yaml).service
        if systemctl is-enabled --quiet "$unit" 2>/dev/null; then echo "$unit"; fi
    done
}

enabled_instances() { enabled echo-edge "$CONFIGS"; }

enabled_pages() { enabled echo-edge-web "$PAGES"; }

pages() {  # COMMAND UNIT...: of systemctl; what becomes of a page decides nothing
    timeout "$PAGES_S" systemctl "$@" || say "a page did not come up; monitoring goes on: journalctl -u 'echo-edge-web@*'"
}

processes() { systemctl show --property=Id,ActiveState,MainPID "$@"; }

restart_and_watch() {  # UNIT...: all get READY and stay up as they are
    [ $# -gt 0 ] || return 0
    say "restarting $*; watching for $READY_S s at most, and $STAYS_UP_S s more"
    if ! timeout "$READY_S" systemctl restart "$@"; then
        say "it did not start, or was not READY within $READY_S s"
        return 1
    fi
    started=$(processes "$@")
    sleep "$STAYS_UP_S"
    [ "$(processes "$@")" = "$started" ] || { say "READY, but it did not stay up"; return 1; }
}

put_in_force() {  # VERSION: switch to it, restart what runs; back to the one before where that fails. Then the pages that run
    switch_to "$1" && switched=0 || switched=$?
    if systemd_runs; then pages try-restart 'echo-edge-web@*.service'; fi
    return "$switched"
}

switch_to() {
    before=$(release_of current)
    units=$(running_instances)
    point current "$1"
    # shellcheck disable=SC2086  # a list of words
    if restart_and_watch $units; then
        if [ -n "$before" ] && [ "$before" != "$1" ]; then point previous "$before"; fi
        return 0
    fi
    if [ -z "$before" ] || [ "$before" = "$1" ]; then return 1; fi
    point current "$before"
    # shellcheck disable=SC2086
    systemctl restart $units || say "$before does not start again either: journalctl -u 'echo-edge@*'"
    return 1
}
