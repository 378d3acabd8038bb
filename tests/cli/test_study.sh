# bench/study with a dcam that only writes files: what is done is not done again, nor taken for what it is not; a row that
# fails ends it.
study=$(cd "$(dirname "$0")/../../bench" && pwd)/study
. "$(dirname "$0")/common.sh"

cat >dcam <<'END'
#!/bin/sh
echo "$*" >>calls
while [ $# -gt 1 ]; do
    case $1 in
    -o) echo model >"$2" ;;
    --csv) printf 'class,image_auroc\nmean,0.5\n' >"$2" ;;
    esac
    shift
done
END
chmod +x dcam

# run CODE ARGUMENTS...
run() {
    wanted=$1
    shift
    last="study $*"
    DCAM=./dcam "$study" "data set" teacher "$@" >out 2>err
    code=$?
    [ $code -eq "$wanted" ] || fail "$last: exit code $code, not $wanted"
}
run 0 "the results" "1 2" "" stfpm
same "$last: table" 'row,seed,class,image_auroc
stfpm,1,mean,0.5
stfpm,2,mean,0.5' "$(cat "the results/study.csv")"
same "$last: calls" 4 "$(wc -l <calls)"
run 0 "the results" "1 2" "" stfpm
same "$last, again: calls" 4 "$(wc -l <calls)"

# The figures of 100 epochs are not those of 15.
run 2 "the results" "1 2" 15 stfpm
err_has 'name another folder'
run 0 "others" 1 15 stfpm
grep -q -- '--epochs 15' calls || fail "$last: trains with other epochs"

# There is no model yet: said, and the rest goes on. One that cannot be read is a failure.
run 0 "the results" 1 "" hybrid-student
err_has 'there is no hybrid yet'
echo 'no model' >"the results/hybrid.1.safetensors"
run 1 "the results" 1 "" hybrid-student
finish
