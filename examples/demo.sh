#!/usr/bin/env bash
# What `make demo` shows: two jobs over all cores of this machine, on $PPWASM, and what came out of them.
set -euo pipefail

examples=$(cd "$(dirname "$0")" && pwd)
output=$(dirname "$examples")/target/examples
cores=$(nproc)

# show EXAMPLE WHAT runs an example, which checks its answer, and says how long that took.
show() {
    local start=$EPOCHREALTIME answer microseconds
    printf '\n%s\n\n' "$2"
    answer=$("$examples/$1/run.sh" "$output/$1")
    microseconds=$((${EPOCHREALTIME/[.,]/} - ${start/[.,]/}))
    printf 'The answer, as expected, after %d.%d s on %d cores:\n  %s\n\n' \
        $((microseconds / 1000000)) $((microseconds / 100000 % 10)) "$cores" "$answer"
}

"$examples/prepare-inputs.sh" words
show words 'Counting the words of the King James Bible: 32 tasks, each in a sandbox of its own.'
cat "$output/words/chart.txt"

show mandelbrot 'Drawing the Mandelbrot set: 40 bands, each in a sandbox of its own.'
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    cat "$output/mandelbrot/preview.ansi"
fi
printf 'The picture is %s\n' "$output/mandelbrot/mandelbrot.png"
