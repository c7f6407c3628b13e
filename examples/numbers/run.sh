#!/usr/bin/env bash
# Two calls, numbers(1) and numbers(10), as two tasks of one job.
# shellcheck source-path=SCRIPTDIR source=../common.sh
source "$(dirname "$0")/../common.sh"

answer=$(submit job.py:numbers --from-json "$here/starts.json")
check_answer "$answer"
