/* page.js - runs the script of the page (src/serve/page/page.js) without a browser: node page.js SCRIPT. What it needs of
 * one is made of objects that keep what is written into them. Says what is wrong and exits with 1, or says nothing. */
'use strict';
const fs = require('fs');

let failures = 0;
function same(what, wanted, got) {
  if (JSON.stringify(wanted) === JSON.stringify(got)) return;
  console.log(`FAILED: ${what}: ${JSON.stringify(got)}, not ${JSON.stringify(wanted)}`);
  failures++;
}

function element() {
  const names = new Set(), e = {children: [], options: [], style: {}, dataset: {}, value: '', textContent: '', attributes: {}};
  e.classList = {toggle: (name, on) => on ? names.add(name) : names.delete(name), contains: (name) => names.has(name)};
  e.setAttribute = (name, value) => { e.attributes[name] = value; };
  e.append = (...more) => e.children.push(...more);
  e.replaceChildren = (...all) => { e.children = all; };
  e.addEventListener = e.focus = e.play = () => {};
  e.toBlob = (done) => done(new Blob(['picture']));
  e.getContext = () => new Proxy({}, {get: () => () => {}, set: () => true});
  e.toDataURL = () => 'data:,';
  return e;
}

const byId = {}, answers = [], asked = [];
let cameras = [];
const window = {isSecureContext: true}, navigator = {mediaDevices: {getUserMedia: async () => cameras.shift()}};
const document = {getElementById: (id) => byId[id] ||= element(), createElement: element, addEventListener: () => {}};
const page = new Function('document', 'fetch', 'sessionStorage', 'setInterval', 'createImageBitmap', 'ImageData', 'Option', 'window', 'navigator',
  `${fs.readFileSync(process.argv[2], 'utf8')}\nreturn {add, inspect, select, rows, shoot, toggleCamera, busy: () => sending, unturned};`)(
  document, async (url) => { asked.push(url); return answers.shift(); }, {getItem: () => ''}, () => {}, async () => ({width: 4, height: 2}),
  class { constructor(w, h) { this.data = new Uint8ClampedArray(4 * w * h); } }, element, window, navigator);
const settled = async () => { do await new Promise((done) => setTimeout(done, 5)); while (page.busy()); };

const reply = (status, body) => ({status, json: async () => body});
const good = {score: 0.1, class: 'bolt', class_source: 'given', anomalous: false, regions: [], milliseconds: 1, width: 4, height: 2,
  map: {width: 1, height: 1, low: 0, high: 1, float32: 'AAAAAA=='}};
const u16 = (n) => [n >> 8, n & 255], ascii = (text) => [...Buffer.from(text, 'latin1')];
const segment = (marker, bytes) => [0xff, marker, ...u16(bytes.length + 2), ...bytes];
const chunk = (name, bytes) => [0, 0, ...u16(bytes.length), ...ascii(name), ...bytes, 0, 0, 0, 0];

