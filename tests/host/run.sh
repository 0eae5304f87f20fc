#!/bin/bash
# Real kernels: power cuts on ext4 and xfs, a disk that gives EIO, kill -9, disks that fill, vanish or turn read-only.
# See README.md. Usage: run.sh BINARY [SECONDS per part]
set -u
BIN=$(readlink -f "${1:?usage: run.sh BINARY [SECONDS per part]}")
SECONDS_EACH=${2:-60}
if [ "$(id -u)" -ne 0 ]; then
    echo "SKIPPED: this needs root, for loop devices and mounts"
    exit 0
fi
for tool in losetup mkfs.ext4 mkfs.xfs xfs_io sha256sum setpriv; do
    command -v $tool > /dev/null || { echo "SKIPPED: there is no $tool (Debian: e2fsprogs xfsprogs util-linux)"; exit 0; }
done

WORK=$(mktemp -d "${TMPDIR:-/tmp}/onefold-host.XXXXXX")
MOUNTS=() LOOPS=() PIDS=() FAILED=0
cleanup() {
    for p in "${PIDS[@]}"; do kill "$p" 2> /dev/null; done
    for ((i = ${#MOUNTS[@]} - 1; i >= 0; i--)); do umount -l "${MOUNTS[i]}" 2> /dev/null; done
    for l in "${LOOPS[@]}"; do losetup -d "$l" 2> /dev/null; done
    sleep 0.2
    rm -rf --one-file-system "$WORK"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

of() { "$BIN" --store "$STORE" --quiet --memory 128M "$@"; }
# For the background: the job is the program itself, so that a kill kills it and not a shell around it.
job() { exec "$BIN" --store "$STORE" --quiet --memory 128M "$@"; }
say() { printf '%s\n' "$*"; }
bad() { say "FAILED: $*"; FAILED=1; }
rnd() { echo $(( (RANDOM * 32768 + RANDOM) % $1 )); }
nap() { sleep "$(awk -v m="$1" -v r="$RANDOM" 'BEGIN { printf "%.3f", m * r / 32768 }')"; }

# Real sound and pictures, for what splitters do.
MEDIA=$(dirname "$(readlink -f "$0")")/../media
# A library that changes a little each time.
edit() {
    mkdir -p "$LIB/a" "$LIB/b"
    for _ in 1 2 3; do
        local f="$LIB/$([ "$(rnd 2)" = 0 ] && echo a || echo b)/$(rnd 12)"
        case $(rnd 6) in
            4 | 5) cat "$(shuf -n 1 -e "$MEDIA"/*/*/*)" <(head -c "$(rnd 3000)" /dev/urandom) > "$f" ;;
            0) head -c "$(rnd 3000000)" /dev/urandom > "$f" ;;
            1) head -c "$(rnd 700)" /dev/urandom > "$f" ;;
            2) seq "$(rnd 200000)" > "$f" ;;
            3) [ -s "$f" ] && head -c 3000 /dev/urandom >> "$f" ;;
        esac
    done
    sync -f "$LIB"
}
sums() { (cd "$LIB" && find . -type f -print0 | sort -z | xargs -0 -r sha256sum); }

