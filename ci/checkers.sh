# Shared code of ci/miri, ci/tsan and ci/asan, which source it from the repository's root. ci/fuzz uses it for its jobs.
#
# A case is a test that ran under a checker and passed, or a sound program on which the checker reported nothing. A
# control is a program of tests/controls that breaks a rule and was reported for that reason. Every job writes files
# of its own, so that several may run at a time.

jobs_dir=$(mktemp -d)
trap 'kill $(jobs -rp) 2>/dev/null || true; wait; rm -rf "$jobs_dir"' EXIT
job=0
# controls and tests panic on purpose, and each backtrace takes Miri seconds
export RUST_BACKTRACE=0

# nightly_with <component>...: installs the nightly toolchain and its missing components
nightly_with() {
    local installed component
    installed=$(rustup component list --toolchain nightly --installed 2>/dev/null || true)
    for component in "$@"; do
        grep -q "^$component" <<<"$installed" && continue
        rustup toolchain install nightly --profile minimal --component "$(IFS=,; echo "$*")"
        return
    done
}

# start <function> <argument>...: starts a job; runs as many jobs at a time as there are processors
start() {
    while test "$(jobs -rp | wc -l)" -ge "$(nproc)"; do
        wait -n || exit 1
    done
    job=$((job + 1))
    "$@" &
}

# finish: waits for all started jobs
finish() {
    while test -n "$(jobs -p)"; do
        wait -n || exit 1
    done
}

# say <what> <seconds at the start> <result>
say() {
    printf -- '-- %s: %s, %d s\n' "$1" "$3" $((SECONDS - $2))
}

# The three kinds of job. Run each through `start`, because only `start` gives a job files of its own.
#
# tests <what> <command>...: the command runs tests; all must pass, and at least one must run
tests() {
    local what=$1 out=$jobs_dir/$job.out started=$SECONDS passed
    shift
    "$@" >"$out" 2>&1 || { cat "$out" >&2; echo "$what: failed" >&2; exit 1; }
    passed=$(sed -n 's/^test result: ok\. \([0-9]*\) passed.*/\1/p' "$out" | awk '{ n += $1 } END { print n + 0 }')
    test "$passed" -gt 0 || { cat "$out" >&2; echo "$what: no test ran" >&2; exit 1; }
    echo "$passed" >"$jobs_dir/$job.case"
    say "$what" "$started" "$passed passed"
}

# sound <what> <command>...: a program that breaks no rule must succeed
sound() {
    local what=$1 out=$jobs_dir/$job.out started=$SECONDS
    shift
    "$@" >"$out" 2>&1 || { cat "$out" >&2; echo "$what: breaks no rule, yet failed" >&2; exit 1; }
    echo 1 >"$jobs_dir/$job.case"
    say "$what" "$started" 'nothing to report'
}

# reported <what> <regular expression> <command>...: a program that breaks a rule must fail, and its report must match
reported() {
    local what=$1 kind=$2 out=$jobs_dir/$job.out started=$SECONDS
    shift 2
    if "$@" >"$out" 2>&1; then
        cat "$out" >&2
        echo "$what: breaks a rule, and nobody noticed" >&2
        exit 1
    fi
    grep -qE "$kind" "$out" || { cat "$out" >&2; echo "$what: failed, but not with '$kind'" >&2; exit 1; }
    echo 1 >"$jobs_dir/$job.control"
    say "$what" "$started" 'reported'
}

# proved: waits for all jobs and prints the last line
proved() {
    finish
    local cases controls
    cases=$(cat "$jobs_dir"/*.case | awk '{ n += $1 } END { print n + 0 }')
    controls=$(cat "$jobs_dir"/*.control | awk '{ n += $1 } END { print n + 0 }')
    test "$cases" -gt 0 && test "$controls" -gt 0 || { echo 'nothing ran' >&2; exit 1; }
    # elapsed time says little if other programs load the machine
    times >"$jobs_dir/times"
    printf -- '-- %d s in all; of processor time: %s\n' "$SECONDS" "$(sed -n 2p "$jobs_dir/times")"
    printf 'proved cases=%d controls=%d\n' "$cases" "$controls"
}
