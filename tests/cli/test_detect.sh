# detect: lines, JSON Lines, names of overlays and maps, exit codes.
. "$(dirname "$0")/common.sh"
make_model
class=$(ls data | head -n 1)
image=$(first_of data/"$class"/test/good/*.png)

# Two images of one base name and one of another format beside them stay apart.
mkdir -p in/a in/b/c
cp "$image" in/a/x.png
cp "$image" in/b/x.png
cp "$image" in/b/c/x.png
cp "$image" in/b/x.jpg # PNG inside: the content decides
expect 0 detect in -m model.safetensors --class "$class" -o over --map-npy maps
same "lines" 4 "$(wc -l <out)"
out_has "^(ok|ANOMALY) +[01]\.[0-9]{4} +$class +in/a/x\.png"
for name in a/x b/x b/c/x b/x.jpg; do
    is_file over/$name.png
    is_file maps/$name.npy
done
same "overlays" 4 "$(find over -type f | wc -l)"
same "first bytes of an overlay" "89504e470d0a1a0a" "$(head -c 8 over/a/x.png | od -An -tx1 | tr -d ' \n')"
grep -aq "'descr': '<f4', 'fortran_order': False, 'shape': (64, 64)" maps/a/x.npy || fail "npy header"
same "bytes of a map" 0 "$((($(wc -c <maps/a/x.npy) - 64 * 64 * 4) % 64))"

# No two images share a name, through links neither: of those that would, none is looked at.
mkdir -p real/sub
ln -s real/sub link
cp "$image" a.png
cp "$image" real/a.png
refuse 2 'over4/a\.png: would be the result of both (a\.png and link/\.\./a\.png|link/\.\./a\.png and a\.png)' detect a.png link/../a.png -m model.safetensors -o over4
mkdir maps4
ln -s a maps4/b
refuse 2 'maps4/b: is a link that leads nowhere' detect in -m model.safetensors --map-npy maps4
mkdir maps4/a
refuse 2 'maps4/[ab]/x\.npy: would be the result of both in/[ab]/x\.png and in/[ab]/x\.png' detect in -m model.safetensors --map-npy maps4
same "maps" 0 "$(find maps4 -type f | wc -l)"
expect 0 detect a.png ./a.png -m model.safetensors -o over4 --map-npy maps5

# Files of several folders, and one file alone.
expect 0 detect in/a/x.png in/b/x.png -m model.safetensors --class "$class" -o over2 -q
is_file over2/a/x.png
is_file over2/b/x.png
[ ! -s err ] || fail "--quiet is not quiet"
expect 0 detect "$PWD/in/a/x.png" -m model.safetensors -o over3
is_file over3/x.png

# A folder of any name among the photographs: the same command again finds it among the overlays.
mkdir -p named/probe named/index.html
cp "$image" named/probe/x.png
cp "$image" named/index.html/x.png
for again in 1 2; do expect 0 detect named -m model.safetensors -o over_named --map-npy over_named -q; done
is_file over_named/probe/x.npy

# Control characters of a name reach no terminal: ASCII's, and U+009B, which begins commands as ESC [ does. An umlaut
# does.
mkdir controls
cp "$image" "controls/$(printf 'a\302\2332J\033[2J\303\204.png')"
expect 0 detect controls -m model.safetensors --class "$class"
LC_ALL=C grep -aqF "controls/$(printf 'a?2J?[2J\303\204.png')" out || fail "a name with control characters"
expect 0 detect controls -m model.safetensors --class "$class" --json
grep -qF 'a\u009B2J\u001B[2JÄ.png"' out || fail "a name with control characters in JSON"
same "a name with control characters, read" "$(printf 'controls/a\302\2332J\033[2J\303\204.png')" "$("$json" out path)"
! LC_ALL=C grep -aq "$(printf '\302[\200-\237]')" out || fail "a control character in JSON"
# So with marks that turn the direction of text, with which a name shows its end in the middle.
rm controls/*
cp "$image" "controls/$(printf 'part\342\200\256gnp.png')"
expect 0 detect controls -m model.safetensors --class "$class" --json
grep -qF 'part\u202Egnp.png"' out || fail "a name with a mark of direction in JSON"
same "a name with a mark of direction, read" "$(printf 'controls/part\342\200\256gnp.png')" "$("$json" out path)"
expect 3 detect "$(printf 'no\302\205where')" -m model.safetensors
! LC_ALL=C grep -aq "$(printf '\302[\200-\237]')" err || fail "a control character in an error"

# A name that is not UTF-8: U+FFFD in JSON; on a terminal of 8-bit characters 0x9b begins a command too.
odd=$(printf 'odd\351\2332J')
mkdir "$odd"
cp "$image" "$odd/x.png"
cp model.safetensors "$odd/model"
expect 0 detect "$odd" -m "$odd/model" --class "$class"
LC_ALL=C grep -aqF "$(printf 'odd\351?2J')/x.png" out || fail "a name that is not UTF-8"
expect 0 detect "$odd" -m model.safetensors --class "$class" --json
same "path" "odd��2J/x.png" "$("$json" out path)"
expect 0 info "$odd/model" --json
same "file" "odd��2J/model" "$("$json" out file)"
expect 0 doctor --json --size 32 --folder "$odd"
same "folder" "odd��2J" "$("$json" out disk folder)"

# A photograph is never overwritten, overlays never mix with photographs.
sum=$(cksum in/a/x.png)
refuse 2 'lies in in, where photographs' detect in -m model.safetensors -o in/over
refuse 2 'lies in in, where photographs' detect in -m model.safetensors -o in
expect 2 detect in/a/x.png in/b/x.png -m model.safetensors -o in
err_has 'would be overwritten'
same "photograph" "$sum" "$(cksum in/a/x.png)"
# Maps may lie beside them: no search takes one for a photograph.
for again in 1 2; do
    expect 0 detect in -m model.safetensors --map-npy in -q
    same "lines" 4 "$(wc -l <out)"
done
is_file in/b/c/x.npy

# JSON Lines: keys in the order of the contract.
expect 0 detect in -m model.safetensors --json --map-npy maps
"$json" -l out score >/dev/null || fail "not JSON Lines"
head -n 1 out >first
same "keys" "path class class_source score raw threshold anomalous regions map milliseconds" \
    "$("$json" -k first | tr '\n' ' ' | sed 's/ $//')"
same "map" "maps/a/x.npy" "$("$json" first map)"
same "class_source" "inferred" "$("$json" first class_source)"
expect 0 detect in/a/x.png -m model.safetensors --json --class "$class"
same "map without --map-npy" "null" "$("$json" out map)"
same "class_source" "given" "$("$json" out class_source)"
same "class" "$class" "$("$json" out class)"

# Who reads the lines may take the photographs away: the others are scored all the same. The reader is slow on purpose.
mkdir belt taken
n=0
while [ $n -lt 12 ]; do
    cp "$(first_of data/*/test/good/*.png)" belt/$n.png
    n=$((n + 1))
done
mkfifo lines
"$dcam" detect belt -m model.safetensors -o belt_over --threads 1 -q >lines 2>err &
while read -r _ _ _ path _; do
    mv "${path%,}" taken/ && echo "$path"
done <lines >seen
wait $!
code=$?
same "lines of photographs that are taken away" 12 "$(wc -l <seen)"
drawn=$(find belt_over -name '*.png' | wc -l)
if [ "$drawn" -lt 12 ]; then
    same "exit code" 3 $code
    grep -q "^dcam: overlays that are missing, .*: $((12 - drawn)); the first: belt/" err || fail "missing overlays: $(cat err)"
else
    same "exit code" 0 $code
fi

# --fail-on-anomaly follows the verdicts; regions lie within the photograph.
"$dcam" detect data/*/test -m model.safetensors --json -q >all.jsonl 2>err || fail "detect data"
"$json" -l all.jsonl anomalous | grep -q true && some_anomalous=yes || some_anomalous=no
"$json" -l all.jsonl regions | tr -d '[]' | grep -o '{[^}]*}' | while IFS= read -r region; do
    echo "$region" >region
    x=$("$json" region x) y=$("$json" region y) w=$("$json" region width) h=$("$json" region height)
    { [ "$x" -ge 0 ] && [ "$y" -ge 0 ] && [ "$w" -ge 1 ] && [ "$h" -ge 1 ] && [ $((x + w)) -le 64 ] &&
        [ $((y + h)) -le 64 ]; } || echo "$region"
done >outside
[ ! -s outside ] || fail "regions outside of the photograph: $(cat outside)"
if [ $some_anomalous = yes ]; then
    expect 1 detect data/*/test -m model.safetensors --fail-on-anomaly
    out_has '^ANOMALY'
    expect 0 detect data/*/test -m model.safetensors
else
    expect 0 detect data/*/test -m model.safetensors --fail-on-anomaly
fi

# One bad image among good ones: said, counted, the others are done.
cp -r in mixed
echo 'no image' >mixed/b/bad.png
expect 3 detect mixed -m model.safetensors -o over4 --fail-on-anomaly
err_has '^dcam: mixed/b/bad.png: '
err_has '^dcam: 1 of 5 images could not be read'
same "lines" 4 "$(wc -l <out)"
is_file over4/b/c/x.png
is_absent over4/b/bad.png
expect 3 detect mixed -m model.safetensors --json
same "lines" 5 "$(wc -l <out)"
grep bad.png out >bad
same "keys of a failed image" "path error" "$("$json" -k bad | tr '\n' ' ' | sed 's/ $//')"

# Paths that are not there, folders without images, unknown classes.
refuse 3 'nowhere: no such file or folder' detect nowhere -m model.safetensors
refuse 3 'nowhere: no such file or folder' detect in nowhere -m model.safetensors
mkdir void
refuse 3 'void: .*no image' detect void -m model.safetensors
refuse 2 "no class bolt.*$class" detect in -m model.safetensors --class bolt
finish
