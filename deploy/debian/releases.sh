# Which release is in force: functions of the package's scripts and of echo-edge-rollback. Sourced by sh.
# shellcheck shell=sh
#
# /opt/echo-edge/releases/VERSION  what was installed, two of them at most
# /opt/echo-edge/current           link to the one in force: services and /usr/bin/echo-edge go through it
# /opt/echo-edge/previous          link to the one before
# /opt/echo-edge/refused           names the release that was tried and did not stay up

RELEASES=/opt/echo-edge
READY_S=75      # for all instances to say READY; a start takes some 10 s
STAYS_UP_S=40   # longer than the watchdog's 30 s: a release that starts and hangs is found, too

say() { echo "echo-edge: $*" >&2; }

release_of() {  # LINK: its version, empty without one
    [ ! -L "$RELEASES/$1" ] || basename "$(readlink "$RELEASES/$1")"
}

point() {  # LINK VERSION: in one step, so that there is no moment without one
    ln -sfn "releases/$2" "$RELEASES/.$1.new"
    mv -T "$RELEASES/.$1.new" "$RELEASES/$1"
}

fits_here() {  # FOLDER of a release: its self-test passes. As the daemon's user, whose files are to be read
    runuser -u echo-edge -- env TMPDIR=/var/tmp "$1/venv/bin/echo-edge" self-test >&2
}

running_instances() {
    [ -d /run/systemd/system ] || return 0
    systemctl list-units --plain --no-legend --state=active 'echo-edge@*.service' | cut -d ' ' -f 1
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

put_in_force() {  # VERSION: switch to it, restart what runs; back to the one before where that fails
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
