#!/usr/bin/env bash
# Counts the primes up to ten million; the tasks' counts are plain lines, so awk adds them up.
# shellcheck source-path=SCRIPTDIR source=../common.sh
source "$(dirname "$0")/../common.sh"

answer=$(submit job.py:count --range 0-99 | awk '{ sum += $1 } END { print sum }')
check_answer "$answer"
