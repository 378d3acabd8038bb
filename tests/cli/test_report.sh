# dcam eval --report: a page that stands alone, also for names that are markup, and one error line where it cannot be.
. "$(dirname "$0")/common.sh"

make_model
first=$(ls data | head -n 1)
expect 0 eval data -m model.safetensors --report a/b/page --resamples 50
out_has '^mean '
err_has 'wrote a/b/page/index.html'
is_file a/b/page/index.html
same "files" "index.html" "$(ls -A a/b/page)"
grep -Eq '<script|src="[^d]|href="[^#]|://' a/b/page/index.html && fail "the page refers to something outside"
grep -q '</html>' a/b/page/index.html || fail "the page is cut"

# Whatever a class is called: a model of such a class, and its page.
mkdir odd
cp -r data/"$first" 'odd/<b>&"'
cp -r data/"$(ls data | sed -n 2p)" "$(printf 'odd/nu\314\210t \303\266 \350\236\272\351\222\211')" # nüt ö 螺钉, the ü in two
expect 0 train odd -o odd.safetensors --teacher random:1 --size 64 --epochs 1 --batch 4 -q
expect 0 eval odd -m odd.safetensors --report page --resamples 50 -q
# Of the table's lines all are of one length, where a letter takes a column, a mark none and a Chinese character two.
same "lengths of lines" 1 "$(tail -n +3 out | LC_ALL=C sed 's/\xcc\x88//g; s/\xc3\xb6/o/g; s/[\xe8\xe9]../xx/g' |
    LC_ALL=C awk '{ print length }' | sort -u | wc -l)"
grep -q '<h2 id="class0">&lt;b&gt;&amp;&quot;</h2>' page/index.html || fail "the class's name is not escaped"
grep -q '<b>' page/index.html && fail "a class's name became markup"

# Told before any image is scored.
touch file
refuse 3 '^dcam: file' eval data -m model.safetensors --report file
refuse 3 '^dcam: file' eval data -m model.safetensors --report file/page
finish