async function main() {
  answers.push(reply(200, structuredClone(good)));
  await page.inspect({blob: new Blob(['x']), name: 'a.png'});
  same('the word', 'Good', byId.word.textContent);
  same('figures after a verdict', false, byId.result.classList.contains('none'));
  /* Whoever looks up from the next part must not read the verdict on the last one. */
  answers.push(reply(400, {error: 'image: is not a picture'}));
  await page.inspect({blob: new Blob(['x']), name: 'b.txt'});
  same('the word after a photograph that failed', 'No verdict', byId.word.textContent);
  same('why', 'b.txt: image: is not a picture', byId.why?.textContent);
  same('colour', true, byId.verdict.classList.contains('bad'));
  same('figures of the part before', true, byId.result.classList.contains('none'));
  page.select(page.rows[1]);
  same('the word of the first again', ['Good', '', false, false], [byId.word.textContent, byId.why?.textContent,
    byId.result.classList.contains('none'), byId.verdict.classList.contains('bad')]);
  await page.inspect({blob: new Blob(['x']), name: 'c.png'}); /* the server is gone */
  same('the word without a server', 'No verdict', byId.word.textContent);

  /* A file that is gone has no verdict, and the next one has its turn. */
  answers.length = 0;
  answers.push(reply(200, structuredClone(good)));
  page.add({arrayBuffer: async () => { throw new Error('NotReadableError'); }, type: 'image/png'}, 'gone.png');
  page.add(new Blob(['x']), 'next.png');
  await settled();
  same('the file that is gone', [undefined, 'the file cannot be read (any more)'], [page.rows[1].result, page.rows[1].error]);
  same('the next one', ['next.png', 'Good', false], [page.rows[0].name, byId.word.textContent, page.busy()]);
  /* What cannot be shown has no verdict either: its word would stand beside the picture of the part before. */
  answers.push(reply(200, {...good, map: {width: 1, height: 1, low: 0, high: 1, float32: '*'}}), reply(200, structuredClone(good)));
  page.add(new Blob(['x']), 'odd.png');
  page.add(new Blob(['x']), 'after.png');
  await settled();
  same('what cannot be shown', [undefined, 'the answer cannot be shown'], [page.rows[1].result, page.rows[1].error]);
  same('the one after it', 'after.png', page.rows[0].name);

  /* Class and model are those that were chosen when the photograph came. */
  answers.push(reply(200, structuredClone(good)), reply(200, structuredClone(good)), reply(200, structuredClone(good)));
  byId.class.options = [element(), element()];
  Object.assign(byId.class, {value: 'bolt'});
  byId.model.value = 'first';
  page.add(new Blob(['x']), '1.png');
  page.add(new Blob(['x']), '2.png');
  byId.class.value = '';
  byId.model.value = 'second';
  page.add(new Blob(['x']), '3.png');
  await settled();
  const queries = asked.slice(-3).map((url) => new URLSearchParams(url.split('?')[1]));
  same('classes asked for', ['bolt', 'bolt', null], queries.map((q) => q.get('class')));
  same('models asked for', ['first', 'first', 'second'], queries.map((q) => q.get('model')));

  /* A camera that is unplugged takes no more pictures. */
  const camera = {active: true, getTracks: () => []};
  cameras = [camera];
  document.getElementById('video').videoWidth = 4;
  await page.toggleCamera();
  answers.push(reply(200, structuredClone(good)));
  await page.shoot();
  await settled();
  const taken = asked.length;
  same('the picture of the camera', ['camera', false], [page.rows[0].name, byId.video.hidden]);
  camera.active = false;
  document.getElementById('live').checked = true;
  await page.shoot();
  await settled();
  same('after the camera is gone', [taken, true, false, 'the camera is gone'],
    [asked.length, byId.video.hidden, byId.live.checked, byId.state.textContent]);

  /* No browser is told how to turn a photograph: the map is that of the pixels as they are stored. */
  const exif = segment(0xe1, ascii('Exif\0\0MM\0*turned')), rest = [...segment(0xe1, ascii('http://ns.adobe.com/xap/1.0/')),
    0xff, ...segment(0xdb, [1, 2, 3]), ...segment(0xda, [1]), 0xff, 0xe1, 0, 9, ...ascii('Exif\0\0x'), 0xff, 0xd9];
  const jpeg = (...blocks) => [0xff, 0xd8, ...blocks.flat(), ...rest];
  const png = (...blocks) => [0x89, ...ascii('PNG\r\n\x1a\n'), ...chunk('IHDR', [1, 2]), ...blocks.flat(), ...chunk('IDAT', [5]), ...chunk('IEND', [])];
  const app0 = segment(0xe0, ascii('JFIF\0'));
  const cases = {jpeg: [jpeg(app0, exif, exif), jpeg(app0)], 'jpeg without': [jpeg(app0), jpeg(app0)], png: [png(chunk('eXIf', [1, 2, 3])), png()],
    'png without': [png(), png()], 'cut jpeg': [jpeg(exif).slice(0, 7), jpeg(exif).slice(0, 7)], 'cut png': [png().slice(0, 20), png().slice(0, 20)],
    empty: [[], []], other: [ascii('RIFF....WEBPExif'), ascii('RIFF....WEBPExif')]};
  for (const [name, [given, wanted]] of Object.entries(cases)) {
    const blob = page.unturned && await page.unturned(new Blob([new Uint8Array(given)], {type: 'image/x'}));
    same(`${name} without Exif`, wanted, blob && [...new Uint8Array(await blob.arrayBuffer())]);
    same(`type of ${name}`, 'image/x', blob?.type);
  }
}
main().catch((e) => { console.log(e); failures++; }).finally(() => process.exit(failures ? 1 : 0));
