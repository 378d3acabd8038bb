# contrib: the unit is one that systemd understands; every metric that dashboard and alerts ask for is there.
contrib=$(cd "$(dirname "$0")/../../contrib" && pwd) # before common.sh goes elsewhere
. "$(dirname "$0")/common.sh"
source=$contrib/../src/serve/metrics.c
last=contrib

if command -v systemd-analyze >/dev/null 2>&1; then
    # With the program that is there, and without the man page, which systemd would look for.
    sed "s|^ExecStart=/usr/bin/dcam|ExecStart=$dcam|; /^Documentation=/d" "$contrib/systemd/dcam.service" >dcam.service
    systemd-analyze verify ./dcam.service >err 2>&1 || fail "systemd-analyze verify"
    [ ! -s err ] || fail "systemd-analyze verify has remarks"
else
    echo "systemd-analyze is not installed: the unit is not checked"
fi

if command -v promtool >/dev/null 2>&1; then
    cp "$contrib"/prometheus/*.yml . && echo 'rule_files: [dcam-rules.yml]' >>dcam.yml
    promtool check rules dcam-rules.yml >err 2>&1 || fail "promtool check rules"
    promtool check config dcam.yml >err 2>&1 || fail "promtool check config"
else
    echo "promtool is not installed: what is for Prometheus is not checked"
fi

"$json" "$contrib/grafana/dcam.json" title >/dev/null || fail "the dashboard is not JSON"
grep -oh '\b\(dcam\|process\)_[a-z_]*' "$contrib/grafana/dcam.json" "$contrib/prometheus/dcam-rules.yml" | sort -u >names
[ "$(wc -l <names)" -ge 10 ] || fail "hardly any metric is asked for"
while read -r name; do
    base=$(echo "$name" | sed 's/_\(bucket\|sum\|count\)$//')
    grep -q "\"$base\"" "$source" || fail "no metric $name"
done <names

# And every metric is in the table of docs/serve.md.
grep -oh '"\(dcam\|process\)_[a-z_]*"' "$source" | tr -d '"' | sed 's/_\(bucket\|sum\|count\)$//' | sort -u >names
[ "$(wc -l <names)" -ge 15 ] || fail "hardly any metric is written"
while read -r name; do
    grep -q "^| .*\`$name[\`{]" "$contrib/../docs/serve.md" || fail "docs/serve.md does not have $name"
done <names

# What the container installs is what building asks for, without what only tests and `teacher fetch` need.
sed -n '/^packages="/,/"$/p' "$contrib/../scripts/install-deps" | tr -d '"' | tr ' ' '\n' | grep -- '-dev$' |
    grep -Ev '^lib(cmocka|curl4-openssl)-dev$' >wanted
[ "$(wc -l <wanted)" -ge 8 ] || fail "install-deps names hardly any library"
while read -r package; do
    grep -q -- "[ =]$package\b" "$contrib/container/Containerfile" || fail "the container does not install $package"
done <wanted
grep -q -- '-DDCAM_FETCH=OFF' "$contrib/container/Containerfile" || fail "the container is without libcurl, but not built so"

# Nobody is killed while it still answers: the times of draining (the tool's 0 and 30) are within the pod's 30 seconds, or
# what the manifest gives it.
number_of() { grep -o "$2[^0-9]*[0-9]*" "$1" | grep -o '[0-9]*$' || echo "$3"; }
for manifest in "$contrib"/kubernetes/*.yaml; do
    grace=$(number_of "$manifest" terminationGracePeriodSeconds: 30)
    delay=$(number_of "$manifest" '"--drain-delay", ' 0)
    timeout=$(number_of "$manifest" '"--drain-timeout", ' 30)
    [ $((delay + timeout)) -lt "$grace" ] || fail "${manifest##*/}: $delay and $timeout seconds of draining, killed after $grace"
done

# Options in the recipes are options of the tool.
"$dcam" serve --help >help || fail "serve --help"
cat "$contrib"/systemd/* "$contrib"/container/* "$contrib"/kubernetes/* | grep -v '^#' | grep -oh -- '"--[a-z-]*"\|[ =]--[a-z-]* ' |
    tr -d '" =' | grep -Ev '^--(no-install-recommends|build|install|strip|system|uid|from|from-literal)$' | sort -u >used
[ -s used ] || fail "no options found"
while read -r option; do
    grep -q -- "$option\b" help || fail "no option $option"
done <used
finish
