#!/bin/sh
# locale.sh SOURCE_DIR: no part of the library prints or reads numbers, or compares letters, as the program's locale has
# it; they go through src/base/number_text.h and ascii.h. What is looked for: everything that reads, everything whose format comes from a caller
# (v...printf, no literal) or from a macro, and snprintf with a conversion of floating-point numbers, over more than one line too.
set -eu
cd "$1/src"
found=$(find . -name '*.[ch]' ! -name 'number_text.*' | sort | xargs awk '
    FNR == 1 { statement = "" }
    {
        line = $0
        sub(/^[ \t]*(\/\*|\*|\/\/).*/, "", line)
        gsub(/__attribute__\(\(format\(printf[^)]*\)\)\)/, "", line)
        if (statement == "") begun = FNR
        statement = statement " " line
        if (line !~ /[;{}][ \t\\]*$/ && line !~ /^[ \t]*$/ && line !~ /^#/) next
        text = " " statement
        if (text ~ /[^_a-z](v[a-z]*printf|f?printf|dprintf|v?asprintf|v?[fs]*scanf|strto(d|f|ld)(_l)?|atof|strfrom[dfl]|localeconv|setlocale|strn?casecmp|to(lower|upper)|is(alnum|alpha|lower|upper|print|punct|space))\(/ ||
            text ~ /[^_a-z]snprintf\(.*%[-+ #0-9.*]*[lL]?[aAeEfFgG]/ || text ~ /[^_a-z]snprintf\(.*__VA_ARGS__/ ||
            text ~ /[^_a-z]snprintf\([^"]*$/ ||
            text ~ /[^_a-z]json_dump[a-z_]*\(/ && FILENAME != "./weights/json_text.c")
            print FILENAME ":" begun ":" statement
        statement = ""
    }')
[ -z "$found" ] || { echo "FAILED: as the locale has it; use src/base/number_text.h or ascii.h:"; echo "$found"; exit 1; }
