# dcam teacher fetch against a server on loopback: whole, resumed, cut short, wrong, redirected, slow, refused.
. "$(dirname "$0")/common.sh"
server=${3-}
[ -x "$server" ] || skip "built without fetch"

"$server" make weights.safetensors || { fail "no weights"; finish; }
sum=$(sha256sum weights.safetensors | cut -d' ' -f1)
bytes=$(wc -c <weights.safetensors)
"$server" serve weights.safetensors >log &
pid=$!
trap 'kill $pid 2>/dev/null; cleanup' EXIT
tries=0
while [ ! -s log ] && [ $tries -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
base=http://127.0.0.1:$(head -n 1 log)
fetch() { wanted_code=$1; shift; expect "$wanted_code" teacher fetch -o teacher --sha256 "$sum" -q "$@"; }
refuse_fetch() { refuse "$1" "$2" teacher fetch -o teacher --sha256 "$sum" -q --url "$base/$3"; is_absent teacher; }

fetch 0 --url "$base/file"
same "result" "wrote teacher" "$(cat out)"
expect 0 info teacher
out_has 'kind: teacher'
is_absent teacher.part
rm teacher

# Cut short: the part is kept, and the next run asks for the rest only.
refuse_fetch 3 'goes on from there' cut
same "kept" $((bytes / 2)) "$(wc -c <teacher.part)"
fetch 0 --url "$base/file"
same "asked for" "/file $((bytes / 2))-" "$(tail -n 1 log)"
is_file teacher
is_absent teacher.part
rm teacher
# A server without ranges sends all again; a part that is whole already, or longer, is started over.
head -c 1000 weights.safetensors >teacher.part
fetch 0 --url "$base/plain"
is_file teacher
rm teacher
cat weights.safetensors weights.safetensors >teacher.part
fetch 0 --url "$base/file"
is_file teacher
rm teacher

# Who can write to the folder must not lead what comes into another file, nor make the tool wait.
echo precious >kept
ln -s kept teacher.part
refuse_fetch 3 'teacher\.part: is a link' file
same "a file behind a link" precious "$(cat kept)"
rm teacher.part
mkfifo teacher.part
refuse_fetch 3 'teacher\.part: is a link or no plain file' file
rm teacher.part kept

# The hash decides: another file, and a part that was of another file.
refuse 4 'its SHA-256 is' teacher fetch -o teacher -q --url "$base/file"
is_absent teacher
is_absent teacher.part
head -c 1000 /dev/zero >teacher.part
refuse_fetch 4 'its SHA-256 is' file
is_absent teacher.part
refuse 2 '64 hexadecimal digits' teacher fetch -o teacher --sha256 12 -q

# What a server may do.
refuse_fetch 3 'answered 404' nothing
is_absent teacher.part
refuse_fetch 3 'another host' elsewhere
refuse_fetch 3 'more than 3 redirects' loop
refuse_fetch 3 'larger than the limit' huge
fetch 0 --url "$base/same"
is_file teacher
rm teacher
refuse 3 'too slow' teacher fetch -o teacher --sha256 "$sum" -q --url "$base/slow" --stall 2
rm -f teacher.part
# Nothing that trying again would mend.
for url in "file://$work/weights.safetensors" ftp://127.0.0.1/file 'no host/file'; do
    refuse 3 "${url%%/*}.*no address of http:// or https://" teacher fetch -o teacher -q --url "$url" --sha256 "$sum"
done
refuse 3 'no/folder' teacher fetch -o no/folder/teacher -q --url "$base/file"

# Without file descriptors nothing is wrong with the server. With four there is none left for the connection; of more it
# hangs on libcurl whether they are enough.
for descriptors in 4 5 6 7; do
    last="dcam teacher fetch with $descriptors file descriptors"
    (
        exec 3>&- 4>&- 5>&- 6>&- # of who runs the tests
        ulimit -n $descriptors && exec "$dcam" teacher fetch -o teacher --sha256 "$sum" -q --url "$base/file"
    ) >out 2>err
    code=$?
    if [ $code -eq 0 ] && [ $descriptors -gt 4 ]; then
        rm teacher
        continue
    fi
    same "exit code of $last" 5 $code
    one_error
    err_has 'too few file descriptors .*ulimit -n'
    is_absent teacher
    is_absent teacher.part
done

# The environment names no proxy; the option does.
http_proxy=http://127.0.0.1:9 https_proxy=http://127.0.0.1:9 "$dcam" teacher fetch -o teacher --sha256 "$sum" -q --url "$base/file" >out 2>err ||
    fail "a proxy of the environment was used"
rm -f teacher
refuse 3 '127.0.0.1' teacher fetch -o teacher --sha256 "$sum" -q --url "$base/file" --proxy http://127.0.0.1:9
# No server at all.
kill $pid
refuse 3 'run the same command again' teacher fetch -o teacher --sha256 "$sum" -q --url http://127.0.0.1:9/file
finish
