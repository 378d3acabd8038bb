# The page of dcam serve, as far as it needs no browser: a photograph that failed, and photographs that Exif would turn.
here=$(cd "$(dirname "$0")" && pwd) # before common.sh goes elsewhere
. "$(dirname "$0")/common.sh"
command -v node >/dev/null 2>&1 || skip "node is not installed"
node "$here/page.js" "$here/../../src/serve/page/page.js" >out 2>err || fail "the page"
finish
