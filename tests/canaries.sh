#!/bin/sh
# Whether the simulation notices when one thing that safety stands on is left out: a sync (feature canary-sync), a check
# (feature canary-check). Each build must fail its simulation. Not part of CI: it compiles the crate three times.
set -u
cd "$(dirname "$0")/.." || exit 1
export ONEFOLD_SIM_SEEDS="${ONEFOLD_SIM_SEEDS:-400}"
missed=0
# What these seeds find is the canaries' doing only if they find nothing without them.
cargo test --locked --no-default-features --test main --no-run || exit 1
cargo test --locked --no-default-features --test main -- sim::lives > /dev/null 2>&1 || {
    echo "without a canary: the simulation fails by itself; mend that first"
    exit 1
}
for canary in canary-sync canary-check; do
    cargo test --locked --no-default-features --features "$canary" --test main --no-run || exit 1
    out=$(cargo test --locked --no-default-features --features "$canary" --test main -- sim::lives 2>&1)
    if [ $? -eq 0 ]; then
        echo "$canary: NOT NOTICED in $ONEFOLD_SIM_SEEDS schedules"
        missed=1
    else
        echo "$canary: noticed: $(printf '%s\n' "$out" | grep -o 'seeds that failed: [^;]*' | head -1)"
    fi
done
exit $missed
