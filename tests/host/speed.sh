#!/bin/bash
# Backup where the disks are the limit: eight ext4 filesystems on loop devices, each held to a rate. Prints what plain writers reach on
# them, then backups without parity and with parity 2, as a share of what the disks can take. See README.md.
# Usage: speed.sh BINARY [runs of each] [MiB/s of a disk] [GiB of library] [MiB of a pack]
set -u
BIN=$(readlink -f "${1:?usage: speed.sh BINARY [runs of each] [MiB/s of a disk] [GiB of library] [MiB of a pack]}")
RUNS=${2:-3} RATE=${3:-40} GIB=${4:-4} PACK=${5:-64}
DISKS=8 THROTTLE=/sys/fs/cgroup/blkio
if [ "$(id -u)" -ne 0 ]; then
    echo "SKIPPED: this needs root, for loop devices and mounts"
    exit 0
fi
[ -w $THROTTLE/blkio.throttle.write_bps_device ] || { echo "SKIPPED: there is no blkio controller of cgroup v1 at $THROTTLE"; exit 0; }

WORK=$(mktemp -d "${TMPDIR:-/tmp}/onefold-speed.XXXXXX")
LOOPS=()
cleanup() {
    for l in "${LOOPS[@]}"; do
        umount -l "$l" 2> /dev/null
        for way in write read; do echo "$(cat "/sys/block/${l#/dev/}/dev") 0" > $THROTTLE/blkio.throttle.${way}_bps_device; done
        losetup -d "$l" 2> /dev/null
    done
    rm -rf --one-file-system "$WORK"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

for ((i = 0; i < DISKS; i++)); do
    truncate -s $((GIB * 1024 / DISKS * 4 + 64 * PACK))M "$WORK/disk$i.img"
    l=$(losetup -f --show --direct-io=on "$WORK/disk$i.img") || { echo "SKIPPED: no loop device"; exit 0; }
    LOOPS+=("$l")
    mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "$l" && mkdir "$WORK/mnt$i" && mount "$l" "$WORK/mnt$i" || exit 1
    for way in write read; do
        echo "$(cat "/sys/block/${l#/dev/}/dev") $((RATE << 20))" > $THROTTLE/blkio.throttle.${way}_bps_device
    done
done
mkdir "$WORK/library"
for ((i = 0; i < GIB * 32; i++)); do head -c 32M /dev/urandom > "$WORK/library/file$i"; done

now() { date +%s%N; }
sectors() { local n=0 l; for l in "${LOOPS[@]}"; do read -r -a s < "/sys/block/${l#/dev/}/stat"; n=$((n + s[$1])); done; echo $n; }
# measure WORDS... -- COMMAND: what it wrote to the disks, by the kernel's account, as a share of what they can take in that time.
measure() {
    local name=$1 began written read ns
    shift
    sync
    began=$(now) written=$(sectors 6) read=$(sectors 2)
    "$@" > "$WORK/out" 2>&1 || { echo "FAILED: $*: $(tail -3 "$WORK/out")"; exit 1; }
    ns=$(($(now) - began)) written=$((($(sectors 6) - written) * 512)) read=$((($(sectors 2) - read) * 512))
    awk -v name="$name" -v s=$((ns / 1000000)) -v w=$written -v r=$read -v most=$((DISKS * (RATE << 20))) 'BEGIN {
        printf "%-34s %6.1f s %8.0f MB written %6.0f MB/s = %3.0f %% of the disks'"'"' limit, %6.0f MB read from them\n",
            name, s / 1e3, w / 1e6, w / s / 1e3, 100 * w / s * 1e3 / most, r / 1e6 }'
}
plain_writers() {
    local i j p pids=()
    for ((i = 0; i < DISKS; i++)); do
        for ((j = i; j < GIB * 32; j += DISKS)); do cat "$WORK/library/file$j"; done \
            | dd of="$WORK/mnt$i/plain" bs=16M iflag=fullblock oflag=dsync status=none &
        pids+=($!)
    done
    for p in "${pids[@]}"; do wait "$p" || return 1; done
}
init() {
    local disks=() i
    for ((i = 0; i < DISKS; i++)); do disks+=(--disk "$WORK/mnt$i/disk$i"); done
    "$BIN" --quiet --store "$WORK/store" init --parity "$1" --pack-size "${PACK}M" "${disks[@]}"
}
clean() {
    rm -rf "$WORK/store" "$WORK"/mnt*/disk* "$WORK"/mnt*/plain
    sync
    for ((i = 0; i < DISKS; i++)); do fstrim "$WORK/mnt$i" 2> /dev/null; done
}
measure "plain writers, a sync each 16 MiB" plain_writers
clean
for ((run = 0; run < RUNS; run++)); do
    for parity in 0 2; do
        init $parity > "$WORK/out" || exit 1
        measure "backup, parity $parity, packs of $PACK MiB" "$BIN" --quiet --store "$WORK/store" backup "$WORK/library"
        clean
    done
done