N=0 ACKED=()
# Backs up in the background as snapshot s$N; its exit status comes from wait.
begin_backup() {
    N=$((N + 1))
    sums > "$WORK/s$N.sums"
    local how=()
    [ "$(rnd 3)" = 0 ] && how=(--without splitters) # for `compact --resplit`
    job backup --name "s$N" "${how[@]}" "$LIB" > "$WORK/out" 2> "$WORK/err" &
    JOB=$!
}
end_backup() { # 0 and 3 are acknowledged
    wait "$JOB" 2> /dev/null
    local status=$?
    if [ $status -eq 0 ] || [ $status -eq 3 ]; then ACKED+=("s$N"); fi
    return $status
}
# One acknowledged snapshot, or all, bit for bit.
prove() {
    local which=("$@")
    for s in "${which[@]}"; do
        rm -rf "$WORK/target"
        if ! of restore "$s:$LIB" --target "$WORK/target" > "$WORK/out" 2> "$WORK/err"; then
            bad "$PART: snapshot $s: $(tail -1 "$WORK/err")"
            return 1
        fi
        if ! (cd "$WORK/target" && sha256sum -c --quiet "$WORK/$s.sums") > "$WORK/out" 2>&1; then
            bad "$PART: snapshot $s came back wrong: $(head -1 "$WORK/out")"
            return 1
        fi
    done
}
some() { [ ${#ACKED[@]} -gt 0 ] && echo "${ACKED[$(rnd ${#ACKED[@]})]}"; }
prove_all() {
    prove "${ACKED[@]}" || return
    of check --read-data > "$WORK/out" 2> "$WORK/err"
    local status=$?
    case $status in # 3: a disk was suspect, an index behind; never a loss
        0 | 3) ;;
        *) bad "$PART: check says $status: $(head -3 "$WORK/out") $(tail -1 "$WORK/err")" ;;
    esac
}
# Forgets one acknowledged snapshot. From then on nothing is promised of it, whether that ended or not.
forget_one() {
    [ ${#ACKED[@]} -gt 1 ] || return
    local nth
    nth=$(rnd $((${#ACKED[@]} - 1)))
    of forget --yes "${ACKED[nth]}" > /dev/null 2>&1
    ACKED=("${ACKED[@]:0:nth}" "${ACKED[@]:nth+1}")
}
fresh() { # STORE, disks...
    STORE=$1
    shift
    LIB=$WORK/lib-$PART ACKED=()
    mkdir -p "$LIB"
    local args=()
    for d in "$@"; do args+=(--disk "$d"); done
    head -c 100000 /dev/urandom > "$LIB/first" # no library is empty
    of init "${args[@]}" > /dev/null 2> "$WORK/err" || { bad "$PART: init: $(cat "$WORK/err")"; return 1; }
}
loop() { # image, size -> LOOP
    truncate -s "$2" "$1"
    LOOP=$(losetup -f --show "$1") || return 1
    LOOPS+=("$LOOP")
}
mnt() { mkdir -p "$2" && mount "$1" "$2" && MOUNTS+=("$2"); }

# ---- (a) power cuts -----------------------------------------------------------------------------
power() {
    local fs=$1
    PART=power-$fs
    declare -A dev
    for x in store d0 d1; do
        loop "$WORK/$PART.$x" 700M || { bad "$PART: no loop device"; return; }
        dev[$x]=$LOOP
        "mkfs.$fs" -q "$LOOP" || { bad "$PART: mkfs"; return; }
        mnt "$LOOP" "$WORK/$PART/$x"
    done
    local m=$WORK/$PART
    fresh "$m/store/s" "$m/d0/one" "$m/d1/two" || return
    local cuts=0 cut_while=0 end=$((SECONDS + SECONDS_EACH))
    while [ $SECONDS -lt $end ] && [ $FAILED -eq 0 ]; do
        edit
        begin_backup
        nap 1.2
        kill -0 "$JOB" 2> /dev/null && cut_while=$((cut_while + 1))
        for x in store d0 d1; do # all, or now and then one alone
            if [ "$(rnd 4)" != 0 ]; then xfs_io -x -c "shutdown" "$m/$x" 2> /dev/null; fi
        done
        end_backup
        cuts=$((cuts + 1))
        for x in store d0 d1; do
            umount "$m/$x" || { sleep 1; umount "$m/$x"; }
            mount "${dev[$x]}" "$m/$x" || { bad "$PART: the filesystem does not come back"; return; }
        done
        if [ $((cuts % 7)) -eq 0 ]; then rm -rf "$m/store/s"; of recover --disk "$m/d0/one" --disk "$m/d1/two" > /dev/null 2> "$WORK/err" || [ $? -eq 3 ] || bad "$PART: recover: $(cat "$WORK/err")"; fi
        [ ${#ACKED[@]} -gt 0 ] && prove "$(some)"
        if [ "$(df --output=pcent "$m/d0" | tail -1 | tr -dc 0-9)" -gt 70 ]; then break; fi
    done
    edit
    begin_backup
    end_backup || [ $? -eq 3 ] || bad "$PART: a backup after all cuts: $(cat "$WORK/err")"
    prove_all
    say "$PART: $cuts power cuts ($cut_while during a backup), ${#ACKED[@]} snapshots acknowledged, all proven"
    for x in d1 d0 store; do umount "$m/$x"; losetup -d "${dev[$x]}"; done
    rm -f "$WORK/$PART".*
}

# ---- (b) a disk that gives EIO ----------------------------------------------------------------------
eio() {
    PART=eio
    for tool in nbdkit nbdfuse; do
        command -v $tool > /dev/null || { say "$PART: SKIPPED: there is no $tool (Debian: nbdkit nbdfuse)"; return; }
    done
    local sock=$WORK/nbd.sock error=$WORK/eio-now
    truncate -s 700M "$WORK/eio.img"
    nbdkit -f -U "$sock" --filter=error file "$WORK/eio.img" error=EIO error-rate=100% error-file="$error" > "$WORK/nbdkit.log" 2>&1 &
    PIDS+=($!)
    sleep 0.5
    : > "$WORK/eio.dev"
    nbdfuse "$WORK/eio.dev" "nbd+unix:///?socket=$sock" > "$WORK/nbdfuse.log" 2>&1 &
    PIDS+=($!)
    MOUNTS+=("$WORK/eio.dev")
    sleep 1
    local dev m=$WORK/$PART
    dev=$(losetup -f --show "$WORK/eio.dev") || { say "$PART: SKIPPED: no loop device over nbdfuse: $(cat "$WORK/nbdfuse.log")"; return; }
    LOOPS+=("$dev")
    mkfs.ext4 -q "$dev" || { bad "$PART: mkfs"; return; }
    mnt "$dev" "$m/d1"
    mkdir -p "$m/d0"
    fresh "$m/store" "$m/d0/one" "$m/d1/two" || return
    edit
    begin_backup
    end_backup || bad "$PART: the first backup: $(cat "$WORK/err")"
    local rounds=0 failed=0 named=0 status end=$((SECONDS + SECONDS_EACH))
    while [ $SECONDS -lt $end ] && [ $FAILED -eq 0 ]; do
        edit
        begin_backup
        nap 0.6
        touch "$error"
        end_backup || { [ $? -eq 3 ] || failed=$((failed + 1)); }
        # what reads while the disk fails: nothing wrong, whatever cannot be read is named
        of check --read-data > "$WORK/out" 2> "$WORK/err"
        status=$?
        [ $status -le 4 ] || bad "$PART: check under EIO ends with $status"
        of scrub > "$WORK/out" 2> "$WORK/err"
        status=$?
        [ $status -le 4 ] || bad "$PART: scrub under EIO ends with $status"
        forget_one
        of gc --yes --grace 0s > "$WORK/out" 2> "$WORK/err"
        status=$?
        [ $status -le 4 ] || bad "$PART: gc under EIO ends with $status"
        of compact --max-fragments 1 --recompress --yes > "$WORK/out" 2> "$WORK/err"
        status=$?
        [ $status -le 4 ] || bad "$PART: compact under EIO ends with $status"
        of compact --resplit --yes > "$WORK/out" 2> "$WORK/err"
        status=$?
        [ $status -le 4 ] || bad "$PART: compact --resplit under EIO ends with $status"
        rm -rf "$WORK/target"
        of restore "$(some):$LIB" --target "$WORK/target" > "$WORK/out" 2> "$WORK/err"
        status=$?
        [ $status -le 4 ] || bad "$PART: restore under EIO ends with $status"
        rm -f "$error"
        umount "$m/d1" || { sleep 1; umount -l "$m/d1"; }
        e2fsck -fy "$dev" > /dev/null 2>&1
        mount "$dev" "$m/d1" || { bad "$PART: the filesystem does not come back"; return; }
        of disk list 2> /dev/null | grep -q suspect && named=$((named + 1))
        prove "$(some)"
        rounds=$((rounds + 1))
        [ "$(df --output=pcent "$m/d1" | tail -1 | tr -dc 0-9)" -gt 70 ] && break
    done
    edit
    begin_backup
    end_backup || [ $? -eq 3 ] || bad "$PART: a backup after all faults: $(cat "$WORK/err")"
    prove_all
    say "$PART: $rounds rounds of EIO during backup, check, scrub, gc, compact and restore; $failed backups failed, the disk was named suspect after $named; ${#ACKED[@]} snapshots acknowledged, all proven"
    umount "$m/d1"
    losetup -d "$dev"
}

# ---- (c) kill -9 ------------------------------------------------------------------------------------
kills() {
    PART=kill
    local m=$WORK/$PART
    mkdir -p "$m/d0" "$m/d1"
    fresh "$m/store" "$m/d0/one" "$m/d1/two" || return
    local kills=0 hit=0 end=$((SECONDS + SECONDS_EACH))
    while [ $SECONDS -lt $end ] && [ $FAILED -eq 0 ]; do
        edit
        case $(rnd 12) in
            10 | 11) job compact --resplit --yes > /dev/null 2>&1 & JOB=$!; nap 0.4; kill -9 $JOB 2> /dev/null && hit=$((hit + 1)); wait $JOB 2> /dev/null ;;
            8 | 9) job compact --max-fragments 1 --recompress --yes > /dev/null 2>&1 & JOB=$!; nap 0.4; kill -9 $JOB 2> /dev/null && hit=$((hit + 1)); wait $JOB 2> /dev/null ;;
            5) job scrub > /dev/null 2>&1 & JOB=$!; nap 0.3; kill -9 $JOB 2> /dev/null && hit=$((hit + 1)); wait $JOB 2> /dev/null ;;
            6 | 7) forget_one; job gc --yes --grace 0s --threshold 90 > /dev/null 2>&1 & JOB=$!; nap 0.3; kill -9 $JOB 2> /dev/null && hit=$((hit + 1)); wait $JOB 2> /dev/null ;;
            0) job recover --disk "$m/d0/one" --disk "$m/d1/two" > /dev/null 2>&1 & JOB=$!; nap 0.15; kill -9 $JOB 2> /dev/null && hit=$((hit + 1)); wait $JOB 2> /dev/null ;;
            1) job check --read-data > /dev/null 2>&1 & JOB=$!; nap 0.3; kill -9 $JOB 2> /dev/null && hit=$((hit + 1)); wait $JOB 2> /dev/null ;;
            *) begin_backup; nap 0.4; kill -9 $JOB 2> /dev/null && hit=$((hit + 1)); end_backup ;;
        esac
        kills=$((kills + 1))
        if [ $((kills % 10)) -eq 0 ]; then
            edit
            begin_backup
            end_backup || [ $? -eq 3 ] || bad "$PART: a backup after a kill: $(cat "$WORK/err")"
            prove "$(some)"
            rm -rf "$LIB"/a/[0-5]
        fi
    done
    begin_backup
    end_backup || [ $? -eq 3 ] || bad "$PART: a backup after all kills: $(cat "$WORK/err")"
    prove_all
    say "$PART: $kills times kill -9 ($hit while it ran), ${#ACKED[@]} snapshots acknowledged, all proven"
}

# ---- (d) full, forbidden, read-only -----------------------------------------------------------------
tight() {
    PART=tight
    local m=$WORK/$PART status
    mkdir -p "$m/t" "$m/p"
    mount -t tmpfs -o size=24m tmpfs "$m/t" && MOUNTS+=("$m/t")
    fresh "$m/store" "$m/t/d" || return
    local full=0
    for _ in 1 2 3 4 5 6; do
        head -c 5000000 /dev/urandom > "$LIB/$(rnd 100000)"
        begin_backup
        end_backup || full=$((full + 1))
        [ ${#ACKED[@]} -gt 0 ] && prove "$(some)"
    done
    [ $full -gt 0 ] || bad "$PART: 30 MB fit into 24"
    mount -o remount,size=200m "$m/t"
    begin_backup
    end_backup || bad "$PART: a backup with room again: $(cat "$WORK/err")"
    prove_all
    say "$PART: $full backups onto a full tmpfs failed, ${#ACKED[@]} snapshots acknowledged, all proven"

    PART=forbidden
    fresh "$m/store2" "$m/p/d0" "$m/p/d1" || return
    edit
    begin_backup
    end_backup
    chmod 700 "$m/p/d1"
    chmod a+rx "$WORK" "$m" "$m/p"
    setpriv --reuid 65534 --clear-groups "$BIN" --store "$STORE" check > "$WORK/out" 2> "$WORK/err"
    status=$?
    [ $status -ge 1 ] && [ $status -le 4 ] || bad "$PART: a folder that may not be read: check ends with $status"
    prove_all
    say "$PART: check by a user who may not read one disk ends with $status; ${#ACKED[@]} snapshots proven"

    PART=readonly
    loop "$WORK/ro.img" 300M
    mkfs.ext4 -q "$LOOP"
    mnt "$LOOP" "$m/ro"
    fresh "$m/store3" "$m/ro/d" "$m/p/d3" || return
    edit
    begin_backup
    end_backup || bad "$PART: the first backup"
    local name=${LOOP#/dev/}
    head -c 60000000 /dev/urandom > "$LIB/long"
    begin_backup
    sleep 0.15
    echo 1 > "/sys/fs/ext4/$name/trigger_fs_error" 2> /dev/null || mount -o remount,ro "$m/ro"
    end_backup
    status=$?
    prove "${ACKED[@]}"
    umount "$m/ro"
    e2fsck -fy "$LOOP" > /dev/null 2>&1
    mount "$LOOP" "$m/ro" || bad "$PART: the filesystem does not come back"
    begin_backup
    end_backup || [ $? -eq 3 ] || bad "$PART: a backup afterwards: $(cat "$WORK/err")"
    prove_all
    say "$PART: a disk that turned read-only in a backup: it ended with $status; ${#ACKED[@]} snapshots acknowledged, all proven"
    umount "$m/ro"
    losetup -d "$LOOP"
}

kills
power ext4
power xfs
eio
tight
[ $FAILED -eq 0 ] && say "all parts passed" || say "something FAILED"
exit $FAILED
