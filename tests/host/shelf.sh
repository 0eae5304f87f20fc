#!/bin/bash
# A shelf on real filesystems: 12 disks of different sizes on loop devices, ext4 and xfs, any 2 of which may die. Two are pulled in the
# middle of a backup, then two others. See README.md. Usage: shelf.sh BINARY [MiB to back up each time]
set -u
BIN=$(readlink -f "${1:?usage: shelf.sh BINARY [MiB to back up each time]}")
MIB=${2:-240}
if [ "$(id -u)" -ne 0 ]; then
    echo "SKIPPED: this needs root, for loop devices and mounts"
    exit 0
fi
for tool in losetup mkfs.ext4 mkfs.xfs xfs_io sha256sum timeout; do
    command -v $tool > /dev/null || { echo "SKIPPED: there is no $tool (Debian: e2fsprogs xfsprogs util-linux)"; exit 0; }
done

WORK=$(mktemp -d "${TMPDIR:-/tmp}/onefold-shelf.XXXXXX")
MOUNTS=() LOOPS=() PIDS=() FAILED=0
cleanup() {
    for ((i = ${#MOUNTS[@]} - 1; i >= 0; i--)); do umount -l "${MOUNTS[i]}" 2> /dev/null; done
    for l in "${LOOPS[@]}"; do losetup -d "$l" 2> /dev/null; done
    for p in "${PIDS[@]}"; do kill "$p" 2> /dev/null; done
    sleep 0.2
    rm -rf --one-file-system "$WORK"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

STORE=$WORK/ssd/store LIB=$WORK/library
of() { timeout 600 "$BIN" --store "$STORE" --quiet --memory 256M "$@"; }
say() { printf '%s\n' "$*"; }
bad() { say "FAILED: $*"; FAILED=1; }
# A command and the exit statuses that it may end with.
want() {
    local may=$1 status
    shift
    of "$@" > "$WORK/out" 2> "$WORK/err"
    status=$?
    case " $may " in
        *" $status "*) return 0 ;;
        *) bad "onefold $* ends with $status: $(tail -3 "$WORK/out" | tr '\n' ' ') $(tail -3 "$WORK/err" | tr '\n' ' ')"; return 1 ;;
    esac
}
# disk NAME FILESYSTEM MiB: a filesystem of its own at $WORK/mnt/NAME. EIO=file: its device fails while that file is there.
declare -A DEV IMG
disk() {
    local name=$1 fs=$2 mib=$3 image=$WORK/$1.img
    truncate -s "${mib}M" "$image"
    if [ -n "${EIO:-}" ]; then
        nbdkit -f -U "$WORK/$name.sock" --filter=error file "$image" error=EIO error-rate=100% error-file="$EIO" > "$WORK/nbdkit.log" 2>&1 &
        PIDS+=($!)
        sleep 0.5
        : > "$WORK/$name.dev"
        nbdfuse "$WORK/$name.dev" "nbd+unix:///?socket=$WORK/$name.sock" > "$WORK/nbdfuse.log" 2>&1 &
        PIDS+=($!)
        sleep 1
        image=$WORK/$name.dev
        MOUNTS+=("$image")
    fi
    DEV[$name]=$(losetup -f --show "$image") || { say "SKIPPED: no loop device for $name"; exit 0; }
    LOOPS+=("${DEV[$name]}")
    IMG[$name]=$image
    "mkfs.$fs" -q "${DEV[$name]}" || { bad "mkfs.$fs of $name"; exit 1; }
    mkdir -p "$WORK/mnt/$name"
    mount "${DEV[$name]}" "$WORK/mnt/$name" || { bad "mount of $name"; exit 1; }
    MOUNTS+=("$WORK/mnt/$name")
}
# How a disk dies.
truncated() { truncate -s 2M "${IMG[$1]}"; }       # most of it is gone: reads fail, or give what was never written
shut() { xfs_io -x -c shutdown "$WORK/mnt/$1"; }   # everything gives EIO from now on
failing() { touch "$WORK/eio-now"; }               # the same, one floor below the filesystem
pulled() { umount -l "$WORK/mnt/$1"; }

N=0
grow() { # so many MiB that nothing else resembles, and a little of each other kind
    mkdir -p "$LIB/$N"
    local left=$1
    while [ "$left" -gt 0 ]; do
        local n=$((1 + RANDOM % 12))
        head -c "${n}M" /dev/urandom > "$LIB/$N/$left"
        left=$((left - n))
    done
    seq 300000 > "$LIB/$N/numbers"
    for i in 1 2 3 4 5 6 7 8 9; do head -c "$((RANDOM % 5000))" /dev/urandom > "$LIB/$N/small$i"; done
}
backup() { # STATUSES: takes the sums first
    N=$((N + 1))
    grow "$MIB"
    (cd "$LIB" && find . -type f -print0 | sort -z | xargs -0 sha256sum) > "$WORK/s$N.sums"
    want "$1" backup --name "s$N" "$LIB"
}
prove() { # every snapshot, bit for bit
    local n
    for ((n = 1; n <= N; n++)); do
        rm -rf "$WORK/target"
        want "0 3" restore "s$n:$LIB" --target "$WORK/target" || continue
        (cd "$WORK/target" && sha256sum -c --quiet "$WORK/s$n.sums") > "$WORK/out" 2>&1 || bad "$1: snapshot s$n came back wrong: $(head -2 "$WORK/out")"
    done
}
redundant() {
    want 0 risk
    grep -q "fully redundant" "$WORK/out" && ! grep -qE "degraded|at risk|lost" "$WORK/out" || bad "$1: risk says $(tr '\n' ';' < "$WORK/out")"
}
used() { df --output=used -k "$WORK/mnt/$1" 2> /dev/null | tail -1; }
# pull DISK HOW DISK HOW: both die while a backup runs, as soon as it has written to them.
pull() {
    local puller at=behind
    ( first=$(used "$1") second=$(used "$3")
      for ((t = 0; t < 600; t++)); do
          if [ $(($(used "$1") - first)) -gt 2048 ] && [ $(($(used "$3") - second)) -gt 2048 ]; then break; fi
          sleep 0.05
      done
      "$2" "$1"
      sleep 0.2
      "$4" "$3"
      touch "$WORK/pulled" ) &
    puller=$!
    backup "0 3"
    [ -e "$WORK/pulled" ] && at="in the middle of"
    wait $puller
    rm -f "$WORK/pulled"
    say "  $1 ($2) and $3 ($4) were pulled $at backup s$N, which was acknowledged ($(grep -c "begins anew" "$WORK/err") times it began anew)"
    pulled "$1"
    pulled "$3"
    want 3 disk list
    [ "$(grep -c missing "$WORK/out")" -eq 2 ] || bad "disk list does not name two missing disks: $(cat "$WORK/out")"
    prove "with two disks gone"
    say "  $N snapshots restored bit for bit without them"
}
# replace OLD NEW: onto a disk that was made before.
rebuild() {
    want 0 disk replace "$1" "$WORK/mnt/$2/$2" --yes || return
    say "  $1 was rebuilt onto $2: $(head -c 200 "$WORK/out" | grep moved)"
}
settled() { # nothing is wrong any more, by every judge
    want "0 3" scrub # what a disk lied about is mended
    want 0 scrub
    want 0 disk list
    redundant "$1"
    want 0 check --read-data
    prove "$1"
    say "  scrub and check are clean, everything is fully redundant, $N snapshots restored bit for bit"
}

begun=$SECONDS
mkdir -p "$WORK/ssd" "$LIB"
i=0
for size in 400 520 900 640 1200 760 440 1000 560 1500 680 480; do
    i=$((i + 1))
    if [ $((i % 2)) -eq 0 ]; then fs=xfs; else fs=ext4; fi
    EIO=
    if [ $i -eq 9 ] && command -v nbdkit > /dev/null && command -v nbdfuse > /dev/null; then EIO=$WORK/eio-now; fi
    disk "d$i" $fs $size
done
EIO=
args=()
for ((i = 1; i <= 12; i++)); do args+=(--disk "$WORK/mnt/d$i/d$i"); done
want 0 init --parity 2 --pack-size 8MiB "${args[@]}" || exit 1
backup 0
redundant "at first"
say "12 disks of 400 to 1500 MiB, ext4 and xfs; $MIB MiB backed up"

# One device fails where that can be had, else its filesystem.
second=shut
[ -n "${PIDS[*]-}" ] && second=failing
pull d5 truncated d9 $second
disk n1 xfs 950
disk n2 ext4 1400
rebuild d5 n1
rebuild d9 n2
settled "after the first two"

pull d8 shut n2 shut
disk n3 ext4 800
disk n4 xfs 1000
rebuild n2 n4
rebuild d8 n3
settled "after two more"
say "shelf: $N backups, 4 of 12 disks died in the middle of 2 of them, $((SECONDS - begun)) s"
[ $FAILED -eq 0 ] && say "all passed" || say "something FAILED"
exit $FAILED
