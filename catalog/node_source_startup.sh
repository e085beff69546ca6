# A fragment for the start-up script of a node source's machines: put it before the line that starts node.jar.
#
# It lets a machine join the node source only when the overlay answers, and only for so long. POSIX sh; it needs what any
# cloud image has: ping for an address, bash or nc for an address with a port. The only placeholder that the node source
# fills in is the one below, and no other percent sign stands here.
#
#   OVERLAY_TARGETS     what must answer, all of it: ADDRESS or ADDRESS:PORT in the overlay's network, blanks between.
#                       A gateway's site address (overlayctl status), or the scheduler's own address in the overlay.
#   OVERLAY_DEADLINE_S  how long to wait, in s.
#   OVERLAY_REQUIRED    yes: without the overlay this machine does not join; no: it joins all the same.

OVERLAY_TARGETS="${OVERLAY_TARGETS:-}"
OVERLAY_DEADLINE_S="${OVERLAY_DEADLINE_S:-600}"
OVERLAY_REQUIRED="${OVERLAY_REQUIRED:-yes}"

overlay_say() {
    echo "overlay: node source %nodeSourceName%: $*" >&2
}

overlay_now() {
    IFS=. read -r overlay_seconds overlay_rest </proc/uptime && echo "$overlay_seconds"
}

# Whether one target answers, asked for 2 s at most.
overlay_answers() {
    case $1 in
    *:*)
        overlay_address=$(echo "$1" | cut -d : -f 1)
        overlay_port=$(echo "$1" | cut -d : -f 2)
        if command -v nc >/dev/null 2>&1; then
            timeout 2 nc -z "$overlay_address" "$overlay_port" >/dev/null 2>&1
        else
            timeout 2 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$overlay_address" "$overlay_port" >/dev/null 2>&1
        fi
        ;;
    *)
        ping -c 1 -W 2 "$1" >/dev/null 2>&1
        ;;
    esac
}

# The first target that does not answer; nothing if all do.
overlay_missing() {
    for overlay_target in $OVERLAY_TARGETS; do
        overlay_answers "$overlay_target" || {
            echo "$overlay_target"
            return
        }
    done
}

overlay_wait() {
    if [ -z "$OVERLAY_TARGETS" ]; then
        overlay_say "OVERLAY_TARGETS names nothing that must answer; write an address of the overlay there"
        return 1
    fi
    for overlay_target in $OVERLAY_TARGETS; do
        case $overlay_target in
        *:*) ;;
        *)
            command -v ping >/dev/null 2>&1 || {
                overlay_say "this image has no ping; write $overlay_target:PORT into OVERLAY_TARGETS"
                return 1
            }
            ;;
        esac
    done
    overlay_end=$(($(overlay_now) + OVERLAY_DEADLINE_S))
    while overlay_lacks=$(overlay_missing) && [ -n "$overlay_lacks" ]; do
        if [ "$(overlay_now)" -ge "$overlay_end" ]; then
            overlay_say "$overlay_lacks did not answer within $OVERLAY_DEADLINE_S s"
            return 1
        fi
        sleep 1
    done
    overlay_say "$OVERLAY_TARGETS answer"
}

if ! overlay_wait && [ "$OVERLAY_REQUIRED" = yes ]; then
    overlay_say "this machine does not join"
    exit 1
fi
