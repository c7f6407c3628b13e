# The cache of steps. A step NAME is two functions: NAME_inputs prints all that its result depends on, NAME_make
# writes the result into a folder. A result is kept under the digest of its inputs and never changes.

say() { printf 'guest: %s\n' "$*" >&3; }
die() { say "$*"; exit 1; }
exec 3>&2

declare -A keys

use_cache() {
    mkdir -p "$1/guest-build"
    cache=$(cd "$1/guest-build" && pwd)
    mkdir -p "$cache"/{locks,logs,work}
}

compute_keys() {
    local step
    for step in "$@"; do
        keys[$step]=$(inputs_digest "$step") || die "cannot read all that $step is made of"
    done
}

inputs_digest() { "$1_inputs" | sha256sum | cut -c1-32; }

# For NAME_inputs: the keys of other steps, the contents of files, with names relative to guest-python.
keys_of() {
    local step
    for step in "$@"; do
        printf '%s %s\n' "$step" "${keys[$step]}"
    done
}
files_of() { (cd "$here" && find "$@" -type f ! -path '*/__pycache__/*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum); }

# Makes a step's result unless the cache has it. Its folder is then in NAME_dir.
# NAME_make runs in a scratch folder of its own and writes to `out` there.
need() {
    local step=$1 key=${keys[$1]} lock work log status started=$SECONDS
    local result=$cache/$step/$key
    if [[ ! -d $result ]]; then
        exec {lock}>"$cache/locks/$step-$key"
        flock "$lock"
        if [[ ! -d $result ]]; then
            say "$step ..."
            work=$(mktemp -d "$cache/work/$step.XXXXXX")
            log=$cache/logs/$step-$key.log
            mkdir -p "$work/out" "$cache/$step"
            # Not `( ... ) || die`: bash would then ignore errors inside.
            set +e
            (set -e; cd "$work"; "${step}_make") >"$log" 2>&1 </dev/null
            status=$?
            set -e
            if ((status != 0)); then
                rm -rf "$work"
                tail -n 15 "$log" >&3
                die "$step failed; everything it said is in $log"
            fi
            # Somebody may have edited a file after its digest was taken: the result would stand under a wrong name.
            if [[ $(inputs_digest "$step") != "$key" ]]; then
                rm -rf "$work"
                die "files that $step is made of changed meanwhile: run again"
            fi
            mv "$work/out" "$result"
            rm -rf "$work"
            say "$step: done in $((SECONDS - started)) s"
        fi
        exec {lock}>&-
    fi
    declare -g "${step}_dir=$result"
}

parallel_jobs() { nproc; }
