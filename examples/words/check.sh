#!/usr/bin/env bash
# The same answer another way, with the shell's tools: check.sh [TEXT]. Prints the line that expected.txt holds.
set -euo pipefail
export LC_ALL=C
text=${1:-target/inputs/kjv.txt}

sed -nE 's/^[0-9A-Za-z]+:[0-9]+ //p' "$text" | tr '[:upper:]' '[:lower:]' |
    grep -oE "[a-z]+('[a-z]+)?" | sort | uniq -c | sort -k1,1nr -k2 |
    awk '
        { words += $1 }
        NR <= 10 { most = most (NR > 1 ? ", " : "") "\047" $2 "\047: " $1 }
        END { printf "{\047words\047: %d, \047different\047: %d, \047most\047: {%s}}\n", words, NR, most }
    '
