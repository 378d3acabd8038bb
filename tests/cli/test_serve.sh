# serve: the protocol, photographs, what is refused and with which status, tokens, reload, and the end.
. "$(dirname "$0")/common.sh"
command -v curl >/dev/null 2>&1 || skip "curl is not installed"
# Tests run beside each other: nobody spins for a core.
OMP_WAIT_POLICY=passive
export OMP_WAIT_POLICY
server=""
cleanup() {
    [ -n "$server" ] && kill -KILL "$server" 2>/dev/null
    rm -rf "$work"
}
make_model
class=$(ls data | head -n 1)
other=$(ls data | tail -n 1)
image=$(first_of data/"$class"/test/good/*.png)

# start ARGUMENTS...: a server; its address in $url, its log in the file log.
start() {
    last="dcam serve $*"
    : >url
    "$dcam" serve --listen 127.0.0.1:0 "$@" >url 2>log </dev/null &
    server=$!
    tries=0
    while [ ! -s url ] && kill -0 $server 2>/dev/null && [ $tries -lt 600 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
    url=$(cat url)
    [ -n "$url" ] || { cp log err; fail "$last does not start"; finish; }
}

# stop: SIGTERM, and exit code 0.
stop() {
    kill -TERM "$server"
    ended
}
ended() {
    wait "$server"
    code=$?
    server=""
    [ $code -eq 0 ] || fail "$last: exit code $code after SIGTERM"
}

# ask STATUS PATH CURL-ARGUMENTS...: the body goes to out, the headers to head.
ask() {
    wanted=$1
    last="curl $2"
    asked=$url$2
    shift 2
    : >head
    : >out
    got=$(curl -s --max-time 30 -o out -D head -w '%{http_code}' "$@" "$asked" 2>err)
    [ "$got" = "$wanted" ] || fail "$last $*: status $got, not $wanted"
}
head_has() { tr -d '\r' <head | grep -Eiq -- "$1" || fail "$last: headers lack '$1': $(cat head)"; }
# wrong STATUS PATTERN PATH ARGUMENTS...: an error object that says why.
wrong() {
    wrong_status=$1
    wrong_pattern=$2
    shift 2
    ask "$wrong_status" "$@"
    "$json" out error >said 2>/dev/null || fail "$last: no error object"
    grep -Eq -- "$wrong_pattern" said || fail "$last: '$(cat said)' lacks '$wrong_pattern'"
}
infer=/v2/models/model/infer
as_json="-H Content-Type:application/json"
as_bytes="-H Content-Type:application/octet-stream"
as_png="-H Content-Type:image/png"

start -m model.safetensors -m second=model.safetensors --max-body 1M --max-pixels 1000000 --queue 8
# libmicrohttpd's thread leaves the program's signals alone (SIGUSR1, 0x200), and not a crash of its own (SIGSEGV, 0x400).
for thread in /proc/$server/task/*; do
    case $(cat "$thread/comm") in MHD*) ;; *) continue ;; esac
    mask=$(sed -n 's/^SigBlk:.*\(....\)$/\1/p' "$thread/status")
    [ $((0x$mask & 0x600)) -eq 512 ] || fail "libmicrohttpd's thread blocks 0x$mask"
done

# The protocol's own questions.
ask 200 /v2
same "name" dcam "$("$json" out name)"
same "extension" binary_tensor_data "$("$json" out extensions 0)"
ask 200 /v2/health/live
ask 200 /v2/health/ready
same "ready" true "$("$json" out ready)"
ask 200 /v2/models/model
same "shape of input" "[-1,3,64,64]" "$("$json" out inputs 1 shape)"
ask 200 /v2/models/second/versions/1/ready
same "model that is ready" second "$("$json" out name)"
same "ready model" true "$("$json" out ready)"
ask 200 /v2/models/model/versions/1
wrong 404 "version 1 only" /v2/models/model/versions/2
wrong 404 "no model 'nothing'" /v2/models/nothing
wrong 404 "no model '..'" /v2/models/../ready --path-as-is
wrong 404 "no model '..%2Fmodel'" "/v2/models/..%252Fmodel" --path-as-is
wrong 404 "nothing at this path" /v2/models/model/nothing
wrong 404 "nothing at this path" /nothing
wrong 405 "use POST" $infer
head_has '^Allow: POST'
wrong 405 "use GET" /v2/health/ready -X POST -d ''

# A photograph: the same numbers as dcam detect.
"$dcam" detect "$image" -m model.safetensors --json -q >wanted 2>err || fail "detect"
ask 200 /detect $as_png --data-binary "@$image"
for key in class class_source score raw threshold anomalous; do
    same "$key" "$("$json" wanted $key)" "$("$json" out $key)"
done
same "keys" "path class class_source score raw threshold anomalous regions map milliseconds model width height" \
    "$("$json" -k out | tr '\n' ' ' | sed 's/ $//')"
ask 200 "/detect?class=$other&model=second&map=float32" $as_png --data-binary "@$image"
same "class" "$other" "$("$json" out class)"
same "class_source" given "$("$json" out class_source)"
same "model" second "$("$json" out model)"
same "map" 21848 "$("$json" out map float32 | tr -d '\n' | wc -c)"
ask 200 /detect -F "image=@$image" -F "class=$other"
same "class of a form" "$other" "$("$json" out class)"
ask 200 /detect $as_png -H 'Accept: image/png' --data-binary "@$image"
head_has '^Content-Type: image/png'
"$dcam" detect "$image" -m model.safetensors -o over -q >/dev/null 2>err
cmp -s out over/*.png || fail "the overlay is not that of dcam detect"
for accept in 'image/png, */*;q=0.1' 'text/html,IMAGE/PNG ; q=0.8,*/*' 'application/json;q=0.5, image/png;q=0.51'; do
    ask 200 /detect $as_png -H "Accept: $accept" --data-binary "@$image"
    head_has '^Content-Type: image/png'
done
for accept in '*/*' 'image/png;q=0' 'image/png;q=0.000, */*' 'image/png;q=0.5, application/json' 'image/*' 'image/pngx'; do
    ask 200 /detect $as_png -H "Accept: $accept" --data-binary "@$image"
    head_has '^Content-Type: application/json'
done

# Tensors: JSON, binary, and as floats, which are the same image.
pixels=$(head -c 12288 /dev/zero | tr '\0' '7' | od -An -v -tu1 | tr -s ' \n' ',,' | sed 's/^,//; s/,$//')
tensor='"name":"image","datatype":"UINT8","shape":[1,64,64,3]'
echo "{\"id\":\"part 7\",\"inputs\":[{$tensor,\"data\":[$pixels]}],\"outputs\":[{\"name\":\"raw\"},{\"name\":\"class\"}]}" >request
ask 200 $infer $as_json --data-binary @request
same "id" "part 7" "$("$json" out id)"
same "outputs" '["raw","class"]' "[\"$("$json" out outputs 0 name)\",\"$("$json" out outputs 1 name)\"]"
raw=$("$json" out outputs 0 data 0)
printf '{"inputs":[{%s,"parameters":{"binary_data_size":12288}}],"outputs":[{"name":"raw"}]}' "$tensor" >header
{ cat header; head -c 12288 /dev/zero | tr '\0' '7'; } >request
length="-H Inference-Header-Content-Length:$(wc -c <header)"
ask 200 $infer $as_bytes $length --data-binary @request
same "raw of binary data" "$raw" "$("$json" out outputs 0 data 0)"
cat request >longer
printf 'x' >>longer
wrong 400 "1 bytes behind" $infer $as_bytes $length --data-binary @longer
head -c 9000 request >shorter
wrong 400 "not within the" $infer $as_bytes $length --data-binary @shorter
printf '{"parameters":{"binary_data_output":true},"inputs":[{%s,"parameters":{"binary_data_size":12288}}]}' "$tensor" >header
{ cat header; head -c 12288 /dev/zero | tr '\0' '7'; } >request
ask 200 $infer $as_bytes -H "Inference-Header-Content-Length:$(wc -c <header)" --data-binary @request
answered=$(tr -d '\r' <head | sed -n 's/^Inference-Header-Content-Length: //Ip')
head -c "$answered" out >answer
same "binary map" 16384 "$("$json" answer outputs 4 parameters binary_data_size)"
same "bytes of the answer" $((answered + 4 + 4 + 1 + 4 + $("$json" answer outputs 3 parameters binary_data_size) - 4 + 16384)) "$(wc -c <out)"
shade=$(awk 'BEGIN { v = 55 / 255; for (i = 0; i < 12288; i++) printf "%s%.9f", i ? "," : "", v }')
floats='"name":"input","datatype":"FP32","shape":[1,3,64,64]'
echo "{\"inputs\":[{$floats,\"data\":[$shade]}],\"outputs\":[{\"name\":\"raw\"}]}" >request
ask 200 $infer $as_json --data-binary @request
awk -v a="$raw" -v b="$("$json" out outputs 0 data 0)" 'BEGIN { d = a - b; if (d < 0) d = -d; exit !(d < 1e-4 * a + 1e-6) }' ||
    fail "FP32 gives another score than UINT8: $raw, $("$json" out outputs 0 data 0)"

# Requests that are wrong.
body() { printf '%s' "$1" >request; }
small='{"name":"image","datatype":"UINT8","shape":[1,1,1,3],"data":[1,2,3]}'
wrong 415 "Content-Type must be" $infer -H 'Content-Type: text/plain' -d '{}'
wrong 415 "Content-Encoding gzip" $infer $as_json -H 'Content-Encoding: gzip' -d '{}'
wrong 400 "body is empty" $infer $as_json -d ''
wrong 400 "not valid JSON" $infer $as_json -d '{"inputs":[}'
wrong 400 "not valid JSON" $infer $as_json -d '{"inputs"'
wrong 400 "must be UINT8, not FP64" $infer $as_json -d '{"inputs":[{"name":"image","datatype":"FP64","shape":[1,1,1,3],"data":[1]}]}'
wrong 400 "shape must be \[N, H, W, 3\]" $infer $as_json -d '{"inputs":[{"name":"image","datatype":"UINT8","shape":[1,1],"data":[1]}]}'
wrong 400 "1 to 32768" $infer $as_json -d '{"inputs":[{"name":"image","datatype":"UINT8","shape":[1,-1,1,3],"data":[1]}]}'
wrong 400 "above the limit of 1000000" $infer $as_json -d '{"inputs":[{"name":"image","datatype":"UINT8","shape":[1,32768,32768,3],"data":[1]}]}'
wrong 400 "2 values in the tensor" $infer $as_json -d '{"inputs":[{"name":"image","datatype":"UINT8","shape":[1,1,1,3],"data":[1,2]}]}'
wrong 400 "0 to 255" $infer $as_json -d '{"inputs":[{"name":"image","datatype":"UINT8","shape":[1,1,1,3],"data":[1,2,-3]}]}'
wrong 400 "0 to 255" $infer $as_json -d '{"inputs":[{"name":"image","datatype":"UINT8","shape":[1,1,1,3],"data":[1,2,1e30]}]}'
wrong 400 "must be \[N, 3, 64, 64\]" $infer $as_json -d '{"inputs":[{"name":"input","datatype":"FP32","shape":[1,3,1,1],"data":[0,0,0]}]}'
wrong 400 "unknown output" $infer $as_json -d "{\"inputs\":[$small],\"outputs\":[{\"name\":\"mood\"}]}"
wrong 400 "no class 'cloud'" $infer $as_json -d "{\"inputs\":[$small],\"parameters\":{\"class\":\"cloud\"}}"
wrong 400 "not a number" $infer $as_json -H 'Inference-Header-Content-Length: -5' -d '{}'
wrong 400 "the body has" $infer $as_json -H 'Inference-Header-Content-Length: 99999' -d '{}'
echo "{\"inputs\":[{$floats,\"data\":[NaN,$shade]}]}" >request
wrong 400 "not a number" $infer $as_json --data-binary @request
printf '{"inputs":[{%s,"parameters":{"binary_data_size":49152}}]}' "$floats" >header
{ cat header; head -c 49152 /dev/zero | tr '\0' '\377'; } >request
wrong 400 "not a finite number" $infer $as_bytes -H "Inference-Header-Content-Length:$(wc -c <header)" --data-binary @request
images=$(awk 'BEGIN { for (i = 0; i < 195; i++) printf "%s0", i ? "," : "" }')
wrong 400 "at most 64" $infer $as_json -d "{\"inputs\":[{\"name\":\"image\",\"datatype\":\"UINT8\",\"shape\":[65,1,1,3],\"data\":[$images]}]}"

# Photographs that are wrong.
wrong 415 "not missing" /detect -H 'Content-Type:' --data-binary "@$image"
wrong 415 "not text/html" /detect -H 'Content-Type: text/html' --data-binary "@$image"
wrong 400 "is not a picture" /detect $as_png -d 'no picture'
head -c 500 "$image" >cut.png
wrong 400 "damaged or truncated" /detect $as_png --data-binary @cut.png
wrong 400 "no class" "/detect?class=cloud" $as_png --data-binary "@$image"
wrong 404 "no model" "/detect?model=..%2Fmodel.safetensors" $as_png --data-binary "@$image"
wrong 400 "map=1" "/detect?map=1" $as_png --data-binary "@$image"
wrong 400 "boundary" /detect -H 'Content-Type: multipart/form-data' -d 'x'
wrong 400 "form:" /detect -H 'Content-Type: multipart/form-data; boundary=B' -d '--B'
wrong 400 "no photograph in it" /detect -F class=x
# A decompression bomb: a header of 30000 x 30000 pixels.
printf 'P6\n30000 30000\n255\n' >bomb.ppm
wrong 413 "above the limit of 1000000" /detect -H 'Content-Type: image/x-portable-pixmap' --data-binary @bomb.ppm
head -c 1500000 /dev/zero >large
wrong 413 "above the limit of 1048576" /detect $as_png --data-binary @large
wrong 413 "above the limit of 1048576" /detect $as_png -H 'Transfer-Encoding: chunked' -H 'Expect:' --data-binary @large

# Who sends a body that is too large without asking first reads why, instead of an error of its own; the next request is served.
port=${url##*:}
{
    printf 'POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: 2000000\r\n\r\n'
    head -c 2000000 /dev/zero
    printf 'GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'
} >request
curl -s --max-time 20 "telnet://127.0.0.1:$port" <request >out 2>/dev/null
same "body of two megabytes" "413 1" "$(head -n 1 out | cut -d ' ' -f 2) $(grep -c '{"live":true}' out)"

# Not HTTP at all, and good requests in one piece with garbage behind them.
raw() { curl -s --max-time 20 "telnet://127.0.0.1:$port" <request >out 2>/dev/null; }
head -c 300 /dev/urandom | tr '\n\r' 'xx' >request
printf '\r\n\r\n' >>request
raw
printf 'GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\nGET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n\001\002garbage\r\n\r\n' >request
raw
same "answers before the garbage" 2 "$(grep -c '{"live":true}' out)"
printf 'POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n' $infer >request
raw
same "negative length" "HTTP/1.1 400" "$(head -c 12 out)"
# Two opinions on where the body ends, or one that is not understood: 400, and nothing behind it is read as a request.
for framing in 'Content-Length: 4\r\nTransfer-Encoding: chunked' 'Transfer-Encoding: chunked\r\nContent-Length: 4' \
    'Content-Length: 4\r\nContent-Length: 5' 'Transfer-Encoding: gzip' 'Transfer-Encoding: gzip, chunked' \
    'Transfer-Encoding: chunked\r\nTransfer-Encoding: identity' 'Host: example.org\r\nTransfer-Encoding: chunked'; do
    printf "POST $infer HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n$framing\r\n\r\n" >request
    printf '0\r\n\r\nGET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n' >>request
    raw
    same "$framing" "HTTP/1.1 400 0" "$(head -c 12 out) $(grep -c '{"live":true}' out)"
done
printf 'POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n' $infer >request
raw
grep -q '\\"inputs\\" must be' out || fail "a chunked body is not read: $(cat out)"
{ printf 'GET /v2 HTTP/1.1\r\nHost: localhost\r\n'; awk 'BEGIN { for (i = 0; i < 3000; i++) printf "X-%d: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", i }'; printf '\r\n'; } >request
raw
grep -Eq '^HTTP/1.1 (431|413)' out || fail "large header: $(head -n 1 out)"
ask 200 /v2/health/ready

# A lone image never waits for others; many at a time run together and nothing is lost.
i=0
pids=""
while [ $i -lt 12 ]; do
    curl -s --max-time 60 -o answer.$i -w '%{http_code}\n' $as_png --data-binary "@$image" "$url/detect" >status.$i &
    pids="$pids $!"
    i=$((i + 1))
done
# shellcheck disable=SC2086 # one word a process
wait $pids
sort status.* | uniq -c >statuses
grep -Eqv '200|503' statuses && fail "statuses of many requests: $(cat statuses)"
grep -q 200 statuses || fail "no request of many was answered: $(cat statuses)"

# Whoever the browser thinks it asks: on loopback without a token only this machine's own names.
for host in localhost LOCALHOST:1234 127.0.0.1 127.1.2.3:80 '[::1]' '[::1]:8080' localhost:; do ask 200 /v2 -H "Host: $host"; done
for host in example.org example.org:8080 localhost.example.org 127.0.0.1.example.org 192.168.1.1 '[::2]' '[::1' '[::1]x' ::1 \
    localhost:80x 'localhost:80@example.org' 0.0.0.0 :80; do
    wrong 421 "is not this server" /v2 -H "Host: $host"
done
wrong 421 "is not this server" /detect -H "Host: example.org" $as_png --data-binary "@$image"
ask 421 / -H "Host: example.org"
ask 421 /v2/health/live -H "Host: example.org"
printf 'GET /v2/health/live HTTP/1.0\r\n\r\n' >request
raw
same "without a host" 1 "$(grep -c '{"live":true}' out)"

# Metrics, and log lines that are JSON with the id that was sent.
ask 200 /v2/health/live -H 'X-Request-Id: abc-1'
head_has '^X-Request-Id: abc-1'
ask 200 /v2/health/live -H 'X-Request-Id: a"b'
grep -q 'X-Request-Id: a"b' head && fail "a request id that breaks log lines was taken"
ask 200 /metrics
head_has '^Content-Type: text/plain; version=0.0.4'
for name in 'dcam_requests_total\{endpoint="detect",status="200"\}' 'dcam_requests_total\{endpoint="infer",status="415"\} 2' \
    'dcam_request_seconds_bucket\{stage="network",le="\+Inf"\}' 'dcam_batch_images_count' 'dcam_ready 1' \
    "dcam_verdicts_total\\{model=\"model\",class=\"$class\",verdict=\"(good|anomalous)\"\\}" 'dcam_score_drift\{' \
    'dcam_rejected_total\{reason="memory"\} 0' 'process_resident_memory_bytes [0-9]' 'dcam_queue_images 0' 'process_open_fds [0-9]'; do
    out_has "^$name"
done
grep -v '^#' out | grep -Evq '^[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? -?[0-9.e+-]+$' && fail "metrics: $(grep -v '^#' out | grep -Ev '^[a-z_]+(\{.*\})? -?[0-9.e+-]+$' | head -n 3)"
[ "$(grep -c "^dcam_score_bucket{model=\"second\",class=\"$other\",le=\"[0-9.]*\"} [0-9]*$" out)" -eq 20 ] || fail "bounds of scores"
same "scores counted" "$(sed -n "s/^dcam_score_bucket{model=\"second\",class=\"$other\",le=\"+Inf\"} //p" out)" \
    "$(sed -n "s/^dcam_score_count{model=\"second\",class=\"$other\"} //p" out)"
if command -v promtool >/dev/null 2>&1; then promtool check metrics <out >err 2>&1 || fail "promtool on the metrics"; fi
# What a client names reaches no terminal as a command, neither the operator's nor its own.
wrong 404 'no model' "/detect?model=%C2%9B31m%7F" $as_png --data-binary "@$image"
grep -qF '\u009B31m\u007F' out || fail "a control character in an answer: $(cat out)"
grep -qF '\u009B31m\u007F' log || fail "a control character in the log"
! LC_ALL=C grep -aq "$(printf '\302[\200-\237]\|\177')" log || fail "a control character in the log"
"$json" -l log event >/dev/null || fail "the log is not JSON lines"
grep -q '"id":"abc-1"' log || fail "the request id is not in the log"

# The page: no resource from elsewhere, and a policy that says so.
ask 200 /
head_has "^Content-Security-Policy: default-src 'none'; script-src 'self'"
head_has '^X-Content-Type-Options: nosniff'
ask 200 / -I
tail -n 1 log | grep -q '"method":"HEAD",.*"bytes_out":0,' || fail "a log line counts the body that HEAD leaves out: $(tail -n 1 log)"

# A file that is replaced is loaded by itself; SIGHUP loads too; a broken file leaves the model in place.
reloads() { curl -s "$url/metrics" | sed -n "s/^dcam_model_reloads_total{model=\"model\",result=\"$1\"} //p"; }
await() {
    tries=0
    while [ "$(reloads "$1")" != "$2" ] && [ $tries -lt 100 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
    same "reloads that are $1" "$2" "$(reloads "$1")"
}
resident() { curl -s "$url/metrics" | sed -n 's/^process_resident_memory_bytes //p'; }
most=$(($(resident) + 100000000))
kill -HUP "$server"
await "done" 1
cp model.safetensors copy.safetensors
mv copy.safetensors model.safetensors
await "done" 2
# What reloads leave behind goes back to the system. (A sanitizer keeps it.)
for i in 3 4 5 6 7 8 9 10; do
    kill -HUP "$server"
    await "done" $i
done
if ! grep -q libasan "/proc/$server/maps"; then
    tries=0
    while [ "$(resident)" -gt $most ] && [ $tries -lt 50 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
    [ $tries -lt 50 ] || fail "ten reloads: $(resident) bytes of resident memory, more than $most"
fi
echo broken >copy.safetensors
mv copy.safetensors model.safetensors
await failed 1
ask 200 /detect $as_png --data-binary "@$image"
grep -Eq '"event":"model",.*"message":"model: loaded from .*; up to [1248] images run together' log || fail "the log does not say how many images run together"
same "raw after a reload that failed" "$("$json" wanted raw)" "$("$json" out raw)"
stop
grep -q '"event":"stop"' log || fail "no line about the end"
mv model.safetensors broken.safetensors
make_again() { "$dcam" train data -o model.safetensors --teacher random:1 --size 64 --epochs 1 --batch 4 --seed 1 -q >/dev/null 2>err; }
make_again || fail "train"

# Tokens: only who knows it, except for health and the page. TLS.
echo 0123456789abcdef0123456789abcdef >token
if command -v openssl >/dev/null 2>&1 && openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /CN=localhost \
    -days 2 >/dev/null 2>&1; then
    start -m model.safetensors --token-file token --tls-cert cert.pem --tls-key key.pem -q
    same "scheme" https "${url%%:*}"
    insecure="-k"
else
    start -m model.safetensors --token-file token -q
    insecure=""
fi
wrong 401 "token is needed" /v2/models $insecure
head_has '^WWW-Authenticate: Bearer'
wrong 401 "wrong token" /v2/models $insecure -H 'Authorization: Bearer 0123456789abcdef0123456789abcdeg'
wrong 401 "wrong token" /metrics $insecure -H 'Authorization: Bearer 0123456789abcdef'
wrong 401 "wrong token" /v2/models $insecure -H 'Authorization: Basic 0123456789abcdef0123456789abcdef'
wrong 401 "token is needed" /v2/models/nothing $insecure
wrong 401 "token is needed" /detect $insecure $as_png --data-binary "@$image"
ask 200 /v2/models $insecure -H 'Authorization: Bearer 0123456789abcdef0123456789abcdef'
ask 200 /v2/health/ready $insecure
ask 200 /v2/health/ready $insecure -H 'Host: example.org'
ask 200 / $insecure
stop

# Whoever asks for no token on other addresses has said that anybody may ask by any name.
start -m model.safetensors --listen 0.0.0.0:0 --no-auth -q
url=http://127.0.0.1:${url##*:}
ask 200 /v2 -H 'Host: example.org'
stop

# Slow clients are cut, silent ones too; a good one is served meanwhile.
start -m model.safetensors --header-timeout 0.5 --body-timeout 0.5 --connections-per-address 20 -q
port=${url##*:}
{ printf 'GET /v2 HTTP/1.1\r\nHo'; sleep 2; } | curl -s --max-time 10 "telnet://127.0.0.1:$port" >slow 2>/dev/null &
slow=$!
{ printf 'POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: 100\r\n\r\nabc'; sleep 2; } |
    curl -s --max-time 10 "telnet://127.0.0.1:$port" >slow2 2>/dev/null &
slow="$slow $!"
ask 200 /detect $as_png --data-binary "@$image"
# One that was answered and begins again has no longer for its headers than a new one.
{ printf 'GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n'; sleep 0.3; printf 'GET /v2 HTTP/1.1\r\nHo'; sleep 2; } |
    curl -s --max-time 10 "telnet://127.0.0.1:$port" >slow3 2>/dev/null &
slow="$slow $!"
sleep 1.8
ask 200 /metrics
out_has '^dcam_connections 1$'
out_has '^dcam_rejected_total\{reason="timeout"\} 3$'
# shellcheck disable=SC2086
wait $slow
same "answers to the one that began again" 1 "$(grep -c '{"live":true}' slow3)"
stop

# The time between requests is no limit within one; who goes away with half of a body was not answered.
start -m model.safetensors --idle-timeout 1 -q
port=${url##*:}
{ printf 'GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\nX-Slow: '; sleep 2.5; printf 'yes\r\n\r\n'; sleep 2; } |
    curl -s --max-time 10 "telnet://127.0.0.1:$port" >slow 2>/dev/null &
slow=$!
{ printf 'GET /v2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\na'; sleep 0.3; } |
    curl -s --max-time 10 "telnet://127.0.0.1:$port" >slow2 2>/dev/null
wait $slow
same "answers to the slow one" 1 "$(grep -c '{"live":true}' slow)"
ask 200 /metrics
out_has '^dcam_requests_total\{endpoint="metadata",status="499"\} 1$'
stop

# A deadline that is over before the network gets to the image.
start -m model.safetensors --deadline 0.001 --batch 8 --batch-delay 200 -q
wrong 504 "deadline" /detect $as_png --data-binary "@$image"
stop

# SIGTERM under a request: it is answered, then comes exit 0, whoever asks for models to be loaded again meanwhile.
start -m model.safetensors --batch 8 --batch-delay 1000
curl -s --max-time 30 -o answer -w '%{http_code}' $as_png --data-binary "@$image" "$url/detect" >status &
asking=$!
tries=0
while ! curl -s "$url/metrics" | grep -q '^dcam_requests_in_flight 1' && [ $tries -lt 100 ]; do tries=$((tries + 1)); done
kill -TERM "$server"
tries=0
while ! grep -q draining log && [ $tries -lt 100 ]; do
    sleep 0.02
    tries=$((tries + 1))
done
kill -HUP "$server"
ended
wait $asking
same "status of the request under way" 200 "$(cat status)"

# The drain time cuts off what no worker has got to. The one worker decodes a JPEG of 4096x4096 in 64 scans of nothing
# (their codes are zero bits) six times, each time for half a second and more.
zeros() { head -c "$1" /dev/zero; }
{
    printf '\377\330\377\333\000\103\000'
    zeros 64 | tr '\000' '\001'
    printf '\377\302\000\013\010\020\000\020\000\001\001\021\000\377\304\000\024\000\001'
    zeros 16
    printf '\377\304\000\024\020\001'
    zeros 15
    printf '\340\377\332\000\010\001\001\000\000\000\001'
    zeros 32768
    i=0
    while [ $i -lt 63 ]; do
        printf '\377\332\000\010\001\001\000\001\077\020'
        zeros 30
        i=$((i + 1))
    done
    printf '\377\331'
} >slow.jpg
start -m model.safetensors --workers 1 --drain-timeout 0.1
i=0
pids=""
while [ $i -lt 6 ]; do
    curl -s --max-time 60 -o answer.$i -w '%{http_code}\n' -H 'Content-Type: image/jpeg' --data-binary @slow.jpg "$url/detect" >drained.$i &
    pids="$pids $!"
    i=$((i + 1))
done
tries=0
while ! curl -s "$url/metrics" | grep -q '^dcam_requests_in_flight 6' && [ $tries -lt 100 ]; do tries=$((tries + 1)); done
stop
# shellcheck disable=SC2086
wait $pids
sort drained.* | uniq -c >statuses
grep -Eq '503|000' statuses || fail "nothing is cut off at the end of the drain time: $(cat statuses)"
# The log says so, in JSON like all of it.
last="the log of an end that cuts off"
grep -q '"level":"error","event":"stop","message":"the drain time of 0.1 seconds is over' log || fail "$last: $(tail -n 2 log)"
! grep -q 'all requests answered' log || fail "$last: it says that all was answered"
"$json" -l log event >/dev/null || fail "$last: not JSON lines"

# Who ends it while it loads sixty models does not wait for them.
: >url
# shellcheck disable=SC2046 # one word a model
"$dcam" serve --listen 127.0.0.1:0 $(awk 'BEGIN { for (i = 0; i < 60; i++) print "-m m" i "=model.safetensors" }') >url 2>log </dev/null &
server=$!
tries=0
while [ "$(ls /proc/$server/task | wc -l)" -lt 3 ] && [ $tries -lt 100 ]; do
    sleep 0.02
    tries=$((tries + 1))
done
kill -TERM "$server"
wait "$server" 2>/dev/null
same "exit code of SIGTERM while models are loaded" 143 $?
server=""
[ ! -s url ] || fail "SIGTERM while models are loaded: it served first"

# Wrong usage.
refuse 2 'reachable from other machines' serve -m model.safetensors --listen 0.0.0.0:0
refuse 2 'is not ADDRESS:PORT' serve -m model.safetensors --listen localhost
refuse 2 'is not an address of numbers' serve -m model.safetensors --listen example.org:80
refuse 2 'two models are called model' serve -m model.safetensors -m model.safetensors --listen 127.0.0.1:0
refuse 2 "model name 'a b'" serve -m 'a b=model.safetensors' --listen 127.0.0.1:0
refuse 2 'both a certificate and a key' serve -m model.safetensors --tls-cert token --listen 127.0.0.1:0
refuse 3 'do not start|does not start' serve -m model.safetensors --tls-cert token --tls-key token --listen 127.0.0.1:0
echo short >token
refuse 3 'at least 16 characters' serve -m model.safetensors --token-file token --listen 127.0.0.1:0
refuse 4 'broken' serve -m broken.safetensors --listen 127.0.0.1:0
refuse 2 'needs --model' serve
finish
