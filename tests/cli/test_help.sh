# Help, version, man page and completions: they agree and cover every command.
. "$(dirname "$0")/common.sh"

expect 0 --version
out_has '^dcam [0-9]+\.[0-9]+\.[0-9]+$'
expect 0 --help
cp out overview
out_has '^Usage: dcam COMMAND'
out_has '^  130 '
expect 0 help
cmp -s out overview || fail "help and --help differ"

# Nothing to do is wrong usage; the list then is no result.
expect 2
out_empty
err_has '^Usage: dcam COMMAND'

"$dcam" help --man >man || fail "help --man"
"$dcam" help --completion bash >bash || fail "bash completion"
"$dcam" help --completion zsh >zsh || fail "zsh completion"

# What may be left out of a build is in the overview or not.
commands="train eval detect calibrate export info teacher_import pretrain synth bench doctor help"
for optional in 'teacher fetch' serve; do grep -q "^  $optional " overview && commands="$commands $(echo "$optional" | tr ' ' _)"; done
for command in $commands; do
    command=$(echo "$command" | tr _ ' ')
    grep -q "^  $command " overview || fail "overview lacks $command"
    # shellcheck disable=SC2086 # two words
    expect 0 $command --help
    cp out by_option
    # shellcheck disable=SC2086
    expect 0 help $command
    cmp -s out by_option || fail "$command: help and --help differ"
    out_has "^Usage: dcam $command"
    [ "$(awk 'length > 79 && !/^  dcam/' out | wc -l)" -eq 0 ] || fail "$command: help is wider than 79 columns"
    # Every option of the help is in the man page and in both completions.
    for option in $(sed -n 's/^  \(-.,\|   \) --\([a-z0-9-]*\).*/\2/p' out); do
        grep -q -- "--$option" bash || fail "$command: bash completion lacks --$option"
        grep -q -- "--$option" zsh || fail "$command: zsh completion lacks --$option"
        escaped=$(echo "$option" | sed 's/-/\\-/g')
        grep -qF -- "\\-\\-$escaped" man || fail "$command: man page lacks --$option"
    done
done

expect 2 help train eval
err_has "'eval' is none of 'dcam train'"

# The options of the contract are offered.
contract='train teacher method attention attention-at-detection loss kd-temperature kd-scale map classes one-class
size epochs batch lr seed precision threads checkpoint resume output
eval model json csv
detect json output map-npy class fail-on-anomaly model
calibrate model false-alarm-rate f1
synth output seed
bench model json'
echo "$contract" | tr '\n' ' ' | sed 's/ \(eval\|detect\|calibrate\|synth\|bench\) /\n\1 /g' >wanted
while read -r command options; do
    expect 0 help "$command"
    for option in $options; do out_has " --$option( |$)"; done
done <wanted

if command -v bash >/dev/null; then
    bash -n bash || fail "bash completion is no valid bash"
    complete() { bash -c '. ./bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _dcam; echo "${COMPREPLY[*]}"' _ "$@"; }
    same "completed option" "--epochs" "$(complete dcam train --ep)"
    same "completed value" "sum product standard" "$(complete dcam train data --map '')"
    same "completed value behind =" "sum product standard" "$(complete dcam train data --map '=')"
    same "completed part behind =" "product" "$(complete dcam train data --map '=' pr)"
    same "completed subcommand" "import" "$(complete dcam teacher im)"
    same "completed command, once" "teacher" "$(complete dcam te)"
    same "completed command to explain" "teacher" "$(complete dcam help te)"
    same "completed subcommand to explain" "import" "$(complete dcam help teacher im)"
    if grep -q '^  teacher fetch ' overview; then
        same "both subcommands" "import fetch" "$(complete dcam teacher '')"
        same "option of the second" "--sha256" "$(complete dcam teacher fetch --sh)"
        same "none of the first" "" "$(complete dcam teacher import --sh)"
        grep -q 'compadd import fetch;' zsh || fail "zsh completion lacks teacher fetch"
    fi
fi
if command -v zsh >/dev/null; then zsh -n zsh || fail "zsh completion is no valid zsh"; fi
same "teacher among zsh's commands" 1 "$(grep -c "^            'teacher:" zsh)"
if command -v groff >/dev/null; then
    groff -man -Tutf8 -ww man >/dev/null 2>warnings
    [ ! -s warnings ] || fail "man page: $(head -n 3 warnings)"
fi
finish
